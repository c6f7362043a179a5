// Goal: dashboards are readable, ask valid queries, and ask for metrics that exist. Method: the files of the chart,
// promtool, and the table of instruments in docs/operations.md, from which a metric's name in Prometheus follows; that
// the names are those of a running cluster is a test of tests/EndToEnd.
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.Helm.Tests;

public sealed partial class MetricsTests(Renderer renderer)
{
    private static readonly HashSet<string> s_metrics = MetricNames.Read(Repository.Root);

    public static TheoryData<string> Boards =>
        [.. Monitoring.Boards.Select(file => Path.GetFileNameWithoutExtension(file))];

    [Fact]
    public void EveryMetric_IsInTheDocument()
    {
        string[] queries =
        [
            .. Monitoring.Panels.SelectMany(panel => panel.Queries)
                .Concat(Monitoring.Alerts.Select(alert => alert.Expression)),
        ];
        string[] names =
        [
            .. queries.SelectMany(query => Metric().Matches(Labels().Replace(query, " "))).Select(match => match.Value)
                .Distinct(StringComparer.Ordinal),
        ];
        Assert.True(names.Length > 50, $"only {names.Length} metrics are found");
        Assert.Equal([], names.Where(name => !s_metrics.Contains(name)));
    }

    // A rule may be any expression, so a file of rules holds all queries.
    [Fact]
    public async Task EveryQuery_IsValid()
    {
        Promtool.SkipIfMissing();
        var rules = new StringBuilder("groups:\n  - name: dashboards\n    rules:\n");
        int count = 0;
        foreach (string query in Monitoring.Panels.SelectMany(panel => panel.Queries))
        {
            string bound = query.Replace("$namespace", ".*", StringComparison.Ordinal)
                .Replace("$__rate_interval", "5m", StringComparison.Ordinal);
            string quoted = bound.Replace("'", "''", StringComparison.Ordinal);
            rules.Append(
                CultureInfo.InvariantCulture, $"      - {{record: 'query:{count++}', expr: '{quoted}'}}\n");
        }

        string file = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(file, rules.ToString(), TestContext.Current.CancellationToken);
            (int code, string output, string error) = await Promtool.RunAsync("check", "rules", file);
            Assert.True(code == 0, output + error);
            Assert.Contains($"{count} rules found", output, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Theory]
    [MemberData(nameof(Boards))]
    public void ABoard_CanBeImported_AndItsPanelsCanBeRead(string board)
    {
        JsonNode json = Monitoring.Parse(Path.Combine(Repository.Chart, "dashboards", $"{board}.json"));
        Assert.Equal($"atelier-{board}", (string)json["uid"]!);
        Assert.StartsWith("Atelier: ", (string)json["title"]!, StringComparison.Ordinal);
        Assert.Equal(
            ["source", "namespace"], json["templating"]!["list"]!.AsArray().Select(one => (string)one!["name"]!));
        Assert.All(
            json["links"]!.AsArray().Select(link => (string?)link!["url"]).OfType<string>(),
            url => Assert.True(HasHeading(url), $"{url} is not a heading"));
        Panel[] panels = [.. Monitoring.Panels.Where(panel => panel.Board == board)];
        Assert.Equal(Enumerable.Range(1, panels.Length), panels.Select(panel => (int)panel.Json["id"]!));
        Assert.Equal(panels.Length, panels.Select(panel => panel.Title).Distinct(StringComparer.Ordinal).Count());
        Assert.All(panels, panel =>
        {
            Assert.EndsWith(".", (string)panel.Json["description"]!, StringComparison.Ordinal);
            Assert.NotEmpty((string)panel.Json["fieldConfig"]!["defaults"]!["unit"]!);
            Assert.Equal("${source}", (string)panel.Json["datasource"]!["uid"]!);
            Assert.All(panel.Json["targets"]!.AsArray(), target => Assert.NotEmpty((string)target!["legendFormat"]!));
            Assert.All(panel.Queries, query => Assert.All(
                Metric().Matches(Labels().Replace(query, " ")),
                match => Assert.Contains(match.Value + "{namespace=~\"$namespace\"", query, StringComparison.Ordinal)));
        });
        HashSet<(int, int)> cells =
        [
            .. panels.SelectMany(panel => Cells(panel.Json["gridPos"]!)),
        ];
        Assert.Equal(panels.Sum(panel => Cells(panel.Json["gridPos"]!).Count()), cells.Count);
    }

    [Fact]
    public void LinksOfTheChart_LeadToTheRunbookOfTheValues()
    {
        string text = renderer["production"].Text;
        Assert.Contains("https://git.example.com/runbook.md#ateliernosilos", text, StringComparison.Ordinal);
        Assert.Contains("\"https://git.example.com/runbook.md#alerts\"", text, StringComparison.Ordinal);
        Assert.DoesNotContain("docs/operations.md", text, StringComparison.Ordinal);
    }

    private static IEnumerable<(int X, int Y)> Cells(JsonNode place) =>
        from x in Enumerable.Range((int)place["x"]!, (int)place["w"]!)
        from y in Enumerable.Range((int)place["y"]!, (int)place["h"]!)
        where x < 24
        select (x, y);

    private static bool HasHeading(string url) =>
        File.ReadLines(Repository.InRoot(url.Split('#')[0])).Any(line => line.StartsWith('#')
            && line.TrimStart('#', ' ').ToLowerInvariant().Replace(' ', '-') == url.Split('#')[1]);

    [GeneratedRegex("\"[^\"]*\"|\\{[^}]*\\}|\\b(?:by|without)\\s*\\([^)]*\\)")]
    private static partial Regex Labels();

    [GeneratedRegex(@"\batelier_\w+")]
    private static partial Regex Metric();
}
