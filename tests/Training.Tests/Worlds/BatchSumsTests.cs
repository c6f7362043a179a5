// Goal: the sums of a batch contain each sample of both halves once, in the run's order, whatever the halves contain,
// and become the numbers that the rules decide from. Method: sums by hand.
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Training.Tests.Worlds;

public sealed class BatchSumsTests
{
    private static readonly BatchSums s_left = new()
    {
        LossSum = 1.5, Samples = 2, NotFinite = 1, SampleIds = [10, 11],
        LeftOut = [new BadSample(12, "latents", "NaN")], Largest = new SampleLoss(10, 1),
        Claims = [new ShardClaim(0, 1.5, 2, 3)], World = 4,
    };

    private static readonly BatchSums s_right = new()
    {
        LossSum = 2.25, Samples = 3, NotFinite = 2, SampleIds = [20, 21, 22],
        LeftOut = [new BadSample(23, "captions", "-infinity")], Largest = new SampleLoss(21, 2),
        Claims = [new ShardClaim(1, 2.25, 5, 6)], World = 4,
    };

    [Fact]
    public void Merge_AddsWhatIsCounted_AndListsTheLeftHalfFirst()
    {
        BatchSums merged = BatchSums.Merge(s_left, s_right);
        Assert.Equal((3.75, 5, 3, 4), (merged.LossSum, merged.Samples, merged.NotFinite, merged.World));
        Assert.Equal([10, 11, 20, 21, 22], merged.SampleIds);
        Assert.Equal([12, 23], merged.LeftOut.Select(sample => sample.Sample));
        Assert.Equal([0, 1], merged.Claims.Select(claim => claim.Shard));
    }

    [Theory]
    [InlineData(1f, 2f, 1)]
    [InlineData(2f, 1f, 0)]
    [InlineData(1f, 1f, 0)]
    [InlineData(float.NaN, 9f, 0)]
    [InlineData(9f, float.NaN, 1)]
    [InlineData(float.NaN, float.NaN, 0)]
    [InlineData(null, 1f, 1)]
    [InlineData(1f, null, 0)]
    [InlineData(null, null, null)]
    public void Merge_KeepsTheLargestLoss_TheFirstAmongEquals(float? left, float? right, int? expected) =>
        Assert.Equal(expected, BatchSums.Merge(Largest(0, left), Largest(1, right)).Largest?.Sample);

    [Fact]
    public void Outcome_HasTheBatchsNumbers()
    {
        BatchOutcome outcome = s_right.Outcome(0.5);
        Assert.Equal(
            (2.25, 0.5, 3, 2, 0.75),
            (outcome.LossSum, outcome.GradientNorm, outcome.Samples, outcome.NotFinite, outcome.Loss));
        Assert.Equal(s_right.LeftOut, outcome.LeftOut);
        Assert.Equal(s_right.Largest, outcome.Largest);
    }

    private static BatchSums Largest(int sample, float? loss) =>
        new() { Largest = loss is null ? null : new SampleLoss(sample, loss.Value) };
}
