// Categories of the log that show what clients send: below Warning, ASP.NET and YARP write targets with their queries,
// links that need no key, and headers that they could not read. Configuration cannot turn these events on.
using Microsoft.Extensions.Logging;

namespace Atelier.ServiceDefaults;

/// <summary>A limit for categories whose events may contain keys and links.</summary>
internal static class GuardedCategories
{
    private static readonly string[] s_prefixes = ["Microsoft.AspNetCore.", "Yarp."];

    /// <summary>Adds the limit to all rules, whatever provider, category and level they are for.</summary>
    public static void Apply(LoggerFilterOptions options)
    {
        // A rule for what no other rule is for.
        options.Rules.Insert(0, new LoggerFilterRule(null, null, options.MinLevel, null));
        for (int i = 0; i < options.Rules.Count; i++)
        {
            LoggerFilterRule rule = options.Rules[i];
            options.Rules[i] = new LoggerFilterRule(
                rule.ProviderName, rule.CategoryName, rule.LogLevel, (provider, category, level) =>
                    IsAllowed(category, level) && rule.Filter?.Invoke(provider, category, level) != false);
        }
    }

    private static bool IsAllowed(string? category, LogLevel level) => level >= LogLevel.Warning
        || !Array.Exists(s_prefixes, prefix => category?.StartsWith(prefix, StringComparison.Ordinal) == true);
}
