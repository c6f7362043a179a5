// The sample order: an endless sequence, and how batches and shards slice it.
namespace Atelier.Training;

/// <summary>
/// How a run's order is sliced: batch k is [k G, (k + 1) G), and its shard s is [k G + s B, k G + (s + 1) B). A batch
/// may straddle epochs.
/// </summary>
/// <param name="Shards">Number of shards in a batch, V.</param>
/// <param name="Microbatch">Number of samples in a shard, B.</param>
public readonly record struct BatchSlices(int Shards, int Microbatch)
{
    /// <summary>Number of samples in a batch, G = V B.</summary>
    public int GlobalBatch => Shards * Microbatch;

    /// <summary>Position of a shard's first sample in the order.</summary>
    public long First(long step, int shard) => (step * GlobalBatch) + ((long)shard * Microbatch);
}

/// <summary>The endless order of a run: epoch after epoch, each a permutation of the samples.</summary>
/// <param name="count">Number of samples in an epoch.</param>
/// <param name="permutation">Gives the order of an epoch by its number: a permutation of 0..count-1.</param>
public sealed class SampleOrder(int count, Func<long, int[]> permutation)
{
    /// <summary>
    /// Version of the sample order, and of the random numbers that depend on a sample's position in the order, with
    /// which new runs begin. The version is part of a run's identity: a release that changes either of them increments
    /// it, and continues earlier runs in their own order.
    /// </summary>
    public const int Version = 2;

    /// <summary>The version in which an epoch is one permutation of all samples.</summary>
    public const int UniformVersion = 1;

    private readonly int _count = count > 0
        ? count : throw new ArgumentOutOfRangeException(nameof(count), count, "A run needs samples.");

    // Two neighboring epochs, because a batch or a reader that looks ahead may straddle them.
    private readonly (long Epoch, int[] Order)[] _kept = [(-1, []), (-1, [])];

    /// <summary>Whether this release can continue a run with an order of the given version.</summary>
    public static bool IsKnown(int version) => version is UniformVersion or Version;

    /// <summary>The index of the sample at a position of the order.</summary>
    public int this[long position]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfNegative(position);
            (long epoch, long place) = Math.DivRem(position, _count);
            ref (long Epoch, int[] Order) kept = ref _kept[epoch & 1];
            if (kept.Epoch != epoch)
            {
                kept = (epoch, permutation(epoch));
            }

            return kept.Order[place];
        }
    }
}
