// The position of a run: everything but its tensors. Checkpoints hold it as JSON.
using System.Text.Json.Serialization;

namespace Atelier.Training;

/// <summary>
/// The position of a run, apart from its tensors. Replicas at the same position have the same weights.
/// </summary>
/// <param name="Step">Batches completed, which is the next batch's number.</param>
/// <param name="Updates">Optimizer updates so far.</param>
/// <param name="Memory">The policy's memory.</param>
/// <param name="Ledger">Slices of the sample order that were not trained on, ascending.</param>
/// <param name="LeftOut">Samples that were left out of other slices; null if there were none.</param>
public sealed record RunPosition(
    long Step, long Updates, PolicyMemory Memory, IReadOnlyList<SkippedSlice> Ledger,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] LeftOutSamples? LeftOut = null)
{
    /// <summary>The start of a run.</summary>
    public static RunPosition Start { get; } = new(0, 0, default, []);

    /// <summary>Batches whose gradients are in the weights.</summary>
    [JsonIgnore]
    public long Applied => Step - Ledger.Count;

    /// <summary>Batches that were applied and then undone by a rollback.</summary>
    [JsonIgnore]
    public int Undone => Ledger.Count(slice => slice.Because == SkippedBecause.Undone);

    /// <summary>Batches that were never applied.</summary>
    [JsonIgnore]
    public int Skipped => Ledger.Count - Undone;
}
