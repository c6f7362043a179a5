// Where a run is, without its tensors. Checkpoints hold it as JSON.
using System.Text.Json.Serialization;

namespace Atelier.Training;

/// <summary>Where a run is, apart from its tensors. Replicas at one position have the same weights.</summary>
/// <param name="Step">Batches behind it: the next batch's number.</param>
/// <param name="Updates">Updates of the optimizer.</param>
/// <param name="Memory">What the policy remembers.</param>
/// <param name="Ledger">Slices of the run's order that were not trained on, in order.</param>
/// <param name="LeftOut">Samples that were left out of other slices; null if there were none.</param>
public sealed record RunPosition(
    long Step, long Updates, PolicyMemory Memory, IReadOnlyList<SkippedSlice> Ledger,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] LeftOutSamples? LeftOut = null)
{
    /// <summary>The start of a run.</summary>
    public static RunPosition Start { get; } = new(0, 0, default, []);

    /// <summary>Batches that are in the weights.</summary>
    [JsonIgnore]
    public long Applied => Step - Ledger.Count;

    /// <summary>Batches that were applied until the run went back to weights from before them.</summary>
    [JsonIgnore]
    public int Undone => Ledger.Count(slice => slice.Because == SkippedBecause.Undone);

    /// <summary>Batches that were never applied.</summary>
    [JsonIgnore]
    public int Skipped => Ledger.Count - Undone;
}
