// The manifest of a committed checkpoint. A stage's weights, moments and average are cut into parts in a way that
// depends only on the number of weights. A checkpoint therefore has the same parts in every world, and any world can
// restore it.
using System.Collections.Immutable;
using Atelier.Training.Worlds;

namespace Atelier.Training.Checkpoints;

/// <summary>One file of a checkpoint.</summary>
/// <param name="Digest">SHA-256 of the file's bytes, in lower-case hexadecimal.</param>
/// <param name="Length">Length of the file in bytes.</param>
public sealed record CheckpointPart(string Digest, long Length);

/// <summary>A committed checkpoint: its step and its files.</summary>
/// <param name="Step">Number of steps that the checkpoint includes.</param>
/// <param name="World">Number of the world that committed the checkpoint.</param>
/// <param name="IsPlanned">
/// Whether a rollback may return to the checkpoint. False only for the checkpoint at the end of a stage, if no planned
/// checkpoint was due there.
/// </param>
/// <param name="Vectors">Names of the vectors in the slices.</param>
/// <param name="Parts">The checkpoint's files: slices of the vectors in order, then the file of step records.</param>
public sealed record CheckpointManifest(
    long Step, int World, bool IsPlanned, ImmutableArray<string> Vectors, ImmutableArray<CheckpointPart> Parts)
{
    /// <summary>
    /// The step to which the run rolled back in the checkpoint's last step: the weights are those of that step. Null if
    /// the checkpoint does not end with a rollback.
    /// </summary>
    public long? UndoneFrom { get; init; }
}

/// <summary>How P weights are cut into the parts of a checkpoint.</summary>
/// <param name="Parameters">Number of weights, P.</param>
public sealed record CheckpointLayout(long Parameters)
{
    /// <summary>Maximum number of weights in a part, which is 64 MiB of each vector.</summary>
    public const int WeightsMax = 1 << 24;

    /// <summary>Maximum number of weights in a part of this layout.</summary>
    public int SliceMax { get; init; } = WeightsMax;

    /// <summary>Number of slices of the vectors.</summary>
    public int Slices => (int)((Parameters + SliceMax - 1) / SliceMax);

    /// <summary>Number of parts: the slices and the file of step records.</summary>
    public int Parts => Slices + 1;

    /// <summary>Start of a slice and its number of weights; slices differ by at most one weight.</summary>
    public (int Start, int Count) Slice(int index) => new SliceLayout(checked((int)Parameters), Slices)[index];
}
