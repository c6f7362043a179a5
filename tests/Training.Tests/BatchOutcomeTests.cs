// Goal: the totals of a batch summarize its samples: their mean loss, and the sample with the largest loss. Method:
// hand-made batches.
using Xunit;

namespace Atelier.Training.Tests;

public sealed class BatchOutcomeTests
{
    [Fact]
    public void Loss_IsTheMeanOfItsSamples_AndNotANumberIfThereAreNone()
    {
        Assert.Equal(2.5, new BatchOutcome(10, 1, 4).Loss);
        Assert.Equal(double.NaN, new BatchOutcome(0, double.NaN, 0).Loss);
    }

    [Theory]
    [InlineData(1f, 2f, 1)]
    [InlineData(2f, 1f, 0)]
    [InlineData(2f, 2f, 0)]
    [InlineData(float.NaN, float.PositiveInfinity, 0)]
    [InlineData(float.NaN, float.NaN, 0)]
    [InlineData(float.PositiveInfinity, float.NaN, 1)]
    public void LargestLoss_IsTheFirstOfEquals_AndNaNIsLargest(float first, float second, int largest)
    {
        SampleLoss[] losses = [new(3, first), new(4, second)];
        Assert.Same(losses[largest], SampleLoss.Larger(losses[0], losses[1]));
    }

    [Fact]
    public void LargestLoss_OfOneSample_IsThatSample()
    {
        var loss = new SampleLoss(3, 1);
        Assert.Same(loss, SampleLoss.Larger(loss, null));
        Assert.Same(loss, SampleLoss.Larger(null, loss));
        Assert.Null(SampleLoss.Larger(null, null));
    }
}
