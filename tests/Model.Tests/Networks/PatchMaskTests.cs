using Atelier.Model.Networks;
using Atelier.Model.Tests.Verify;
using CsCheck;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Networks;

public sealed class PatchMaskTests
{
    // Deliberately coarse numbers: ties are common.
    private static readonly Gen<(int Batch, int Length, double Ratio, float[] Noise)> s_masks =
        from batch in Gen.Int[1, 4]
        from length in Gen.Int[2, 40]
        from ratio in Gen.Double[0, 0.5]
        from noise in Gen.Int[0, 7].Select(n => n / 8f).Array[batch * length]
        select (batch, length, ratio, noise);

    [Fact]
    public void Keep_HoldsThePatchesOfLeastNoise_EachOnce_EqualOnesInOrder() => s_masks.Sample(m =>
    {
        using PatchMask mask = PatchMask.FromNoise(m.Noise, m.Batch, m.Ratio);
        int kept = PatchMask.KeptOf(m.Length, m.Ratio);
        for (int row = 0; row < m.Batch; row++)
        {
            float[] noise = m.Noise[(row * m.Length)..((row + 1) * m.Length)];
            long[] expected = [.. Enumerable.Range(0, m.Length).OrderBy(i => noise[i]).Take(kept).Select(i => (long)i)];
            Assert.Equal(expected, mask.Keep[row].data<long>().ToArray());
            float[] masked = mask.Masked[row].data<float>().ToArray();
            Assert.Equal(m.Length - kept, masked.Sum());
            Assert.All(expected, patch => Assert.Equal(0, masked[patch]));
        }
    });

    [Fact]
    public void Fill_PutsEverySelectedTokenBack_AndTheFillerElsewhere() => s_masks.Sample(m =>
    {
        using var scope = NewDisposeScope();
        using PatchMask mask = PatchMask.FromNoise(m.Noise, m.Batch, m.Ratio);
        Tensor tokens = SmallNetworks.Normal(1, [m.Batch, m.Length, 3]);
        Tensor filler = full([1, 1, 3], -7f);
        Tensor expected = where(mask.Masked.unsqueeze(-1) == 1, filler, tokens);
        Assert.Equal(FormulaCase.Bits(expected), FormulaCase.Bits(mask.Fill(mask.Select(tokens), filler)));
    });

    [Fact]
    public void ARow_DoesNotDependOnTheOtherRows() => s_masks.Sample(m =>
    {
        using PatchMask all = PatchMask.FromNoise(m.Noise, m.Batch, m.Ratio);
        for (int row = 0; row < m.Batch; row++)
        {
            using PatchMask alone = PatchMask.FromNoise(m.Noise.AsSpan(row * m.Length, m.Length), 1, m.Ratio);
            Assert.Equal(FormulaCase.Bits(all.Restore[row]), FormulaCase.Bits(alone.Restore[0]));
        }
    });

    [Theory]
    [InlineData(-0.01)]
    [InlineData(1)]
    [InlineData(double.NaN)]
    [InlineData(double.PositiveInfinity)]
    public void Ratio_OutsideItsRangeIsRefused(double ratio)
    {
        var error = Assert.Throws<ArgumentOutOfRangeException>(() => PatchMask.FromNoise(new float[16], 1, ratio));
        Assert.Contains("A mask ratio must be in [0, 1)", error.Message);
    }

    [Fact]
    public void Ratio_ThatLeavesNoPatchIsRefused()
    {
        Assert.Equal(1, PatchMask.KeptOf(16, 0.9));
        var error = Assert.Throws<ArgumentOutOfRangeException>(() => PatchMask.KeptOf(16, 0.95));
        Assert.Contains("leaves none of 16 patches", error.Message);
    }
}
