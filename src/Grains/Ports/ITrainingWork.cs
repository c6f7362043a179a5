// What a device does for training, in bytes and numbers. Pictures need the same device, so it is borrowed and given
// back: a loan is an object, and only through it is anything computed.
using Atelier.Training;

namespace Atelier.Grains.Ports;

/// <summary>Sums over the samples of a shard, or of several shards that were added up.</summary>
/// <param name="Gradient">Sum of the samples' gradients, [P] float32, little-endian.</param>
/// <param name="LossSum">Sum of their losses.</param>
/// <param name="Samples">Samples in the sums.</param>
public sealed record ShardSum(byte[] Gradient, double LossSum, long Samples)
{
    /// <summary>Samples that are in no sum, in the run's order.</summary>
    public IReadOnlyList<BadSample> LeftOut { get; init; } = [];

    /// <summary>The sample with the largest loss, NaN being the largest; null if samples are not known.</summary>
    public SampleLoss? Largest { get; init; }

    /// <summary>Samples whose own loss is not finite.</summary>
    public long NotFinite { get; init; }
}

/// <summary>A run's weights and moments on a device.</summary>
public interface ITrainingWork
{
    /// <summary>Borrows the device; waits while it has another owner.</summary>
    /// <param name="cancellation">Cancels waiting; afterwards it ends the loan, as disposing it does.</param>
    Task<ITrainingLoan> BorrowAsync(CancellationToken cancellation);
}

/// <summary>
/// A device that is lent to a run. It does one piece of work at a time; disposing the loan gives the device back as
/// soon as that piece is done. Afterwards it computes nothing for the run.
/// </summary>
public interface ITrainingLoan : IDisposable
{
    /// <summary>Whether somebody waits for the device: the loan is to end with the piece of work in flight.</summary>
    bool IsWanted { get; }

    /// <summary>Gradient and loss sums of a shard, with the weights as they are now.</summary>
    Task<ShardSum> ComputeShardAsync(long step, int shard);

    /// <summary>A batch in numbers, by which it may be refused before it is applied.</summary>
    /// <param name="total">Sums of all its shards.</param>
    Task<BatchOutcome> MeasureAsync(ShardSum total);

    /// <summary>Changes weights, moments and average by a batch.</summary>
    /// <param name="step">The batch.</param>
    /// <param name="total">Sums of all its shards.</param>
    /// <param name="batch">The same in numbers.</param>
    /// <exception cref="ArgumentException">The total is not of a whole batch, or holds no sample.</exception>
    Task ApplyAsync(long step, ShardSum total, BatchOutcome batch);
}
