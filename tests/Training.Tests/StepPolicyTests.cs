// Goal: the policy is a pure function that skips values that are not finite or far too large, and nothing else. Method:
// hand-made values.
using Xunit;

namespace Atelier.Training.Tests;

public sealed class StepPolicyTests
{
    private static readonly StepPolicy s_policy = new() { SpikeFactor = 10, Patience = 2, Warmup = 5 };

    [Fact]
    public void OrdinarySteps_AreApplied() =>
        Assert.All(Verdicts(1, 2, 1, 0.5, 3, 9, 1), v => Assert.Equal(StepVerdict.Apply, v));

    [Fact]
    public void Spike_IsSkipped_OnceThereIsAnAverage()
    {
        Assert.Equal(StepVerdict.Apply, Verdicts(1, 1, 100)[^1]);
        Assert.Equal(StepVerdict.Skip, Verdicts(1, 1, 1, 1, 1, 100)[^1]);
    }

    [Fact]
    public void SpikeOfTheLossAlone_IsSkipped_OnceThereIsAnAverage()
    {
        PolicyMemory memory = Enumerable.Range(0, 5).Aggregate(
            default(PolicyMemory), (m, _) => s_policy.Decide(2, 1, m).Memory);
        Assert.Equal(StepVerdict.Apply, s_policy.Decide(19, 1, memory).Verdict);
        (StepVerdict verdict, PolicyMemory after) = s_policy.Decide(21, 1, memory);
        Assert.Equal(StepVerdict.Skip, verdict);
        Assert.Equal(memory with { SkippedInARow = 1 }, after); // Skipped values are not part of the average.
    }

    [Theory]
    [InlineData(double.NaN, 1)]
    [InlineData(double.PositiveInfinity, 1)]
    [InlineData(1, double.NaN)]
    [InlineData(1, double.PositiveInfinity)]
    public void NonFiniteValues_AreSkipped_EvenAtTheFirstStep(double loss, double norm) =>
        Assert.Equal(StepVerdict.Skip, s_policy.Decide(loss, norm, default).Verdict);

    [Fact]
    public void SkipsInARow_BeyondPatience_RollBack()
    {
        Assert.Equal(StepVerdict.RollBack, Verdicts(1, double.NaN, double.NaN, double.NaN)[^1]);
        Assert.Equal(StepVerdict.Skip, Verdicts(1, double.NaN, double.NaN, 1, double.NaN)[^1]);
    }

    [Fact]
    public void Averages_StartAtTheFirstStep_AndMoveByTheMemorysShare()
    {
        PolicyMemory first = s_policy.Decide(3, 7, default).Memory;
        Assert.Equal(new PolicyMemory(1, Math.Log(7), 0, 0, Math.Log(3)), first);

        PolicyMemory second = s_policy.Decide(5, 11, first with { Returns = 2 }).Memory;
        Assert.Equal((2, 0, 2), (second.Applied, second.SkippedInARow, second.Returns));
        Assert.Equal((0.98 * Math.Log(7)) + (0.02 * Math.Log(11)), second.LogNorm, 1e-12);
        Assert.Equal((0.98 * Math.Log(3)) + (0.02 * Math.Log(5)), second.LogLoss, 1e-12);
    }

    [Theory]
    [InlineData(10, 1, StepVerdict.Apply)]
    [InlineData(1, 10, StepVerdict.Apply)]
    [InlineData(10.001, 1, StepVerdict.Skip)]
    [InlineData(1, 10.001, StepVerdict.Skip)]
    public void Spike_IsMoreThanTheFactorTimesTheAverage(double loss, double norm, StepVerdict verdict) =>
        Assert.Equal(verdict, s_policy.Decide(loss, norm, new PolicyMemory(5, 0, 0, 0, 0)).Verdict);

    [Theory]
    [InlineData(4, StepVerdict.Apply)]
    [InlineData(5, StepVerdict.Skip)]
    public void SpikesAreLookedFor_AfterTheWarmup(long applied, StepVerdict verdict) =>
        Assert.Equal(verdict, s_policy.Decide(1, 1000, new PolicyMemory(applied, 0, 0, 0, 0)).Verdict);

    [Fact]
    public void LossOfZero_LeavesAnAverageThatIsANumber() =>
        Assert.True(double.IsFinite(s_policy.Decide(0, 0, default).Memory.LogLoss));

    [Fact]
    public void StandardPolicy_IsTheOneThatRunsRecord() =>
        Assert.Equal(
            new StepPolicy { SpikeFactor = 20, Patience = 8, ReturnsMax = 3, Warmup = 50 }, new StepPolicy());

    private static StepVerdict[] Verdicts(params double[] norms)
    {
        var memory = default(PolicyMemory);
        return [.. norms.Select(norm =>
        {
            (StepVerdict verdict, memory) = s_policy.Decide(1, norm, memory);
            return verdict;
        })];
    }
}
