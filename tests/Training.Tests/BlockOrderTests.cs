// Goal: every epoch of the block order contains every sample once, in an order of its own, and reads few of the data's
// files at a time. Method: random sizes, a simulated cache of files, and an order written down once.
using CsCheck;
using Xunit;

namespace Atelier.Training.Tests;

public sealed class BlockOrderTests
{
    private static readonly Gen<int> s_counts = Gen.OneOf(Gen.Int[1, 70], Gen.Int[71, 3000], Gen.Int[60_000, 70_000]);

    [Fact]
    public void EveryEpoch_HoldsEverySampleOnce_InAnOrderOfItsOwn()
    {
        Gen.Select(Gen.ULong, s_counts, Gen.Long[0, 1L << 40]).Sample((seed, count, epoch) =>
            BlockOrder.Epoch(seed, epoch, count).Order().SequenceEqual(Enumerable.Range(0, count)));
        Assert.Equal(
            20,
            Enumerable.Range(0, 10).SelectMany(epoch => new ulong[] { 1, 2 }.Select(
                seed => string.Join(' ', BlockOrder.Epoch(seed, epoch, 50)))).Distinct().Count());
    }

    // The numbers were computed by a program in another language; they never change.
    [Fact]
    public void Order_IsWhatItAlwaysWas() => Assert.Equal(
        "30 57 12 47 26 56 0 46 13 27 59 16 17 58 31 1 8 32 9 61 10 60 22 11 23 41 33 3 40 52 2 53 43 4 "
        + "42 14 15 67 20 18 19 51 66 5 62 50 21 63 35 64 68 29 39 7 54 28 69 55 36 65 6 37 34 38 24 49 44 "
        + "48 25 45",
        string.Join(' ', BlockOrder.Epoch(7, 3, 70)));

    [Fact]
    public void AWindow_HoldsTheSamplesOfEightBlocks_Shuffled() =>
        Gen.Select(Gen.ULong, s_counts, Gen.Long[0, 9]).Sample((seed, count, epoch) =>
        {
            int size = BlockOrder.BlockSamples(count);
            int[] order = BlockOrder.Epoch(seed, epoch, count);
            for (int first = 0, end = 0; first < count; first = end)
            {
                var window = new HashSet<int>();
                while (end < count && (window.Contains(order[end] / size) || window.Count < BlockOrder.WindowBlocks))
                {
                    window.Add(order[end++] / size);
                }

                // All samples of the window's blocks are in it.
                int samples = window.Sum(block => Math.Min(size, count - (block * size)));
                Assert.Equal(samples, end - first);
            }
        });

    [Fact]
    public void ALargeWindow_IsNotReadBlockByBlock()
    {
        const int count = 1 << 18;
        int[] window = BlockOrder.Epoch(1, 0, count)[..BlockOrder.WindowSamples(count)];
        int changes = window.Zip(window.Skip(1)).Count(pair =>
            pair.First / BlockOrder.BlockSamplesMax != pair.Second / BlockOrder.BlockSamplesMax);
        Assert.InRange(changes, window.Length * 85 / 100, window.Length * 9 / 10); // 7/8 for a uniform shuffle.
        Assert.InRange(window.Zip(window.Skip(1)).Count(pair => pair.First < pair.Second), 16_000, 16_800);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(63, 1)]
    [InlineData(64, 2)]
    [InlineData(2000, 32)]
    [InlineData(131_071, 2048)]
    [InlineData(131_072, 4096)]
    [InlineData(int.MaxValue, 4096)]
    public void BlocksHaveAPowerOfTwoOfSamples_AndAWindowIsAQuarterOfTheData(int count, int samples)
    {
        Assert.Equal(samples, BlockOrder.BlockSamples(count));
        Assert.InRange(BlockOrder.WindowSamples(count), 0, Math.Max(8, count / 4));
    }

    // Files of a quarter of a part and a bit, as precomputed data has them: several in a part, none across parts.
    [Fact]
    public void ACacheOfOneWindow_ReadsEveryFileOnceAnEpoch()
    {
        const int count = 40 * BlockOrder.BlockSamplesMax, fileSamples = 1300;
        int[] fileOf = [.. Enumerable.Range(0, count).Select(sample =>
            (4 * (sample / BlockOrder.BlockSamplesMax)) + (sample % BlockOrder.BlockSamplesMax / fileSamples))];
        const int held = 4 * BlockOrder.WindowBlocks;
        Assert.Equal(160, Reads(BlockOrder.Epoch(5, 2, count).Select(sample => fileOf[sample]), held));

        // Files that cross the blocks' borders are read twice at most.
        Assert.InRange(
            Reads(BlockOrder.Epoch(5, 2, count).Select(sample => sample / 1500), 40), count / 1500, 2 * count / 1500);
    }

    private static int Reads(IEnumerable<int> files, int held)
    {
        var cache = new LinkedList<int>();
        int reads = 0;
        foreach (int file in files)
        {
            if (!cache.Remove(file))
            {
                reads++;
            }

            cache.AddFirst(file);
            if (cache.Count > held)
            {
                cache.RemoveLast();
            }
        }

        return reads;
    }
}
