// Goal: the decision about a batch is a pure function of the run's position and the batch's numbers, and the ledger
// gives the reason for every batch that is not in the weights. Method: hand-made batches.
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
    public void SkippedBatch_IsInTheLedger_WithItsReason_AndIsNotAnUpdate()
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

        // If half of the batch is not finite, no single sample is at fault.
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
    public void EmptyBatchesInARow_BeyondPatience_EndTheRun_AndAreNotSpikes()
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
    public void RunThatRollsBack_HasEveryBatchSinceInTheLedger_AndRollsBackNoMoreOftenThanAllowed()
    {
        RunPosition last = Follow(RunPosition.Start, s_good, s_good, s_bad);
        RunPosition position = Follow(last, s_good, s_good, s_bad, s_bad);
        StepDecision decision = Decide(position, s_bad);
        Assert.Equal(StepVerdict.RollBack, decision.Verdict);
        Assert.Null(decision.Failure);
        Assert.Equal(position.Step, decision.Position.Step);
        (RunPosition back, string remark) = s_rules.RollBack(decision.Position, decision.Slice!, last);
        Assert.Equal(
            "step 7: the run rolled back to the weights of step 3; the 5 batches after it are skipped", remark);
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

    // Checkpoints contain positions in this form.
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

    [Fact]
    public void Position_CountsWhatIsInTheWeights_WhatWasUndone_AndWhatWasNeverApplied()
    {
        var position = new RunPosition(
            10, 6, default,
            [
                new SkippedSlice(2, "loss"), new SkippedSlice(3, "went back", SkippedBecause.Undone),
                new SkippedSlice(5, "none", SkippedBecause.NoSample),
                new SkippedSlice(6, "one", SkippedBecause.OneSample),
            ]);
        Assert.Equal((6, 1, 3), (position.Applied, position.Undone, position.Skipped));
        Assert.Equal((0, 0, 0), (RunPosition.Start.Step, RunPosition.Start.Updates, RunPosition.Start.Applied));
    }

    // A loss is attributed to one sample if that sample has more than half of the sum, and the batch more than two
    // samples.
    [Theory]
    [InlineData(4, 100, 51f, true)]
    [InlineData(4, 100, 50f, false)]
    [InlineData(3, 100, 51f, true)]
    [InlineData(2, 100, 51f, false)]
    public void OneLargeLoss_IsNamed_IfItIsMoreThanHalfOfTheBatchs(int samples, double sum, float largest, bool isOne)
    {
        var spiked = RunPosition.Start with { Memory = new PolicyMemory(50, 0, 0, 0, 0) };
        var batch = new BatchOutcome(sum, 1000, samples) { Largest = new SampleLoss(7, largest) };
        StepDecision decision = Decide(spiked, batch);
        Assert.Equal(StepVerdict.Skip, decision.Verdict);
        Assert.Equal(isOne ? SkippedBecause.OneSample : SkippedBecause.Loss, decision.Slice!.Because);
    }

    [Fact]
    public void BatchWithNoLargestSample_IsSkippedForItsLoss() =>
        Assert.Equal(
            SkippedBecause.Loss,
            Decide(RunPosition.Start, s_bad with { NotFinite = 1, Largest = null }).Slice!.Because);

    // Remarks name twenty samples, and say once that there are more.
    [Fact]
    public void SamplesLeftOut_AreNamedUpToTwenty_AndThenCounted()
    {
        RunPosition position = RunPosition.Start;
        var remarks = new List<int>();
        for (int i = 0; i < 9; i++)
        {
            BatchOutcome batch = s_good with
            {
                LeftOut = [.. Enumerable.Range(3 * i, 3).Select(sample => new BadSample(sample, "latents", "NaN"))],
            };
            StepDecision decision = Decide(position, batch);
            remarks.Add(decision.Remarks.Count);
            position = decision.Position;
        }

        Assert.Equal([3, 3, 3, 3, 3, 3, 3, 0, 0], remarks); // The seventh batch names two and says that there are more.
        Assert.Equal((27, 27), (position.LeftOut!.Times, position.LeftOut.Samples.Count));
    }

    // The advice depends on the most frequent reason of the consecutive skips.
    [Fact]
    public void RunThatDiverges_NamesTheLikelyCause()
    {
        BatchOutcome one = s_bad with { NotFinite = 1, Largest = new SampleLoss(7, float.NaN) };
        Assert.Contains("place 7 alone", Ends(RunPosition.Start, one, one, one));
        Assert.Contains("no update was made", Ends(RunPosition.Start, s_bad, s_bad, s_bad));
        Assert.Contains("learning rate", Ends(Follow(RunPosition.Start, s_good), s_bad, s_bad, s_bad));
        Assert.Contains("place 7 alone", Ends(Follow(RunPosition.Start, s_good), s_bad, one, one));
        Assert.Contains("learning rate", Ends(Follow(RunPosition.Start, s_good), s_bad, s_bad, one));
        Assert.Contains(
            "place 7 alone", Ends(Follow(RunPosition.Start, s_good, s_bad, s_good), one, s_empty, one, one));

        static string Ends(RunPosition position, params BatchOutcome[] batches)
        {
            position = Follow(position, batches[..^1]);
            StepDecision decision = Decide(position, batches[^1]);
            Assert.Equal(StepVerdict.RollBack, decision.Verdict);
            return Assert.Throws<TrainingDivergedException>(
                () => s_rules.RollBack(decision.Position, decision.Slice!, null)).Message;
        }
    }

    [Fact]
    public void EmptyBatchesWithOthersBetween_AreNotInARow()
    {
        RunPosition position = Follow(RunPosition.Start, s_empty, s_empty, s_good, s_empty);
        Assert.Null(Decide(position, s_empty).Failure);
        Assert.NotNull(Decide(Follow(position, s_empty), s_empty).Failure);
    }

    private static StepDecision Decide(RunPosition position, BatchOutcome batch) =>
        s_rules.Decide(position, batch, sample => $"place {sample}");

    private static RunPosition Follow(RunPosition position, params BatchOutcome[] batches) =>
        batches.Aggregate(position, (before, batch) => Decide(before, batch).Position);
}
