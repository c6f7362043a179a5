// The port to a device for training, in bytes and numbers. Pictures need the same device, so it is borrowed and
// returned: a loan is an object, and only through it is anything computed.
using Atelier.Training;

namespace Atelier.Grains.Ports;

/// <summary>Sums over the samples of a shard, or of several shards.</summary>
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
    /// <param name="cancellation">Cancels the wait; later it ends the loan, as disposing it does.</param>
    Task<ITrainingLoan> BorrowAsync(CancellationToken cancellation);
}

/// <summary>
/// A device that is lent to a run. It does one piece of work at a time; disposing the loan returns the device as soon
/// as that piece is done. After that it computes nothing for the run.
/// </summary>
public interface ITrainingLoan : IDisposable
{
    /// <summary>Whether another owner waits, so that the loan should end after the piece of work in flight.</summary>
    bool IsWanted { get; }

    /// <summary>Computes the gradient and loss sums of a shard with the current weights.</summary>
    Task<ShardSum> ComputeShardAsync(long step, int shard);

    /// <summary>Measures a batch; the result decides whether it is applied.</summary>
    /// <param name="total">Sums of all its shards.</param>
    Task<BatchOutcome> MeasureAsync(ShardSum total);

    /// <summary>Updates weights, moments and average with a batch.</summary>
    /// <param name="step">Number of the batch.</param>
    /// <param name="total">Sums of all its shards.</param>
    /// <param name="batch">The batch as measured.</param>
    /// <exception cref="ArgumentException">The total is not of a whole batch, or has no samples.</exception>
    Task ApplyAsync(long step, ShardSum total, BatchOutcome batch);
}
