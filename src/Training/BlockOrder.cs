// Version 2 of the sample order: samples are shuffled in blocks, so that a reader needs few of a data set's files at a
// time and each of them once an epoch.
namespace Atelier.Training;

/// <summary>
/// The order of an epoch: blocks of consecutive samples are permuted, and the samples of every
/// <see cref="WindowBlocks"/> blocks that follow each other in that permutation, which are a window, are shuffled. The
/// order is a function of (seed, epoch, number of samples) alone.
/// </summary>
public static class BlockOrder
{
    /// <summary>
    /// Maximum number of samples in a block. It is the number of samples in a part of precomputed latents, and a power
    /// of two, so that no block crosses the border of a full part.
    /// </summary>
    public const int BlockSamplesMax = 4096;

    /// <summary>Number of blocks in a window.</summary>
    public const int WindowBlocks = 8;

    // Small data has smaller blocks, so that a window holds a quarter of it at most.
    private const int BlocksMin = 4 * WindowBlocks;

    // Distinguishes these random numbers from others of the same seed. The values never change.
    private const ulong Blocks = 0x626C6F636B73, Samples = 0x73616D706C6573, Parts = 0x7061727473;

    /// <summary>Number of samples in a block, except the last one: a power of two.</summary>
    /// <param name="count">Number of samples in an epoch.</param>
    public static int BlockSamples(int count) => 1 << int.Log2(Math.Clamp(count / BlocksMin, 1, BlockSamplesMax));

    /// <summary>Number of samples in a window, except those with the last block of the data.</summary>
    /// <param name="count">Number of samples in an epoch.</param>
    public static int WindowSamples(int count) => WindowBlocks * BlockSamples(count);

    /// <summary>The order of an epoch: a permutation of 0..count-1.</summary>
    /// <param name="seed">Seed of the run.</param>
    /// <param name="epoch">Number of the epoch, from 0.</param>
    /// <param name="count">Number of samples in an epoch.</param>
    public static int[] Epoch(ulong seed, long epoch, int count)
    {
        int size = BlockSamples(count), end = 0, windowStart = 0;
        int[] blocks = [.. Enumerable.Range(0, (int)(((long)count + size - 1) / size))];
        Shuffle(blocks, Key(seed, Blocks, epoch));
        ulong key = Key(seed, Samples, epoch);
        var order = new int[count];
        for (int i = 0; i < blocks.Length; i++)
        {
            int first = blocks[i] * size, length = Math.Min(size, count - first);
            for (int j = 0; j < length; j++)
            {
                order[end++] = first + j;
            }

            if ((i + 1) % WindowBlocks == 0 || i + 1 == blocks.Length)
            {
                Shuffle(order.AsSpan(windowStart, end - windowStart), SplitMix64.Mix(key + (ulong)i));
                windowStart = end;
            }
        }

        return order;
    }

    /// <summary>
    /// Samples of a stream of which an epoch has only a part: blocks of consecutive samples, in the stream's order.
    /// </summary>
    /// <param name="seed">Seed of the run.</param>
    /// <param name="epoch">Number of the epoch, from 0.</param>
    /// <param name="stream">Index of the stream.</param>
    /// <param name="samples">Number of samples of the stream.</param>
    /// <param name="count">Number of samples to choose.</param>
    internal static IEnumerable<int> Part(ulong seed, long epoch, int stream, int samples, int count)
    {
        int size = BlockSamples(samples);
        int[] blocks = [.. Enumerable.Range(0, (int)(((long)samples + size - 1) / size))];
        Shuffle(blocks, SplitMix64.Mix(Key(seed, Parts, epoch) + (ulong)stream));
        return blocks.SelectMany(block => Enumerable.Range(block * size, Math.Min(size, samples - (block * size))))
            .Take(count).Order();
    }

    private static ulong Key(ulong seed, ulong purpose, long epoch) => SplitMix64.Mix(
        SplitMix64.Mix(SplitMix64.Mix(seed + SplitMix64.Gamma) + purpose) + (ulong)epoch);

    // Fisher and Yates, with numbers of SplitMix64.
    private static void Shuffle(Span<int> items, ulong state)
    {
        for (int i = items.Length - 1; i > 0; i--)
        {
            state += SplitMix64.Gamma;
            int other = (int)Math.BigMul(SplitMix64.Mix(state), (ulong)i + 1, out _);
            (items[i], items[other]) = (items[other], items[i]);
        }
    }
}
