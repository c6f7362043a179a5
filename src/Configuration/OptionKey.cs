// A configuration key and the property that it sets: how its text is parsed, and which values are valid.
using System.Globalization;
using System.Reflection;
using Microsoft.Extensions.Configuration;

namespace Atelier.Configuration;

/// <summary>A key that an operator may set.</summary>
public sealed class OptionKey
{
    private readonly PropertyInfo _property;
    private readonly Type _type;
    private readonly long _unit;
    private readonly BoundsAttribute? _bounds;

    private OptionKey(Type options, PropertyInfo property)
    {
        _property = property;
        _type = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
        KeyAttribute? key = property.GetCustomAttribute<KeyAttribute>();
        _unit = key?.Unit ?? 1;
        _bounds = property.GetCustomAttribute<BoundsAttribute>();
        Path = key?.Path ?? $"{options.GetCustomAttribute<SectionAttribute>()!.Name}:{property.Name}";
        IsClusterWide =
            property.IsDefined(typeof(ClusterWideAttribute)) || options.IsDefined(typeof(ClusterWideAttribute));
    }

    /// <summary>Gets the key with its section, for example "Queue:LeaseTime".</summary>
    public string Path { get; }

    /// <summary>Gets the property that the key sets.</summary>
    public PropertyInfo Property => _property;

    /// <summary>Gets whether all silos of a cluster must have the same value.</summary>
    public bool IsClusterWide { get; }

    /// <summary>Gets whether the key has a list of values, under its subkeys 0, 1 and so on.</summary>
    public bool IsList => _type == typeof(IReadOnlyList<string>);

    /// <summary>Gets the rule for values, for example "a whole number in 1..65535".</summary>
    public string Rule => Kind + (_bounds is null ? "" : $" in {_bounds.Min}..{_bounds.Max}");

    private string Kind => _type switch
    {
        _ when _type == typeof(string) => "a string",
        _ when IsList => "a list of strings",
        _ when _type == typeof(bool) => "true or false",
        _ when _type == typeof(TimeSpan) => _bounds is null ? "a time such as 00:00:25" : "a time",
        _ when _type == typeof(double) => "a number",
        _ when _type.IsEnum && IsFlags => "one or more of " + string.Join(", ", EnumNames()) + ", separated by commas",
        _ when _type.IsEnum => "one of " + string.Join(", ", EnumNames()),
        _ => "a whole number",
    };

    /// <summary>
    /// The keys of an options class: one for each public settable property of a type that can be parsed from text.
    /// </summary>
    public static IEnumerable<OptionKey> Of(Type options) =>
        from property in options.GetProperties(BindingFlags.Public | BindingFlags.Instance)
        where property.SetMethod is { IsPublic: true } && IsRead(property.PropertyType)
        select new OptionKey(options, property);

    /// <summary>The key of a property.</summary>
    public static string PathOf<T>(string property) =>
        new OptionKey(typeof(T), typeof(T).GetProperty(property)!).Path;

    /// <summary>Sets the property if the configuration has a value for it that can be parsed.</summary>
    /// <returns>What is wrong with the value, as a sentence; null if nothing is wrong.</returns>
    internal string? Set(IConfiguration configuration, object options)
    {
        if (IsList)
        {
            string[] texts =
                [.. configuration.GetSection(Path).GetChildren().Select(child => child.Value).OfType<string>()];
            _property.SetValue(options, texts.Length > 0 ? texts : _property.GetValue(options));
            return null;
        }

        if (configuration[Path] is not { Length: > 0 } text)
        {
            return null;
        }

        if (Parse(text) is not { } value)
        {
            return $"{Path} is {text}; it must be {Rule}.";
        }

        _property.SetValue(options, value);
        return null;
    }

    /// <summary>A sentence that says how the property's value is out of bounds; null if it is within them.</summary>
    internal string? BoundsFault(object options) =>
        _bounds is null || _property.GetValue(options) is not IComparable value
        || (value.CompareTo(Parse(_bounds.Min)) >= 0 && value.CompareTo(Parse(_bounds.Max)) <= 0)
            ? null : $"{Path} is {Format(value)}; it must be {Rule}.";

    /// <summary>A property's value as an operator writes it.</summary>
    public string Format(object value) => value switch
    {
        TimeSpan { Ticks: var ticks } time =>
            ticks % TimeSpan.TicksPerSecond == 0 ? time.ToString() : time.ToString().TrimEnd('0'),
        bool flag => flag ? "true" : "false",
        Enum flags => flags.ToString().ToLowerInvariant(),
        IReadOnlyList<string> texts => string.Join(", ", texts),
        long number => (number / _unit).ToString(CultureInfo.InvariantCulture),
        _ => Convert.ToString(value, CultureInfo.InvariantCulture)!,
    };

    private static bool IsRead(Type type)
    {
        type = Nullable.GetUnderlyingType(type) ?? type;
        return type.IsEnum || type == typeof(string) || type == typeof(IReadOnlyList<string>) || type == typeof(int)
            || type == typeof(long) || type == typeof(double) || type == typeof(bool) || type == typeof(TimeSpan);
    }

    private object? Parse(string text)
    {
        CultureInfo invariant = CultureInfo.InvariantCulture;
        return _type switch
        {
            _ when _type == typeof(string) => text,
            _ when _type == typeof(int) =>
                int.TryParse(text, NumberStyles.AllowLeadingSign, invariant, out int number) ? (object)number : null,
            _ when _type == typeof(long) =>
                long.TryParse(text, NumberStyles.AllowLeadingSign, invariant, out long number)
                && Math.Abs((decimal)number * _unit) <= long.MaxValue ? (object)(number * _unit) : null,
            _ when _type == typeof(double) =>
                double.TryParse(text, NumberStyles.Float, invariant, out double number) && double.IsFinite(number)
                    ? (object)number : null,
            _ when _type == typeof(bool) => bool.TryParse(text, out bool flag) ? (object)flag : null,
            _ when _type == typeof(TimeSpan) =>
                TimeSpan.TryParse(text, invariant, out TimeSpan time) ? (object)time : null,
            _ => Enum.TryParse(_type, text, ignoreCase: true, out object? value) && !text.Any(char.IsAsciiDigit)
                && (IsFlags || !text.Contains(',')) ? value : null,
        };
    }

    private bool IsFlags => _type.IsDefined(typeof(FlagsAttribute), inherit: false);

    private IEnumerable<string> EnumNames() =>
        Enum.GetNames(_type)
            .Where(name => !IsFlags || Convert.ToInt64(Enum.Parse(_type, name), CultureInfo.InvariantCulture) != 0)
            .Select(name => name.ToLowerInvariant());
}
