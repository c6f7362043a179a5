// The sums of a batch besides its gradient. They are sent together with the gradient's first slice.
using System.Collections.Immutable;

namespace Atelier.Training.Worlds;

/// <summary>Sums over the samples of a shard, of a subtree or of a batch, except for the gradient.</summary>
public sealed record BatchSums
{
    /// <summary>Sum of the samples' losses.</summary>
    public double LossSum { get; init; }

    /// <summary>Number of samples in the sums.</summary>
    public long Samples { get; init; }

    /// <summary>Samples excluded from the sums, in the run's order.</summary>
    public ImmutableArray<BadSample> LeftOut { get; init; } = [];

    /// <summary>
    /// The sample with the largest loss, where NaN counts as the largest; null if the losses of single samples are not
    /// known.
    /// </summary>
    public SampleLoss? Largest { get; init; }

    /// <summary>Number of samples whose own loss is not finite.</summary>
    public long NotFinite { get; init; }

    /// <summary>Indices of the samples in the sums, in the run's order.</summary>
    public ImmutableArray<int> SampleIds { get; init; } = [];

    /// <summary>The claims that trainers make about the shards in the sums, in shard order.</summary>
    public ImmutableArray<ShardClaim> Claims { get; init; } = [];

    /// <summary>Number of the world in which the total was formed; 0 before there is a total.</summary>
    public int World { get; init; }

    /// <summary>Merges the sums of the left and the right half of a subtree.</summary>
    public static BatchSums Merge(BatchSums left, BatchSums right) => left with
    {
        LossSum = left.LossSum + right.LossSum,
        Samples = left.Samples + right.Samples,
        LeftOut = left.LeftOut.AddRange(right.LeftOut),
        Largest = SampleLoss.Larger(left.Largest, right.Largest),
        NotFinite = left.NotFinite + right.NotFinite,
        SampleIds = left.SampleIds.AddRange(right.SampleIds),
        Claims = left.Claims.AddRange(right.Claims),
    };

    /// <summary>Converts the totals to the numbers from which the rules decide.</summary>
    /// <param name="gradientNorm">2-norm of the mean gradient; NaN if the batch has no samples.</param>
    public BatchOutcome Outcome(double gradientNorm) => new(LossSum, gradientNorm, Samples)
    {
        LeftOut = LeftOut, Largest = Largest, NotFinite = NotFinite,
    };
}
