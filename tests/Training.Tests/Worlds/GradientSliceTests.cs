// Goal: slices add up to the same bits as the whole vector in one process, and keep the order of the samples. Method:
// the sums are compared with those of a plain loop.
using Atelier.Training.Worlds;
using CsCheck;
using Xunit;

namespace Atelier.Training.Tests.Worlds;

public sealed class GradientSliceTests
{
    // The lengths include some that are not a multiple of a SIMD vector's; the operands have every bit pattern.
    [Fact]
    public void Merge_AddsFloats_InTheMemoryOfTheLeft() =>
        Gen.Select(Gen.Int[0, 100], Gen.Int[0, 7], Gen.Int, Gen.Int).Sample((length, offset, one, other) =>
        {
            float[] left = FrameSamples.Numbers(one, length + offset), right = FrameSamples.Numbers(other, length);
            float[] expected = [.. left.Skip(offset).Zip(right, (a, b) => a + b)];
            float[] before = [.. left.Take(offset)];
            GradientSlice sum = GradientSlice.Merge(
                new GradientSlice(left.AsMemory(offset), null), new GradientSlice(right, null));
            Assert.True(sum.Values.Span.Overlaps(left) || length == 0);
            Assert.Equal(
                expected, sum.Values.ToArray(), (a, b) => float.IsNaN(a) ? float.IsNaN(b) : Bits(a) == Bits(b));
            Assert.Equal(before.Select(Bits), left.Take(offset).Select(Bits));
            Assert.Null(sum.Sums);
        });

    [Fact]
    public void Merge_KeepsTheOrderOfTheSamples()
    {
        BadSample a = new(1, "latents", "NaN"), b = new(2, "captions", "infinity");
        GradientSlice sum = GradientSlice.Merge(
            new GradientSlice(new float[1], new BatchSums
            {
                LossSum = 0.1, Samples = 2, LeftOut = [a], Largest = new SampleLoss(5, 1), NotFinite = 1,
                SampleIds = [5, 3], Claims = [new ShardClaim(2, 1, 2, 3)],
            }),
            new GradientSlice(new float[1], new BatchSums
            {
                LossSum = 0.2, Samples = 1, LeftOut = [b], Largest = new SampleLoss(4, 1), NotFinite = 2,
                SampleIds = [4], Claims = [new ShardClaim(3, 4, 5, 6)],
            }));
        FrameSamples.AssertEqual(
            new BatchSums
            {
                LossSum = 0.1 + 0.2, Samples = 3, LeftOut = [a, b], Largest = new SampleLoss(5, 1), NotFinite = 3,
                SampleIds = [5, 3, 4], Claims = [new ShardClaim(2, 1, 2, 3), new ShardClaim(3, 4, 5, 6)],
            },
            sum.Sums);

        BatchOutcome outcome = sum.Sums!.Outcome(0.25);
        Assert.Equal((0.1 + 0.2, 0.25, 3), (outcome.LossSum, outcome.GradientNorm, outcome.Samples));
        Assert.Equal((new SampleLoss(5, 1), 3), (outcome.Largest, outcome.NotFinite));
        Assert.Equal([a, b], outcome.LeftOut);
    }

    [Fact]
    public void Merge_RefusesSlicesThatDoNotMatch()
    {
        var slice = new GradientSlice(new float[3], null);
        Assert.Throws<ArgumentException>(() => GradientSlice.Merge(slice, new GradientSlice(new float[4], null)));
        Assert.Throws<ArgumentException>(
            () => GradientSlice.Merge(slice, new GradientSlice(new float[3], new BatchSums())));
    }

    private static int Bits(float value) => BitConverter.SingleToInt32Bits(value);
}
