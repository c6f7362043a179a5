// Goal: alerts and dashboards ask for metrics that exist, by the names that /metrics has. Method: the meters and
// instruments in the sources; a metric is named by its meter and its instrument.
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.Helm.Tests;

public sealed partial class MetricsTests
{
    // What a histogram has.
    private static readonly string[] s_endings = ["_bucket", "_count", "_sum"];

    private static readonly HashSet<string> s_metrics = ReadMetrics();

    public static TheoryData<string> Files =>
    [
        .. new[] { "rules", "dashboards" }
            .SelectMany(folder => Directory.GetFiles(Path.Combine(Repository.Chart, folder)))
            .Select(file => Path.GetRelativePath(Repository.Chart, file)).Order(StringComparer.Ordinal),
    ];

    [Theory]
    [MemberData(nameof(Files))]
    public void EveryMetric_IsMeasured(string file)
    {
        string[] expressions =
        [
            .. Expression().Matches(File.ReadAllText(Path.Combine(Repository.Chart, file)))
                .Select(match => match.Groups["text"].Value),
        ];
        Assert.NotEmpty(expressions);
        Assert.All(expressions, expression =>
        {
            string[] names = [.. Metric().Matches(expression).Select(match => match.Value)];
            Assert.NotEmpty(names);
            Assert.All(names, name => Assert.True(
                s_metrics.Contains(name)
                    || s_endings.Any(ending => name.EndsWith(ending, StringComparison.Ordinal)
                        && s_metrics.Contains(name[..^ending.Length])),
                $"{name} is not measured"));
        });
    }

    private static HashSet<string> ReadMetrics()
    {
        var metrics = new HashSet<string>(StringComparer.Ordinal);
        foreach (string file in Directory.GetFiles(
            Repository.InRoot("src"), "*Instruments.cs", SearchOption.AllDirectories))
        {
            string text = File.ReadAllText(file);
            string meter = Meter().Match(text).Groups["name"].Value;
            metrics.UnionWith(Instrument().Matches(text).Select(
                match => $"{meter}_{match.Groups["name"].Value}".ToLowerInvariant().Replace('.', '_')));
        }

        Assert.True(metrics.Count > 25, $"only {metrics.Count} metrics are found");
        return metrics;
    }

    [GeneratedRegex(@"^\s*(?:- )?""?expr""?: (?<text>.*)$", RegexOptions.Multiline)]
    private static partial Regex Expression();

    // The project's name is in the meter's name and in the instrument's, and once in that of an attribute.
    [GeneratedRegex(@"\batelier_\w+?_atelier_\w+")]
    private static partial Regex Metric();

    [GeneratedRegex(@"\.Create\(""(?<name>[\w.]+)""\)")]
    private static partial Regex Meter();

    [GeneratedRegex(@"\.Create\w+(?:<\w+>)?\(\s*""(?<name>atelier\.[\w.]+)""")]
    private static partial Regex Instrument();
}
