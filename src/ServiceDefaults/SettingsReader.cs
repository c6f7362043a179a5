// Reads settings one by one and gathers what is wrong with them.
using System.Globalization;
using Microsoft.Extensions.Configuration;

namespace Atelier.ServiceDefaults;

/// <summary>Reads a configuration.</summary>
/// <param name="configuration">What is read.</param>
/// <param name="faults">Where what is wrong is put, as sentences.</param>
public sealed class SettingsReader(IConfiguration configuration, List<string> faults)
{
    /// <summary>A text; none where there is none or an empty one.</summary>
    public string? Optional(string key) => configuration[key] is { Length: > 0 } text ? text : null;

    /// <summary>A text.</summary>
    public string Text(string key, string standard) => Optional(key) ?? standard;

    /// <summary>Texts, under the key and 0, 1 and so on.</summary>
    public IReadOnlyList<string> List(string key, IReadOnlyList<string> standard)
    {
        string[] values =
            [.. configuration.GetSection(key).GetChildren().Select(child => child.Value).OfType<string>()];
        return values.Length > 0 ? values : standard;
    }

    /// <summary>A whole number within bounds.</summary>
    public int Number(string key, int standard, int min, int max) => Parsed(
        key, standard, $"a whole number in {min}..{max}",
        text =>
            int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value)
                && value >= min && value <= max
            ? value : null);

    /// <summary>A yes or no.</summary>
    public bool Flag(string key, bool standard) =>
        Parsed(key, standard, "true or false", text => bool.TryParse(text, out bool value) ? value : null);

    /// <summary>A positive time.</summary>
    public TimeSpan Time(string key, TimeSpan standard) => Parsed(
        key, standard, "a positive time such as 00:00:25",
        text =>
            TimeSpan.TryParse(text, CultureInfo.InvariantCulture, out TimeSpan value)
                && value > TimeSpan.Zero ? value : (TimeSpan?)null);

    /// <summary>Members of an enumeration, with commas between.</summary>
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
