// Reads settings one by one and gathers what is wrong with them.
using System.Globalization;

namespace Atelier.Silo.Hosting;

/// <summary>Reads a configuration.</summary>
internal sealed class SettingsReader(IConfiguration configuration, List<string> faults)
{
    public string? Optional(string key) => configuration[key] is { Length: > 0 } text ? text : null;

    public string Text(string key, string standard) => Optional(key) ?? standard;

    public IReadOnlyList<string> List(string key, IReadOnlyList<string> standard)
    {
        string[] values = [.. configuration.GetSection(key).GetChildren().Select(child => child.Value).OfType<string>()];
        return values.Length > 0 ? values : standard;
    }

    public int Number(string key, int standard, int min, int max) => Parsed(
        key, standard, $"a whole number in {min}..{max}",
        text => int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value) && value >= min && value <= max
            ? value : null);

    public TimeSpan Time(string key, TimeSpan standard) => Parsed(
        key, standard, "a positive time such as 00:00:25",
        text => TimeSpan.TryParse(text, CultureInfo.InvariantCulture, out TimeSpan value) && value > TimeSpan.Zero ? value : (TimeSpan?)null);

    public T Flags<T>(string key, T standard) where T : struct, Enum => Parsed(
        key, standard, $"one or more of {string.Join(", ", Enum.GetNames<T>())}, with commas between",
        text => Enum.TryParse(text, ignoreCase: true, out T value) && !text.Any(char.IsAsciiDigit) ? value : null);

    private T Parsed<T>(string key, T standard, string right, Func<string, T?> parse) where T : struct
    {
        if (Optional(key) is not { } text)
        {
            return standard;
        }

        if (parse(text) is { } value)
        {
            return value;
        }

        faults.Add($"{key} must be {right}, not '{text}'.");
        return standard;
    }
}
