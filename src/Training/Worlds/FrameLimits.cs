// The maximum sizes of a run's frames. A decoder refuses a larger frame before it allocates anything for it.
namespace Atelier.Training.Worlds;

/// <summary>The limits of a run's frames, which follow from the run's parameters.</summary>
public sealed record FrameLimits
{
    /// <summary>
    /// Maximum length in UTF-8 bytes of the column name and of the value of a sample that was left out.
    /// </summary>
    public const int TextBytesMax = 256;

    /// <summary>Number of parameters of the network, which is also the maximum number of values in a slice.</summary>
    public required int Parameters { get; init; }

    /// <summary>
    /// Number of shards of a batch, V, which is also the maximum number of members of a world and of slices.
    /// </summary>
    public required int Shards { get; init; }

    /// <summary>
    /// Number of samples of a batch, which is the maximum number of samples in the sums and of samples left out.
    /// </summary>
    public required int Samples { get; init; }

    /// <summary>Maximum length of a copy of a trainer's state in bytes.</summary>
    public required long StateBytes { get; init; }

    /// <summary>Returns these limits after checking them.</summary>
    /// <exception cref="ArgumentOutOfRangeException">One of the limits is impossible.</exception>
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
