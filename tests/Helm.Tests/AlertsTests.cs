// Goal: each alert fires when it should and only then, and its entry in the runbook says what to do. Method: promtool
// evaluates the rules against the series of tests/helm/alerts.test.yaml; each alert is compared with
// docs/operations.md.
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.Helm.Tests;

public sealed partial class AlertsTests
{
    [Fact]
    public async Task Rules_AreValid()
    {
        Promtool.SkipIfMissing();
        (int code, string output, string error) = await Promtool.RunAsync("check", "rules", Monitoring.RulesFile);
        Assert.True(code == 0, output + error);
        Assert.Contains($"{Monitoring.Alerts.Length} rules found", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rules_FireWhenTheyShould_AndOnlyThen()
    {
        Promtool.SkipIfMissing();
        (int code, string output, string error) = await Promtool.RunAsync("test", "rules", Monitoring.TestsFile);
        Assert.True(code == 0, output + error);
    }

    // A rule that never fires, or always does, would otherwise pass.
    [Fact]
    public void EveryAlert_HasATestInWhichItFires_AndOneInWhichItDoesNot()
    {
        string[] names =
            [.. Monitoring.Read(Monitoring.TestsFile)["tests"]!.AsArray().Select(test => (string)test!["name"]!)];
        Assert.Equal(
            Monitoring.Alerts.SelectMany(alert => new[] { $"{alert.Name} fires", $"{alert.Name} does not fire" })
                .Order(StringComparer.Ordinal),
            names.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void EveryAlert_SaysHowBadItIs_WhatHappened_AndWhereToReadOn() => Assert.All(Monitoring.Alerts, alert =>
    {
        Assert.Contains(alert.Severity, (string[])["critical", "warning"]);
        Assert.Equal(["description", "runbook_url", "summary"], alert.Notes.Keys.Order(StringComparer.Ordinal));
        Assert.EndsWith(".", alert.Notes["description"], StringComparison.Ordinal);
        Assert.Equal($"docs/operations.md#{alert.Name.ToLowerInvariant()}", alert.Notes["runbook_url"]);
    });

    [Fact]
    public void TheRunbook_HasEveryAlert_AndNoOther()
    {
        string document = File.ReadAllText(Repository.InRoot("docs/operations.md"));
        string[] entries =
        [
            .. Entry().Matches(document).Select(
                match => $"{match.Groups["name"].Value} {match.Groups["severity"].Value.ToLowerInvariant()}"),
        ];
        Assert.Equal(Monitoring.Alerts.Select(alert => $"{alert.Name} {alert.Severity}"), entries);
    }

    [GeneratedRegex(@"^### (?<name>Atelier\w+)\n\n(?<severity>\w+)\. \w", RegexOptions.Multiline)]
    private static partial Regex Entry();
}
