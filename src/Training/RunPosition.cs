// The position of a run: its whole state except the tensors. Checkpoints hold it as JSON.
using System.Text.Json.Serialization;

namespace Atelier.Training;

/// <summary>
/// The position of a run: its whole state except the tensors. Replicas of a run that are at the same position have the
/// same weights.
/// </summary>
/// <param name="Step">Number of completed batches, which is also the number of the next batch.</param>
/// <param name="Updates">Number of optimizer updates so far.</param>
/// <param name="Memory">State of the step policy.</param>
/// <param name="Ledger">Slices of the sample order that were not trained on, in ascending order.</param>
/// <param name="LeftOut">Samples that were left out of slices that were trained on; null if there were none.</param>
public sealed record RunPosition(
    long Step, long Updates, PolicyMemory Memory, IReadOnlyList<SkippedSlice> Ledger,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] LeftOutSamples? LeftOut = null)
{
    /// <summary>The position at the start of a run.</summary>
    public static RunPosition Start { get; } = new(0, 0, default, []);

    /// <summary>Number of batches whose gradients are in the weights.</summary>
    [JsonIgnore]
    public long Applied => Step - Ledger.Count;

    /// <summary>Number of batches that were applied and then undone by a rollback.</summary>
    [JsonIgnore]
    public int Undone => Ledger.Count(slice => slice.Because == SkippedBecause.Undone);

    /// <summary>Number of batches that were never applied.</summary>
    [JsonIgnore]
    public int Skipped => Ledger.Count - Undone;
}
