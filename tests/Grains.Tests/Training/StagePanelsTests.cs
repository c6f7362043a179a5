// Goal: a panel is due at the first checkpoint of each interval and at the end, at most two wait, and a score that
// falls too far holds the stage once. Method: the pure protocol, with steps and scores by hand.
using Atelier.Grains.Training;
using Xunit;

namespace Atelier.Grains.Tests.Training;

public sealed class StagePanelsTests
{
    private static readonly StagePanels s_none = new() { Interval = 100 };

    [Fact]
    public void APanelIsDue_AtTheFirstCheckpointOfAnInterval_AndAtTheEnd()
    {
        Assert.Equal([100L, 230, 300, 310], DueAt(s_none, (60, false), (100, false), (160, false), (230, false),
            (290, false), (300, false), (310, true), (310, true)));
        Assert.Empty(DueAt(new StagePanels(), (100, false), (200, true)));

        // A stage that begins in the middle has drawn its earlier panels elsewhere.
        Assert.Equal([200L], DueAt(s_none with { Last = 150 }, (160, false), (200, false)));

        // The result gets a panel, wherever the stage ends.
        Assert.Equal([100L, 155], DueAt(s_none, (100, false), (155, true)));
    }

    [Fact]
    public void WhileAPanelIsDrawn_OneMoreWaits_AndTheNewestReplacesIt()
    {
        StagePanels panels = s_none;
        var skipped = new List<long?>();
        foreach (long step in (long[])[100, 200, 300, 400])
        {
            (panels, long? without) = panels.Committed(step, isLast: false);
            skipped.Add(without);
        }

        Assert.Equal([100L, 400], panels.Due);
        Assert.Equal([null, null, 200L, 300L], skipped);
        Assert.Equal([400L], panels.Without(100).Due);
    }

    [Fact]
    public void AScoreThatFallsTooFar_HoldsTheStage_AndIsTheNextOnesMeasure()
    {
        (StagePanels panels, string? hold) = Drawn(s_none, 100, 30);
        Assert.Null(hold);
        (panels, hold) = Drawn(panels, 200, 25.5); // Less than 5 below.
        Assert.Null(hold);
        (panels, hold) = Drawn(panels, 300, 24);
        Assert.Equal(
            "the panel of step 300 has the CLIP score 24.00, more than 5 below the 30.00 of step 100; look at both "
            + "panels, and resume or cancel the run", hold);
        Assert.Equal([false, false, true], panels.Drawn.Select(panel => panel.IsHeld));

        // The person who has resumed the stage has accepted this score.
        (panels, hold) = Drawn(panels, 400, 20);
        Assert.Null(hold);
        (panels, hold) = Drawn(panels, 500, 18.9);
        Assert.Contains("the 24.00 of step 300", hold, StringComparison.Ordinal);
        Assert.Null(Drawn(panels, 600, null).Hold);
        Assert.Null(Drawn(panels, 600, 1, dropMax: null).Hold);
    }

    [Fact]
    public void APanelThatIsDrawnTwice_IsRecordedOnce_AndTheLastOnesAreKept()
    {
        StagePanels panels = Drawn(s_none, 100, 30).Panels;
        Assert.Same(panels, panels.With(new DrawnPanel(100, "other", 1) { DropMax = 0 }).Panels);
        for (int i = 2; i <= StagePanels.KeptMax + 1; i++)
        {
            panels = Drawn(panels, 100 * i, 30).Panels;
        }

        Assert.Equal((StagePanels.KeptMax, 200), (panels.Drawn.Length, panels.Drawn[0].Step));
    }

    private static (StagePanels Panels, string? Hold) Drawn(
        StagePanels panels, long step, double? score, double? dropMax = 5) =>
        panels.Committed(step, isLast: false).Panels.With(
            new DrawnPanel(step, $"sheet {step}", score) { DropMax = dropMax });

    private static List<long> DueAt(StagePanels panels, params (long Step, bool IsLast)[] checkpoints)
    {
        var due = new List<long>();
        foreach ((long step, bool isLast) in checkpoints)
        {
            panels = panels.Committed(step, isLast).Panels;
            due.AddRange(panels.Due);
            panels = panels with { Due = [] };
        }

        return due;
    }
}
