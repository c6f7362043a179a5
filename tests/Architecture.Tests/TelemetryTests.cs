// Goal: docs/operations.md lists every log event and every instrument. Method: the attributes and names in the sources,
// and the tables of the document.
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.Architecture.Tests;

public sealed partial class TelemetryTests
{
    private const string Document = "docs/operations.md";

    [Fact]
    public void LogEvents_HaveUniqueIds_AndARowInTheDocument()
    {
        var events = new List<(string Place, string Level, string Id)>();
        foreach (string file in Repository.Files(".cs").Where(
            file => file.StartsWith("src/", StringComparison.Ordinal)))
        {
            foreach (Match match in LogEvent().Matches(Repository.Read(file)))
            {
                events.Add((file, match.Groups["level"].Value, match.Groups["id"].Value));
            }
        }

        Assert.True(events.Count > 40, $"only {events.Count} events are found");
        Assert.All(events, one => Assert.True(one.Id.Length > 0, $"{one.Place} has an event without an id"));
        string[] twice = [.. events.GroupBy(one => one.Id).Where(of => of.Count() > 1).Select(of => of.Key)];
        Assert.True(twice.Length == 0, $"ids of more than one event: {string.Join(", ", twice)}");
        Assert.Equal(
            events.Select(one => one.Id).Order(StringComparer.Ordinal),
            Repository.Lines(Document).Select(line => EventRow().Match(line)).Where(match => match.Success)
                .Select(match => match.Groups["id"].Value).Order(StringComparer.Ordinal));
        HashSet<string> rows =
            [.. Repository.Lines(Document).Select(line => string.Join('|', line.Split('|').Take(3)))];
        Assert.All(
            events.Where(one => one.Level.Length > 0), one => Assert.Contains($"| {one.Id} | {one.Level} ", rows));
    }

    [Fact]
    public void LogEvents_AreInFilesOfTheirOwn() => Assert.All(
        Repository.Files(".cs").Where(file => file.StartsWith("src/", StringComparison.Ordinal)
            && LogEvent().IsMatch(CSharpText.Split(Repository.Read(file)).Code)),
        file => Assert.EndsWith(".Log.cs", file, StringComparison.Ordinal));

    [Fact]
    public void Instruments_HaveARowInTheDocument()
    {
        string[] made =
        [
            .. Repository.Files(".cs").Where(file => file.StartsWith("src/", StringComparison.Ordinal))
                .SelectMany(file => Instrument().Matches(Repository.Read(file)))
                .Select(match => match.Groups["name"].Value).Order(StringComparer.Ordinal),
        ];
        Assert.True(made.Length > 25, $"only {made.Length} instruments are found");
        Assert.Equal(
            made,
            Repository.Lines(Document).Select(line => InstrumentRow().Match(line)).Where(match => match.Success)
                .Select(match => match.Groups["name"].Value).Order(StringComparer.Ordinal));
    }

    [GeneratedRegex(@"\[LoggerMessage\(\s*(?:EventId = (?<id>\d+))?(?:,?\s*Level = LogLevel\.(?<level>\w+))?")]
    private static partial Regex LogEvent();

    [GeneratedRegex(@"^\| (?<id>\d{3}) \| ")]
    private static partial Regex EventRow();

    [GeneratedRegex(@"\.Create\w+(?:<\w+>)?\(\s*""(?<name>atelier\.[\w.]+)""")]
    private static partial Regex Instrument();

    [GeneratedRegex(@"^\| `(?<name>atelier\.[\w.]+)` \|")]
    private static partial Regex InstrumentRow();
}
