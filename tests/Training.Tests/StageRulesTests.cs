// Goal: what becomes of a batch is a pure function of the run's position and the batch's numbers, and the ledger says
// of every batch that is not in the weights why. Method: batches made by hand.
using System.Text.Json;
using Xunit;

namespace Atelier.Training.Tests;

public sealed class StageRulesTests
{
    private static readonly StageRules s_rules =
        new("toy", 20, 4, 6, new StepPolicy { Patience = 2, ReturnsMax = 1, Warmup = 5 });

    private static readonly BatchOutcome s_good = new(4, 1, 4);
    private static readonly BatchOutcome s_bad = new(double.NaN, double.NaN, 4) { NotFinite = 4 };
    private static readonly BatchOutcome s_empty =
        new(0, double.NaN, 0) { LeftOut = [.. Enumerable.Range(0, 4).Select(i => new BadSample(i, "latents", "NaN"))] };

    [Fact]
    public void GoodBatch_IsApplied_AndNothingIsNoted()
    {
        StepDecision decision = Decide(RunPosition.Start, s_good);
        Assert.Equal(StepVerdict.Apply, decision.Verdict);
        Assert.Equal((1, 1, 1), (decision.Position.Step, decision.Position.Updates, decision.Position.Applied));
        Assert.Empty(decision.Remarks);
        Assert.Null(decision.Position.LeftOut);
    }

    [Fact]
    public void SkippedBatch_IsInTheLedger_WithItsReason_AndIsNoUpdate()
    {
        StepDecision decision = Decide(Decide(RunPosition.Start, s_good).Position, s_bad);
        Assert.Equal(StepVerdict.Skip, decision.Verdict);
        Assert.Equal((2, 1, 1), (decision.Position.Step, decision.Position.Updates, decision.Position.Applied));
        Assert.Equal(new SkippedSlice(1, "loss NaN, gradient norm NaN"), Assert.Single(decision.Position.Ledger));
        Assert.Equal("step 1 is skipped: loss NaN, gradient norm NaN", Assert.Single(decision.Remarks));
    }

    [Fact]
    public void OneSampleThatSpoilsABatch_IsNamed()
    {
        BatchOutcome batch = s_bad with { NotFinite = 1, Largest = new SampleLoss(7, float.NaN) };
        SkippedSlice slice = Decide(RunPosition.Start, batch).Slice!;
        Assert.Equal(SkippedBecause.OneSample, slice.Because);
        Assert.EndsWith("place 7 alone has a loss of NaN", slice.Reason);

        // Half of the batch is not one sample.
        Assert.Equal(SkippedBecause.Loss, Decide(RunPosition.Start, batch with { NotFinite = 2 }).Slice!.Because);
    }

    [Fact]
    public void SamplesLeftOut_AreCounted_AndNamedOnce()
    {
        BatchOutcome batch = s_good with { LeftOut = [new BadSample(3, "latents", "NaN")] };
        StepDecision first = Decide(RunPosition.Start, batch), second = Decide(first.Position, batch);
        Assert.Equal(
            "place 3: latents holds NaN; the sample is left out of every batch", Assert.Single(first.Remarks));
        Assert.Empty(second.Remarks);
        Assert.Equal(2, second.Position.LeftOut!.Times);
        Assert.Equal(
            new LeftOutSample(3, "place 3", "latents", "NaN", 0, 2), Assert.Single(second.Position.LeftOut.Samples));
    }

    [Fact]
    public void EmptyBatchesInARow_BeyondPatience_EndTheRun_AndAreNoSpikes()
    {
        RunPosition position = RunPosition.Start;
        for (int i = 0; i < 2; i++)
        {
            StepDecision decision = Decide(position, s_empty);
            Assert.Null(decision.Failure);
            Assert.Equal(0, decision.Position.Memory.SkippedInARow);
            position = decision.Position;
        }

        StepDecision last = Decide(position, s_empty);
        Assert.Contains("the last 3 batches, up to step 2, have no sample", last.Failure!.Message);
        Assert.Equal(0, last.Position.Applied);
        Assert.Null(Decide(Decide(position, s_good).Position, s_empty).Failure);
    }

