// Goal: two claims are equal only if the gradients have the same bits in the same places, and the norm is that of the
// numbers. Method: single flipped bits, exchanged numbers and all lengths; the norm is compared with that of a plain
// loop.
using Atelier.Training.Worlds;
using CsCheck;
using Xunit;

namespace Atelier.Training.Tests.Worlds;

public sealed class ShardClaimTests
{
    [Fact]
    public void EveryBit_AndEveryPlace_Counts() =>
        Gen.Select(Gen.Int[1, 100], Gen.Int, Gen.Int[0, 31], Gen.Int).Sample((length, seed, bit, place) =>
        {
            float[] gradient = FrameSamples.Numbers(seed, length);
            ShardClaim claim = ShardClaim.Of(3, 0.5, gradient);
            Assert.Equal(claim, ShardClaim.Of(3, 0.5, [.. gradient]));
            Assert.NotEqual(claim, ShardClaim.Of(4, 0.5, gradient));
            Assert.NotEqual(claim, ShardClaim.Of(3, 0.25, gradient));

            float[] flipped = [.. gradient];
            int at = (int)((uint)place % length);
            flipped[at] = BitConverter.Int32BitsToSingle(BitConverter.SingleToInt32Bits(gradient[at]) ^ (1 << bit));
            Assert.NotEqual(claim.Checksum, ShardClaim.Of(3, 0.5, flipped).Checksum);

            int other = (at + 8) % length;
            if (BitConverter.SingleToInt32Bits(gradient[at]) != BitConverter.SingleToInt32Bits(gradient[other]))
            {
                float[] exchanged = [.. gradient];
                (exchanged[at], exchanged[other]) = (gradient[other], gradient[at]);
                Assert.NotEqual(claim.Checksum, ShardClaim.Of(3, 0.5, exchanged).Checksum);
            }
        });

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    [InlineData(8)]
    [InlineData(1001)]
    public void SquaredNorm_IsTheNumbers(int length)
    {
        var random = new Random(5);
        float[] gradient = [.. Enumerable.Range(0, length).Select(_ => random.NextSingle() - 0.5f)];
        double expected = gradient.Sum(value => (double)value * value);
        Assert.Equal(expected, ShardClaim.Of(0, 1, gradient).SquaredNorm, 1e-12 * Math.Max(1, expected));
    }

    [Fact]
    public void WhatIsNotFinite_IsNotFinite_AndStillEqualsItself()
    {
        ShardClaim nan = ShardClaim.Of(0, 1, [1, float.NaN]), loss = ShardClaim.Of(0, double.PositiveInfinity, [1]);
        Assert.False(nan.IsFinite);
        Assert.False(loss.IsFinite);
        Assert.True(ShardClaim.Of(0, 1, [1, float.MaxValue]).IsFinite);
        Assert.Equal(nan, ShardClaim.Of(0, 1, [1, float.NaN]));
    }
}
