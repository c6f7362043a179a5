// Goal: a notice is recognized in what each cloud answers, and nothing else is taken for one. Method: answers in the
// form that the clouds document.
using System.Globalization;
using Atelier.Silo.Hosting.Preemption;
using Xunit;

namespace Atelier.Silo.Tests.Hosting.Preemption;

public sealed class PreemptionNoticeTests
{
    [Theory]
    [InlineData("Preempt", "node_3", "Sat, 19 Sep 2026 18:29:47 GMT", "2026-09-19T18:29:47Z")]
    [InlineData("Terminate", "NODE_3", "", null)]
    [InlineData("Preempt", "node_3", null, null)]
    public void AnAzureEvent_ThatTakesThisNode_IsANotice(string type, string node, string? time, string? expected)
    {
        PreemptionNotice? notice = PreemptionNotice.FromAzure(Events(Event(type, node, time)), "node_3");
        Assert.NotNull(notice);
        Assert.Contains(type, notice.Reason, StringComparison.Ordinal);
        DateTimeOffset? at = expected is null ? null : DateTimeOffset.Parse(expected, CultureInfo.InvariantCulture);
        Assert.Equal(at, notice.NotBefore);
    }

    [Fact]
    public void AzureEvents_ThatPauseANode_OrTakeAnotherOne_AreNone()
    {
        Assert.Null(PreemptionNotice.FromAzure("""{"DocumentIncarnation":1,"Events":[]}""", "node_3"));
        Assert.Null(PreemptionNotice.FromAzure(
            Events(
                Event("Preempt", "node_4", ""), Event("Freeze", "node_3", ""), Event("Reboot", "node_3", ""),
                Event("Redeploy", "node_3", "")),
            "node_3"));
    }

    [Fact]
    public void OfSeveralAzureEvents_TheFirstCounts()
    {
        string early = "Sat, 19 Sep 2026 18:29:47 GMT", late = "Sat, 19 Sep 2026 18:40:00 GMT";
        foreach (string json in (string[])[
            Events(Event("Terminate", "node_3", late), Event("Preempt", "node_3", early)),
            Events(Event("Preempt", "node_3", early), Event("Terminate", "node_3", late))])
        {
            Assert.Equal(29, PreemptionNotice.FromAzure(json, "node_3")!.NotBefore!.Value.Minute);
        }

        // An event that has started is before all others.
        Assert.Null(PreemptionNotice.FromAzure(
            Events(Event("Preempt", "node_3", early), Event("Terminate", "node_3", "")), "node_3")!.NotBefore);
    }

    [Fact]
    public void AnAwsInstanceAction_IsANotice_WithItsTime()
    {
        PreemptionNotice? notice = PreemptionNotice.FromAws("""{"action":"terminate","time":"2026-09-18T08:22:00Z"}""");
        Assert.Equal(
            "AWS spot instance action terminate, not before 2026-09-18 08:22:00 UTC", notice?.ToString());
    }

    [Fact]
    public void GooglesFlag_IsTrueOrFalse()
    {
        Assert.NotNull(PreemptionNotice.FromGcp("TRUE\n"));
        Assert.Null(PreemptionNotice.FromGcp("FALSE"));
        Assert.Throws<InvalidDataException>(() => PreemptionNotice.FromGcp("<html>"));
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("null")]
    [InlineData("{}")]
    [InlineData("""{"Events":7,"action":7}""")]
    [InlineData("""{"Events":[{}],"action":"stop"}""")]
    [InlineData("""{"Events":[{"EventType":7,"Resources":["node_3"]}],"action":"stop","time":7}""")]
    [InlineData(
        """
        {"Events":[{"EventType":"Preempt","Resources":["node_3"],"NotBefore":"soon"}],"action":"stop","time":"soon"}
        """)]
    public void WhatIsNoAnswer_IsRefused(string json)
    {
        Assert.Throws<InvalidDataException>(() => PreemptionNotice.FromAzure(json, "node_3"));
        Assert.Throws<InvalidDataException>(() => PreemptionNotice.FromAws(json));
    }

    internal static string Events(params string[] events) =>
        $$"""{"DocumentIncarnation":2,"Events":[{{string.Join(',', events)}}]}""";

    internal static string Event(string type, string node, string? time) =>
        $$"""
        {"EventId":"f020ba2e","EventType":"{{type}}","ResourceType":"VirtualMachine","Resources":["{{node}}"],
        "EventStatus":"Scheduled","Description":"","EventSource":"Platform","DurationInSeconds":-1
        {{(time is null ? "" : $",\"NotBefore\":\"{time}\"")}}}
        """;
}
