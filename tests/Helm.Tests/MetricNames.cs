// The names of this project's metrics in Prometheus: the table of instruments in docs/operations.md, and what it says
// of names.
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.Helm.Tests;

internal static partial class MetricNames
{
    /// <summary>The names according to the document in a repository.</summary>
    public static HashSet<string> Read(string root)
    {
        var metrics = new HashSet<string>(StringComparer.Ordinal);
        foreach (string line in File.ReadLines(Path.Combine(root, "docs", "operations.md")))
        {
            if (Row().Match(line) is { Success: true } row)
            {
                string unit = row.Groups["unit"].Value switch { "s" => "_seconds", "By" => "_bytes", _ => "" };
                string name = row.Groups["name"].Value.Replace('.', '_') + unit;
                metrics.UnionWith(row.Groups["kind"].Value switch
                {
                    "counter" => [$"{name}_total"],
                    "histogram" => [$"{name}_bucket", $"{name}_count", $"{name}_sum"],
                    _ => (string[])[name],
                });
            }
        }

        Assert.True(metrics.Count > 50, $"only {metrics.Count} metrics are found");
        return metrics;
    }

    [GeneratedRegex(@"^\| `(?<name>atelier\.[\w.]+)` \| (?<kind>\w+), (?<unit>[^|]+?) \|", RegexOptions.None, 1000)]
    private static partial Regex Row();
}
