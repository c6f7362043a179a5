// The port to a device for training, in plain numbers. Pictures need the same device, so each piece of work borrows the
// device and returns it at the end.
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;

namespace Atelier.Grains.Ports;

/// <summary>Everything that is needed to train a stage.</summary>
/// <param name="Run">The run.</param>
/// <param name="Name">Name of the stage.</param>
/// <param name="Configuration">The stage's configuration, as YAML.</param>
/// <param name="Overrides">Changes to the configuration, each as key=value.</param>
public sealed record StagePlan(string Run, string Name, string Configuration, IReadOnlyList<string> Overrides)
{
    /// <summary>
    /// The last committed checkpoint of the stage from whose result this one starts; null if the configuration
    /// determines the initial weights.
    /// </summary>
    public CheckpointManifest? From { get; init; }

    /// <summary>
    /// Whether it resumes from the checkpoints that single-process training left in its folder, if there are any.
    /// </summary>
    public bool Resumes { get; init; }

    /// <summary>
    /// Version of the sample order with which the stage was begun; null if no trainer has begun it. Not stored: the
    /// stage's identity has it.
    /// </summary>
    public int? OrderVersion { get; init; }
}

/// <summary>A stage as resolved by a device.</summary>
/// <param name="Rules">The rules that decide on its steps.</param>
/// <param name="Shards">Shards of a batch, V.</param>
/// <param name="Parameters">Number of weights, P.</param>
/// <param name="Vectors">
/// Names of the vectors of the stage's state: weights, moment1, moment2, and ema if the stage averages weights.
/// </param>
/// <param name="Identity">
/// Everything that the stage's bits depend on, as text; it is the same for all replicas of a run.
/// </param>
public sealed record StageFacts(
    StageRules Rules, int Shards, long Parameters, IReadOnlyList<string> Vectors, string Identity)
{
    /// <summary>Metadata of the stage's checkpoint files, besides position and slice.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; init; } = new Dictionary<string, string>();

    /// <summary>
    /// Number of steps between comparisons of the replicas' states, and of shards that two trainers compute; 0 to
    /// compare states at checkpoints only.
    /// </summary>
    public long VerifyInterval { get; init; }

    /// <summary>Number of planned checkpoints to keep.</summary>
    public int CheckpointsKept { get; init; } = 1;

    /// <summary>Steps between panels; 0 for none.</summary>
    public long PanelInterval { get; init; }

    /// <summary>The streams of the stage's data, for the step records; null to leave them out.</summary>
    public IReadOnlyList<DataStream>? Streams { get; init; }

    /// <summary>Number of samples in a batch.</summary>
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

    /// <summary>Does a small piece of work whose result is known.</summary>
    /// <exception cref="DeviceException">The device does not work, or too many callers wait for it.</exception>
    Task ProbeAsync(CancellationToken cancellation);

    /// <summary>Reads a stage's configuration, opens its data and builds its network.</summary>
    /// <exception cref="StageRefusedException">
    /// This device cannot train the stage: the stage's data is missing here, or the device has too little memory.
    /// </exception>
    Task<IStageWork> OpenAsync(StagePlan plan, CancellationToken cancellation);
}

/// <summary>A stage's network, weights and data on a device. It does one piece of work at a time.</summary>
public interface IStageWork : IAsyncDisposable
{
    /// <summary>The stage as resolved by the device.</summary>
    StageFacts Facts { get; }

    /// <summary>Number of shards that the device computes at the same time.</summary>
    int ParallelShards { get; }

    /// <summary>Computes the gradients and the other sums of shards with the current weights.</summary>
    /// <param name="step">Number of the batch.</param>
    /// <param name="shards">
    /// The shards; with more than <see cref="ParallelShards"/> of them, the device stays borrowed for longer.
    /// </param>
    /// <returns>The sums, in the order of <paramref name="shards"/>.</returns>
    /// <exception cref="StageRefusedException">A file of the stage's data is damaged or has changed.</exception>
    Task<IReadOnlyList<ShardSum>> ComputeShardsAsync(long step, IReadOnlyList<int> shards);

    /// <summary>Measures a batch; the result decides whether the batch is applied.</summary>
    /// <param name="total">
    /// Sums of all shards of the batch; the gradient is not changed. The device keeps a copy until the batch is
    /// applied, another one is measured, or the state is replaced.
    /// </param>
    Task<BatchOutcome> MeasureAsync(ShardSum total);

    /// <summary>Updates weights, moments and average with the batch that was measured last.</summary>
    /// <param name="step">Number of the batch.</param>
    /// <param name="batch">The measured batch.</param>
    /// <exception cref="InvalidOperationException">No batch was measured, or it was applied already.</exception>
    Task UpdateAsync(long step, BatchOutcome batch);

    /// <summary>A copy of the vectors of the state, in the order of <see cref="StageFacts.Vectors"/>.</summary>
    Task<IReadOnlyList<StateVector>> ExportAsync();

    /// <summary>Replaces the vectors of the state.</summary>
    /// <param name="vectors">The vectors, P numbers each.</param>
    /// <param name="updates">Number of updates that the vectors include.</param>
    Task ImportAsync(IReadOnlyList<StateVector> vectors, long updates);

    /// <summary>Sets the weights that the stage starts from; moments and average start over.</summary>
    /// <param name="from">
    /// Vectors from the end of the earlier stage: weights, and ema if that stage averaged weights; null to use the
    /// initializer, or the configured file.
    /// </param>
    Task ResetAsync(IReadOnlyList<StateVector>? from);

    /// <summary>
    /// Reads the newest checkpoint that single-process training left in the stage's folder. The state on the
    /// device stays as it is. Returns null if there is none.
    /// </summary>
    /// <param name="plannedOnly">Whether to ignore checkpoints written on shutdown.</param>
    /// <exception cref="StageRefusedException">The folder has checkpoints of another run, or damaged ones.</exception>
    Task<TrainingState?> ReadFolderAsync(bool plannedOnly);

    /// <summary>The location of a sample, for messages.</summary>
    string Place(int sample);
}

/// <summary>Thrown when a device cannot train a stage.</summary>
/// <param name="message">What is wrong, where, and what would be right.</param>
/// <param name="inner">The cause.</param>
public sealed class StageRefusedException(string message, Exception? inner = null) : Exception(message, inner);