    [Fact]
    public void RunThatGoesBack_HasEveryBatchSinceInTheLedger_AndGoesBackNoOftenerThanAllowed()
    {
        RunPosition last = Follow(RunPosition.Start, s_good, s_good, s_bad);
        RunPosition position = Follow(last, s_good, s_good, s_bad, s_bad);
        StepDecision decision = Decide(position, s_bad);
        Assert.Equal(StepVerdict.RollBack, decision.Verdict);
        Assert.Null(decision.Failure);
        Assert.Equal(position.Step, decision.Position.Step);
        (RunPosition back, string remark) = s_rules.RollBack(decision.Position, decision.Slice!, last);
        Assert.Equal("step 7: the run rolled back to the weights of step 3 and skips the 5 batches since", remark);
        Assert.Equal((8, 2, 2), (back.Step, back.Updates, back.Applied));
        Assert.Equal(last.Memory with { Returns = 1 }, back.Memory);
        Assert.Equal([2, 3, 4, 5, 6, 7], back.Ledger.Select(slice => slice.Step));
        Assert.Equal(
            [3, 4], back.Ledger.Where(slice => slice.Because == SkippedBecause.Undone).Select(slice => slice.Step));
        Assert.EndsWith("; the run rolled back to step 3", back.Ledger[^1].Reason);

        StepDecision again = Decide(Follow(back, s_bad, s_bad), s_bad);
        Assert.IsType<TrainingDivergedException>(again.Failure);
        Assert.Throws<TrainingDivergedException>(() => s_rules.RollBack(decision.Position, decision.Slice!, null));
    }

    [Fact]
    public void Checkpoint_IsDueAtEveryIntervalsEnd_ButNotAmongSkippedBatches()
    {
        Assert.False(s_rules.IsCheckpointDue(StepVerdict.Apply, 5, 0));
        Assert.True(s_rules.IsCheckpointDue(StepVerdict.Apply, 6, 0));
        Assert.False(s_rules.IsCheckpointDue(StepVerdict.Skip, 6, 0));
        Assert.True(s_rules.IsCheckpointDue(StepVerdict.Apply, 7, 0));
        Assert.False(s_rules.IsCheckpointDue(StepVerdict.Apply, 11, 7));
        Assert.True(s_rules.IsCheckpointDue(StepVerdict.RollBack, 8, 7));
    }

    [Fact]
    public void StageWithoutHalfOfItsBatches_OrSamples_HasNoResult()
    {
        RunPosition half = Follow(RunPosition.Start, s_good, s_bad, s_good, s_bad);
        Assert.Null(s_rules.Failure(half));
        Assert.Contains("only 2 of 5 batches", s_rules.Failure(Follow(half, s_bad))!.Message);
        RunPosition few = half with { LeftOut = new LeftOutSamples(9, []) };
        Assert.Contains("9 of 16 samples were left out", s_rules.Failure(few)!.Message);
        Assert.Null(s_rules.Failure(few with { LeftOut = new LeftOutSamples(8, []) }));
    }

    // Checkpoints hold positions in this form.
    [Fact]
    public void Position_IsStoredWithItsFiveParts_AndReadAgain()
    {
        RunPosition position = Follow(RunPosition.Start, s_good, s_bad);
        string json = JsonSerializer.Serialize(position);
        Assert.Matches(
            """^{"Step":2,"Updates":1,"Memory":{[^}]*},"Ledger":\[{"Step":1,"Reason":"[^"]*"}\]}$""", json);
        RunPosition read = JsonSerializer.Deserialize<RunPosition>(json)!;
        Assert.Equal(position.Ledger, read.Ledger);
        Assert.Equal((position.Step, position.Updates, position.Memory), (read.Step, read.Updates, read.Memory));
    }

    private static StepDecision Decide(RunPosition position, BatchOutcome batch) =>
        s_rules.Decide(position, batch, sample => $"place {sample}");

    private static RunPosition Follow(RunPosition position, params BatchOutcome[] batches) =>
        batches.Aggregate(position, (before, batch) => Decide(before, batch).Position);
}
