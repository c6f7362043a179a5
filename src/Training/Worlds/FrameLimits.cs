// The largest frames of a run. A decoder refuses larger ones before it allocates anything for them.
namespace Atelier.Training.Worlds;

/// <summary>What a run's parameters say about its frames.</summary>
public sealed record FrameLimits
{
    /// <summary>Most bytes of a text in UTF-8: the column of a sample that was left out, and its value.</summary>
    public const int TextBytesMax = 256;

    /// <summary>Parameters of the network: the most numbers in a slice.</summary>
    public required int Parameters { get; init; }

    /// <summary>Shards of a batch, V: also the most members of a world, and the most slices.</summary>
    public required int Shards { get; init; }

    /// <summary>Samples of a batch: the most that can be in its sums, or left out of them.</summary>
    public required int Samples { get; init; }

    /// <summary>The most bytes in a copy of a trainer's state.</summary>
    public required long StateBytes { get; init; }

    /// <summary>The same limits.</summary>
    /// <exception cref="ArgumentOutOfRangeException">One of them is impossible.</exception>
    public FrameLimits Checked()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(Parameters, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(Parameters, Array.MaxLength);
        ArgumentOutOfRangeException.ThrowIfLessThan(Samples, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(Samples, 1 << 24);
        ArgumentOutOfRangeException.ThrowIfLessThan(StateBytes, 1);
        if (Shards is < 1 or > ReductionTree<GradientSlice>.ShardsMax || !int.IsPow2(Shards))
        {
            throw new ArgumentOutOfRangeException(
                $"The number of shards must be a power of two in 1..{ReductionTree<GradientSlice>.ShardsMax}, "
                + $"not {Shards}.");
        }

        return this;
    }
}
