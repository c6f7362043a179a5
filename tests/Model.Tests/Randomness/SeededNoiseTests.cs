// Goal: random numbers are those of Philox4x32-10, follow the distributions they claim, and depend only on seed,
// purpose, index and position. All seeds are fixed, so the statistics either hold always or never.
using System.Numerics;
using Atelier.Model.Randomness;
using CsCheck;
using Xunit;

namespace Atelier.Model.Tests.Randomness;

public sealed class SeededNoiseTests
{
    private const int Many = 1 << 20;

    // Known answers published with Random123 (kat_vectors): a counter of 128 bits, a key of 64.
    [Theory]
    [InlineData(
        new uint[] { 0, 0, 0, 0 }, new uint[] { 0, 0 }, new uint[] { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 })]
    [InlineData(
        new uint[] { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff }, new uint[] { 0xffffffff, 0xffffffff },
        new uint[] { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd })]
    [InlineData(
        new uint[] { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, new uint[] { 0xa4093822, 0x299f31d0 },
        new uint[] { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 })]
    public void ThePapersPhilox_GivesTheKnownAnswers(uint[] counter, uint[] key, uint[] answer) =>
        Assert.Equal(answer, PapersPhilox(counter, key));

    [Fact]
    public void Philox_IsThePapers_WhereTheUpperHalfOfTheCounterIsZero()
    {
        Assert.Equal((0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u), SeededNoise.Philox(0, 0));
        Gen.Select(Gen.ULong, Gen.ULong).Sample((key, counter) =>
        {
            uint[] expected = PapersPhilox(
                [(uint)counter, (uint)(counter >> 32), 0, 0], [(uint)key, (uint)(key >> 32)]);
            (uint a, uint b, uint c, uint d) = SeededNoise.Philox(key, counter);
            return expected.SequenceEqual([a, b, c, d]);
        });
    }

    [Fact]
    public void FirstNumbersOfASeed_NeverChange()
    {
        Assert.Equal(
            Approved.Normals.Select(BitConverter.SingleToUInt32Bits),
            Normal(42, NoisePurpose.StartLatent, 0, 6).Select(BitConverter.SingleToUInt32Bits));
        Assert.Equal(
            Approved.Uniforms.Select(BitConverter.SingleToUInt32Bits),
            Uniform(0, NoisePurpose.PatchMask, long.MaxValue, 6).Select(BitConverter.SingleToUInt32Bits));
        Assert.Equal(Approved.Order, SeededNoise.Permutation(ulong.MaxValue, NoisePurpose.SampleOrder, 3, 10));
    }

    [Fact]
    public void Normal_HasTheMomentsAndTailsOfTheNormalDistribution()
    {
        float[] x = Normal(1, NoisePurpose.TrainingNoise, 5, Many);
        double mean = x.Average(v => (double)v);
        double[] moments = [.. Enumerable.Range(2, 3).Select(k => x.Average(v => Math.Pow(v - mean, k)))];
        double error = 5 / Math.Sqrt(Many);
        Assert.InRange(mean, -error, error);
        Assert.InRange(moments[0], 1 - (error * Math.Sqrt(2)), 1 + (error * Math.Sqrt(2)));
        Assert.InRange(moments[1], -error * Math.Sqrt(15), error * Math.Sqrt(15));
        Assert.InRange(moments[2], 3 - (error * Math.Sqrt(96)), 3 + (error * Math.Sqrt(96)));
        (double, double)[] tails = [(1, 0.31731051), (2, 0.04550026), (3, 0.00269980), (4, 6.3342e-5)];
        foreach ((double beyond, double part) in tails)
        {
            double found = x.Count(v => Math.Abs(v) > beyond) / (double)Many;
            Assert.InRange(found, part - (5 * Math.Sqrt(part / Many)), part + (5 * Math.Sqrt(part / Many)));
        }
    }

    [Fact]
    public void Uniform_FillsItsIntervalEvenly_InMultiplesOfTwoToTheMinus24()
    {
        float[] x = Uniform(2, NoisePurpose.PatchMask, 0, Many);
        Assert.All(x, v => Assert.True(v is >= 0 and < 1 && v * (1 << 24) == MathF.Floor(v * (1 << 24))));
        int[] bins = new int[256];
        foreach (float v in x)
        {
            bins[(int)(v * 256)]++;
        }

        double chi = bins.Sum(count => Math.Pow(count - (Many / 256.0), 2) / (Many / 256.0));
        Assert.InRange(chi, 255 - (5 * Math.Sqrt(510)), 255 + (5 * Math.Sqrt(510)));
    }

    [Fact]
    public void Streams_OfNeighboringSeedsPurposesAndIndices_AreUncorrelated()
    {
        const int Length = 1 << 14;
        float[][] streams =
        [
            .. from seed in new ulong[] { 0, 1, 2, 1UL << 32, ulong.MaxValue }
               from purpose in new[] { NoisePurpose.StartLatent, NoisePurpose.Churn, NoisePurpose.LatentSample }
               from index in new long[] { 0, 1, 2, -1, 1L << 32 }
               select Normal(seed, purpose, index, Length),
        ];
        double worst = 0;
        for (int i = 0; i < streams.Length; i++)
        {
            for (int j = 0; j < i; j++)
            {
                worst = Math.Max(worst, Math.Abs(Product(streams[i], streams[j]) / Length));
            }
        }

        // 2,775 pairs: the largest of that many standard normal numbers is below 6.
        Assert.InRange(worst, 0, 6 / Math.Sqrt(Length));

        static double Product(float[] a, float[] b) => a.Zip(b).Sum(p => (double)p.First * p.Second);
    }

    [Fact]
    public void EveryBitOfSeedPurposeAndIndex_ChangesAboutHalfOfTheKey() =>
        Gen.Select(Gen.ULong, Gen.Int[1, 9], Gen.Long).Sample((seed, purpose, index) =>
        {
            ulong key = SeededNoise.Key(seed, (NoisePurpose)purpose, index);
            IEnumerable<ulong> others = Enumerable.Range(0, 64).SelectMany(bit => new[]
            {
                SeededNoise.Key(seed ^ (1UL << bit), (NoisePurpose)purpose, index),
                SeededNoise.Key(seed, (NoisePurpose)purpose, index ^ (1L << bit)),
            });
            int[] changed = [.. others.Select(other => BitOperations.PopCount(other ^ key))];
            return changed.Min() >= 8 && changed.Average() is > 29 and < 35;
        });

    [Fact]
    public void AShorterDraw_IsTheStartOfALongerOne() =>
        Gen.Select(Gen.ULong, Gen.Long, Gen.Int[0, 33], Gen.Int[0, 33]).Sample((seed, index, a, b) =>
        {
            (int shorter, int longer) = (Math.Min(a, b), Math.Max(a, b));
            return Normal(seed, NoisePurpose.Churn, index, longer).Take(shorter)
                    .SequenceEqual(Normal(seed, NoisePurpose.Churn, index, shorter))
                && Uniform(seed, NoisePurpose.Churn, index, longer).Take(shorter)
                    .SequenceEqual(Uniform(seed, NoisePurpose.Churn, index, shorter));
        });

    [Fact]
    public void Permutation_HoldsEveryNumberOnce_AndEveryOrderIsAboutAsFrequent()
    {
        Gen.Select(Gen.ULong, Gen.Int[0, 200]).Sample((seed, count) =>
            SeededNoise.Permutation(seed, NoisePurpose.SampleOrder, 0, count).Order()
                .SequenceEqual(Enumerable.Range(0, count)));
        const int Draws = 24_000;
        int[] counts =
        [
            .. Enumerable.Range(0, Draws).Select(
                epoch => SeededNoise.Permutation(9, NoisePurpose.SampleOrder, epoch, 4))
                .CountBy(order => (order[0] * 64) + (order[1] * 16) + (order[2] * 4) + order[3]).Select(c => c.Value),
        ];
        Assert.Equal(24, counts.Length);
        double chi = counts.Sum(count => Math.Pow(count - (Draws / 24.0), 2) / (Draws / 24.0));
        Assert.InRange(chi, 0, 23 + (5 * Math.Sqrt(46)));
    }

    // Salmon et al. 2011, section 3.3, with the constants of its table 2, literally.
    private static uint[] PapersPhilox(uint[] counter, uint[] key)
    {
        uint[] c = [.. counter], k = [.. key];
        for (int round = 0; round < 10; round++)
        {
            ulong p = 0xD2511F53UL * c[0], q = 0xCD9E8D57UL * c[2];
            c = [(uint)(q >> 32) ^ c[1] ^ k[0], (uint)q, (uint)(p >> 32) ^ c[3] ^ k[1], (uint)p];
            k = [k[0] + 0x9E3779B9, k[1] + 0xBB67AE85];
        }

        return c;
    }

    private static float[] Normal(ulong seed, NoisePurpose purpose, long index, int count)
    {
        var numbers = new float[count];
        SeededNoise.Normal(seed, purpose, index, numbers);
        return numbers;
    }

    private static float[] Uniform(ulong seed, NoisePurpose purpose, long index, int count)
    {
        var numbers = new float[count];
        SeededNoise.Uniform(seed, purpose, index, numbers);
        return numbers;
    }

    // The numbers of these seeds since the first release. A change here changes every picture and every training run.
    private static class Approved
    {
        public static readonly float[] Normals =
            [-0.140171155f, -0.578333974f, 0.105171934f, -1.13734031f, 0.0353975371f, -0.62677294f];
        public static readonly float[] Uniforms =
            [0.740931571f, 0.16025722f, 0.164870679f, 0.243700624f, 0.658794999f, 0.591186821f];
        public static readonly int[] Order = [2, 0, 7, 6, 9, 8, 1, 4, 5, 3];
    }
}
