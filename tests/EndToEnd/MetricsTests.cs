// Goal: what the chart's dashboards and alerts ask for is what a cluster emits, and no series grows with tenants.
// Method: a cluster of real processes that has drawn, trained, scaled and refused, scraped by a real Prometheus, which
// evaluates every query and every rule.
using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Atelier.Helm.Tests;
using Xunit;

namespace Atelier.EndToEnd;

[Collection("clusters")]
public sealed partial class MetricsTests(ScrapedCluster scraped) : IClassFixture<ScrapedCluster>
{
    private const int SeriesMax = 2000;

    // Metrics that only faults and clouds cause: calls that failed, nodes that are taken, states that cannot be stored.
    private static readonly string[] s_ofFaults =
    [
        "atelier_call_unanswered_total", "atelier_silo_preemptions_total", "orleans_storage_read_errors_total",
        "orleans_storage_write_errors_total",
    ];

    private static readonly string[] s_boards = ["cluster", "serving", "tenants", "training"];

    private static int Tenants => int.Parse(
        Environment.GetEnvironmentVariable("ATELIER_METRICS_TENANTS") ?? "100", CultureInfo.InvariantCulture);

    [Fact]
    public async Task EveryMetricThatIsAskedFor_IsEmitted()
    {
        HashSet<string> emitted = await NamesAsync();
        string rules = await File.ReadAllTextAsync(
            Tool.InChart("rules/alerts.yaml"), TestContext.Current.CancellationToken);
        string[] asked =
        [
            .. s_boards.SelectMany(Queries).SelectMany(one => Names(one.Query)).Concat(Names(Expressions(rules)))
                .Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal),
        ];
        Assert.True(asked.Length > 60, $"only {asked.Length} metrics are found");
        AssertNone(asked.Where(name => !emitted.Contains(name) && !s_ofFaults.Contains(name)));
        AssertNone(s_ofFaults.Except(asked, StringComparer.Ordinal));
    }

    [Fact]
    public async Task EveryMetric_HasTheNameThatTheDocumentGives()
    {
        string[] emitted =
            [.. (await NamesAsync()).Where(name => name.StartsWith("atelier_", StringComparison.Ordinal))];
        Assert.True(emitted.Length > 60, $"only {emitted.Length} metrics are found");
        AssertNone(emitted.Except(MetricNames.Read(Tool.Root), StringComparer.Ordinal));
    }

    [Fact]
    public async Task EveryQueryOfTheDashboards_HasData_InARealPrometheus()
    {
        Assert.SkipWhen(Prometheus.Missing is not null, Prometheus.Missing ?? "");
        var empty = new List<string>();
        foreach (string board in s_boards)
        {
            foreach ((string panel, string query) in Queries(board))
            {
                JsonArray result = await scraped.Prometheus!.QueryAsync(
                    query.Replace("$namespace", ".*", StringComparison.Ordinal)
                        .Replace("$__rate_interval", "1m", StringComparison.Ordinal));
                if (result.Count == 0 && !Names(query).Any(s_ofFaults.Contains) && !OfErrors().IsMatch(query))
                {
                    empty.Add($"{board}, {panel}: {query}");
                }
            }
        }

        AssertNone(empty);
    }

    [Fact]
    public async Task EveryAlert_IsEvaluated_AndNoneFires()
    {
        Assert.SkipWhen(Prometheus.Missing is not null, Prometheus.Missing ?? "");
        JsonObject[] rules = await scraped.Prometheus!.RulesAsync();
        Assert.True(rules.Length > 10, $"only {rules.Length} rules are found");
        Assert.All(rules, rule =>
        {
            Assert.Equal("ok", rule["health"]!.GetValue<string>());
            Assert.NotEqual("firing", rule["state"]!.GetValue<string>());
        });
    }

    [Fact]
    public async Task Series_AreFew_AndIndependentOfTenants()
    {
        int[] before = await CountsAsync();
        for (int i = 0; i < Tenants; i += 10)
        {
            await Task.WhenAll(Enumerable.Range(i, 10).Select(DrawAsync));
        }

        int[] after = await CountsAsync();
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"series of gateway and silo: {string.Join(" and ", before)}; after {Tenants} tenants: "
                + string.Join(" and ", after));
        Assert.All(after, count => Assert.InRange(count, 100, SeriesMax));

        // Routes, codes and causes that have not occurred before add a few. A series for each tenant would add at least
        // 100, which is less than the bound of an instrument.
        Assert.All(before.Zip(after), one => Assert.InRange(one.Second - one.First, -SeriesMax, 50));
    }

    private static void AssertNone(IEnumerable<string> found)
    {
        string[] all = [.. found];
        Assert.True(all.Length == 0, string.Join('\n', all));
    }

    // A tenant of its own, whose picture is requested with its key.
    private async Task DrawAsync(int number)
    {
        using HttpClient tenant = await scraped.Cluster.TenantAsync($"tenant-{number}");
        await Pictures.SubmitAsync(tenant, $"picture-{number}", "a red star", seed: 1, steps: 1);
    }

    private async Task<HashSet<string>> NamesAsync() =>
        [.. (await Task.WhenAll(scraped.Ports.Select(ScrapedCluster.MetricsAsync)))
            .SelectMany(lines => lines).Select(line => line.Split(' ', '{')[0])];

    private async Task<int[]> CountsAsync() =>
        [.. (await Task.WhenAll(scraped.Ports.Select(ScrapedCluster.MetricsAsync))).Select(lines => lines.Length)];

    private static IEnumerable<(string Panel, string Query)> Queries(string board)
    {
        JsonNode file = JsonNode.Parse(File.ReadAllText(Tool.InChart($"dashboards/{board}.json")))!;
        foreach (JsonNode? panel in file["panels"]!.AsArray())
        {
            foreach (JsonNode? target in panel!["targets"]!.AsArray())
            {
                yield return (panel["title"]!.GetValue<string>(), target!["expr"]!.GetValue<string>());
            }
        }
    }

    // What is left of the rules without labels and annotations.
    private static string Expressions(string rules) => string.Join(
        '\n', Expression().Matches(rules).Select(match => match.Groups["text"].Value));

    // Names that are neither functions, nor labels in selectors and groupings, nor units.
    private static IEnumerable<string> Names(string query) =>
        Name().Matches(Labels().Replace(query, " ")).Select(match => match.Value);

    [GeneratedRegex(@"^        expr: (?:\|\n(?<text>(?: {10}.*\n)+)|(?<text>.*\n))", RegexOptions.Multiline, 1000)]
    private static partial Regex Expression();

    [GeneratedRegex(
        "\"[^\"]*\"|\\{[^}]*\\}|\\[[^\\]]*\\]|\\b(?:by|without)\\s*\\([^)]*\\)", RegexOptions.None, 1000)]
    private static partial Regex Labels();

    [GeneratedRegex(@"\b[a-z]+(?:_[a-z0-9]+)+\b(?!\s*\()", RegexOptions.None, 1000)]
    private static partial Regex Name();

    // Selects failed calls only.
    [GeneratedRegex("error_type!=\"\"", RegexOptions.None, 1000)]
    private static partial Regex OfErrors();
}
