// The port to a device for training, in numbers. Pictures need the same device, so each piece of work borrows it and
// returns it at its end.
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;

namespace Atelier.Grains.Ports;

/// <summary>What a stage needs to know to be trained.</summary>
/// <param name="Run">The run.</param>
/// <param name="Name">Name of the stage.</param>
/// <param name="Configuration">Its configuration, YAML.</param>
/// <param name="Overrides">Changes to it: key=value.</param>
public sealed record StagePlan(string Run, string Name, string Configuration, IReadOnlyList<string> Overrides)
{
    /// <summary>
    /// The committed end of the stage that it starts from; null to start from what it is configured with.
    /// </summary>
    public CheckpointManifest? From { get; init; }

    /// <summary>
    /// Whether it resumes from the checkpoints that single-process training left in its folder, if there are any.
    /// </summary>
    public bool Resumes { get; init; }
}

/// <summary>A stage as resolved by a device.</summary>
/// <param name="Rules">The rules that decide on its steps.</param>
/// <param name="Shards">Shards of a batch, V.</param>
/// <param name="Parameters">Number of weights, P.</param>
/// <param name="Vectors">Names of the vectors of its state: weights, moment1, moment2, and ema if it averages.</param>
/// <param name="Identity">All that its bits depend on, as text; replicas of one run have the same.</param>
public sealed record StageFacts(
    StageRules Rules, int Shards, long Parameters, IReadOnlyList<string> Vectors, string Identity)
{
    /// <summary>Metadata of its checkpoint files besides position and slice.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; init; } = new Dictionary<string, string>();

    /// <summary>
    /// Steps between comparisons of the replicas' states, and of shards that are computed twice; 0 for checkpoints
    /// only.
    /// </summary>
    public long VerifyInterval { get; init; }

    /// <summary>Number of planned checkpoints to keep.</summary>
    public int CheckpointsKept { get; init; } = 1;

    /// <summary>Samples of a batch.</summary>
    public required int Batch { get; init; }

    /// <summary>Learning rate of a step.</summary>
    public required Func<long, double> LearningRate { get; init; }
}

/// <summary>The sums of a shard or of a whole batch.</summary>
/// <param name="Gradient">Sum of the samples' gradients, P.</param>
/// <param name="Sums">The other sums.</param>
public sealed record ShardSum(float[] Gradient, BatchSums Sums);

/// <summary>Trains stages on a device.</summary>
public interface ITrainingWork
{
    /// <summary>The device's name within its silo.</summary>
    string Device { get; }

    /// <summary>Reads a stage's configuration, opens its data and builds its network.</summary>
    /// <exception cref="StageRefusedException">
    /// This device cannot train it: its data is missing here, or its memory does not suffice.
    /// </exception>
    Task<IStageWork> OpenAsync(StagePlan plan, CancellationToken cancellation);
}

/// <summary>A stage's network, weights and data on a device. It does one piece of work at a time.</summary>
public interface IStageWork : IAsyncDisposable
{
    /// <summary>The stage as resolved.</summary>
    StageFacts Facts { get; }

    /// <summary>Computes the gradient and the other sums of a shard with the current weights.</summary>
    Task<ShardSum> ComputeShardAsync(long step, int shard);

    /// <summary>Measures a batch; the result decides whether it is applied.</summary>
    /// <param name="total">Sums of all its shards; the gradient is not changed.</param>
    Task<BatchOutcome> MeasureAsync(ShardSum total);

    /// <summary>Updates weights, moments and average with a batch.</summary>
    /// <param name="step">Number of the batch.</param>
    /// <param name="total">Sums of all its shards.</param>
    /// <param name="batch">The batch as measured.</param>
    Task UpdateAsync(long step, ShardSum total, BatchOutcome batch);

    /// <summary>A copy of the vectors of the state, in the order of <see cref="StageFacts.Vectors"/>.</summary>
    Task<IReadOnlyList<StateVector>> ExportAsync();

    /// <summary>Replaces the vectors of the state.</summary>
    /// <param name="vectors">The vectors, P numbers each.</param>
    /// <param name="updates">Updates that are in them.</param>
    Task ImportAsync(IReadOnlyList<StateVector> vectors, long updates);

    /// <summary>Sets the weights that the stage starts from; moments and average start over.</summary>
    /// <param name="from">
    /// Vectors of the end of the stage before: weights, and ema if it averaged; null for the initializer, or the file
    /// that is configured.
    /// </param>
    Task ResetAsync(IReadOnlyList<StateVector>? from);

    /// <summary>
    /// Reads the newest checkpoint that single-process training left in the stage's folder; the vectors on the device
    /// are overwritten. Returns null if there is none.
    /// </summary>
    /// <param name="plannedOnly">Whether to ignore checkpoints written on shutdown.</param>
    /// <exception cref="StageRefusedException">The folder has checkpoints of another run, or damaged ones.</exception>
    Task<TrainingState?> ReadFolderAsync(bool plannedOnly);

    /// <summary>Where a sample lies, for messages.</summary>
    string Place(int sample);
}

/// <summary>A device cannot train a stage.</summary>
/// <param name="message">What is wrong, where, and what would be right.</param>
/// <param name="inner">The cause.</param>
public sealed class StageRefusedException(string message, Exception? inner = null) : Exception(message, inner);
