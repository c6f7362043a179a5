// What a committed checkpoint consists of. A stage's weights, moments and average are cut into parts that depend on the
// number of weights alone, so that a checkpoint has the same parts in every world, and any world restores it.
using System.Collections.Immutable;
using Atelier.Training.Worlds;

namespace Atelier.Training.Checkpoints;

/// <summary>A file of a checkpoint.</summary>
/// <param name="Digest">SHA-256 of its bytes, lower-case hexadecimal.</param>
/// <param name="Length">Number of bytes.</param>
public sealed record CheckpointPart(string Digest, long Length);

/// <summary>A committed checkpoint.</summary>
/// <param name="Step">Steps that are in it.</param>
/// <param name="World">The world that committed it.</param>
/// <param name="IsPlanned">Whether a rollback may return to it; the end of a stage need not be planned.</param>
/// <param name="Vectors">Names of the vectors that its slices have.</param>
/// <param name="Parts">Its files: slices of the vectors in order, then the records of steps.</param>
public sealed record CheckpointManifest(
    long Step, int World, bool IsPlanned, ImmutableArray<string> Vectors, ImmutableArray<CheckpointPart> Parts);

/// <summary>The cutting of P weights into parts.</summary>
/// <param name="Parameters">Number of weights, P.</param>
public sealed record CheckpointLayout(long Parameters)
{
    /// <summary>Most weights in a part: 64 MiB of each vector.</summary>
    public const int WeightsMax = 1 << 24;

    /// <summary>Most weights in a part of this layout.</summary>
    public int SliceMax { get; init; } = WeightsMax;

    /// <summary>Number of slices of the vectors.</summary>
    public int Slices => (int)((Parameters + SliceMax - 1) / SliceMax);

    /// <summary>Number of parts: the slices and the records of steps.</summary>
    public int Parts => Slices + 1;

    /// <summary>Where a slice begins and how many weights it has; slices differ by at most one weight.</summary>
    public (int Start, int Count) Slice(int index) => new SliceLayout(checked((int)Parameters), Slices)[index];
}
