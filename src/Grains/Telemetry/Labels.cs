// Values of metric attributes. They are members of enumerations, so their number is bounded.
using System.Collections.Frozen;
using System.Diagnostics.Metrics;
using System.Text.Json;

namespace Atelier.Grains.Telemetry;

/// <summary>The attribute value of each enumeration member: its name in lower case with underscores.</summary>
internal static class Labels<T>
    where T : struct, Enum
{
    private static readonly FrozenDictionary<T, string> s_names = Enum.GetValues<T>().ToFrozenDictionary(
        value => value, value => JsonNamingPolicy.SnakeCaseLower.ConvertName(value.ToString()));

    public static string Of(T value) => s_names[value];

    /// <summary>Makes a counter export each member as 0, so that a rate sees its first event.</summary>
    /// <param name="counter">The counter.</param>
    /// <param name="name">Name of the attribute.</param>
    /// <param name="except">Members that are never counted.</param>
    public static void Begin(Counter<long> counter, string name, params T[] except)
    {
        foreach ((_, string label) in s_names.Where(one => !except.Contains(one.Key)))
        {
            counter.Add(0, new KeyValuePair<string, object?>(name, label));
        }
    }
}

/// <summary>Names of attributes.</summary>
internal static class LabelNames
{
    public const string Caller = "code.function.name";
    public const string ErrorType = "error.type";
    public const string Kind = "atelier.work.kind";
    public const string Outcome = "atelier.outcome";
    public const string Phase = "atelier.phase";
    public const string Reason = "atelier.reason";
}
