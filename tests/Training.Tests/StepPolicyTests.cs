// Goal: the policy is a pure function that skips what is no number and what is far too large, and nothing else.
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
        Assert.Equal(memory with { SkippedInARow = 1 }, after); // What is skipped is no part of an average.
    }

    [Theory]
    [InlineData(double.NaN, 1)]
    [InlineData(double.PositiveInfinity, 1)]
    [InlineData(1, double.NaN)]
    [InlineData(1, double.PositiveInfinity)]
    public void WhatIsNoNumber_IsSkipped_EvenAtTheFirstStep(double loss, double norm) =>
        Assert.Equal(StepVerdict.Skip, s_policy.Decide(loss, norm, default).Verdict);

    [Fact]
    public void SkipsInARow_BeyondPatience_RollBack()
    {
        Assert.Equal(StepVerdict.RollBack, Verdicts(1, double.NaN, double.NaN, double.NaN)[^1]);
        Assert.Equal(StepVerdict.Skip, Verdicts(1, double.NaN, double.NaN, 1, double.NaN)[^1]);
    }

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
