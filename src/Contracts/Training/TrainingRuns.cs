// A training run: stages that run in order, each of which can start from the result of an earlier one.
namespace Atelier.Contracts.Training;

/// <summary>The id of a training run; a client may choose it.</summary>
/// <param name="Value">The name; see <see cref="Names"/>.</param>
[GenerateSerializer, Immutable, Alias("atelier.RunId")]
public readonly record struct RunId([property: Id(0)] string Value)
{
    /// <summary>Parses an untrusted name.</summary>
    public static bool TryParse(string? text, out RunId id)
    {
        bool valid = Names.AreValid(text);
        id = valid ? new RunId(text!) : default;
        return valid;
    }

    /// <inheritdoc/>
    public override string ToString() => Value;
}

/// <summary>A stage of a run as it was submitted.</summary>
[GenerateSerializer, Immutable, Alias("atelier.StageSource")]
public sealed record StageSource
{
    /// <summary>Name of the stage.</summary>
    [Id(0)]
    public required string Name { get; init; }

    /// <summary>The stage's configuration, as YAML.</summary>
    [Id(1)]
    public required string Configuration { get; init; }

    /// <summary>Changes to the configuration, each as key=value.</summary>
    [Id(2)]
    public string[] Overrides { get; init; } = [];

    /// <summary>
    /// Index of the stage from whose result this one starts; null if the configuration determines the initial weights.
    /// </summary>
    [Id(3)]
    public int? StartsFrom { get; init; }

    /// <summary>
    /// Whether the stage resumes from the checkpoints that single-process training left in its folder, if there are
    /// any.
    /// </summary>
    [Id(4)]
    public bool Resumes { get; init; }
}

/// <summary>The phase of a run.</summary>
public enum RunPhase
{
    /// <summary>The run trains, or waits for trainers.</summary>
    Running,

    /// <summary>All stages are complete.</summary>
    Done,

    /// <summary>A stage cannot continue.</summary>
    Failed,

    /// <summary>The run was cancelled.</summary>
    Cancelled,
}

/// <summary>A trainer as its stage sees it.</summary>
[GenerateSerializer, Immutable, Alias("atelier.TrainerView")]
public sealed record TrainerView
{
    /// <summary>The trainer's silo, device and incarnation.</summary>
    [Id(0)]
    public required string Trainer { get; init; }

    /// <summary>Number of shards of each batch that the trainer computes; 0 for a spectator.</summary>
    [Id(1)]
    public int Shards { get; init; }

    /// <summary>Number of steps that the trainer's weights include; null if it has no weights.</summary>
    [Id(2)]
    public long? Position { get; init; }
}

/// <summary>A stage's state.</summary>
[GenerateSerializer, Immutable, Alias("atelier.StageView")]
public sealed record StageView
{
    /// <summary>Name of the stage.</summary>
    [Id(0)]
    public required string Name { get; init; }

    /// <summary>Number of steps applied or skipped, according to the trainers' last reports.</summary>
    [Id(1)]
    public long Step { get; init; }

    /// <summary>Total number of steps of the stage; 0 before a trainer has read the configuration.</summary>
    [Id(2)]
    public long Steps { get; init; }

    /// <summary>Number of steps that the last committed checkpoint includes.</summary>
    [Id(3)]
    public long SafeStep { get; init; }

    /// <summary>
    /// Number of the latest world, which is a set of trainers that compute batches together; 0 before the first.
    /// </summary>
    [Id(4)]
    public int World { get; init; }

    /// <summary>The stage's trainers.</summary>
    [Id(5)]
    public TrainerView[] Trainers { get; init; } = [];

    /// <summary>SHA-256 of the weights at the end of the stage; null before the end.</summary>
    [Id(6)]
    public string? Weights { get; init; }

    /// <summary>SHA-256 of weights, moments and average at the end of the stage; null before the end.</summary>
    [Id(7)]
    public string? State { get; init; }

    /// <summary>
    /// Why the stage waits or cannot continue, or why single trainers do not help, in sentences; null if all is well.
    /// </summary>
    [Id(8)]
    public string? Trouble { get; init; }

    /// <summary>Mean loss of the last step; null before the first step.</summary>
    [Id(9)]
    public double? Loss { get; init; }

    /// <summary>
    /// SHA-256 of the newest file of step records, which contains the SHA-256 of the file before it; null before the
    /// first file.
    /// </summary>
    [Id(10)]
    public string? Records { get; init; }
}

/// <summary>A run's state.</summary>
[GenerateSerializer, Immutable, Alias("atelier.RunView")]
public sealed record RunView
{
    /// <summary>The run.</summary>
    [Id(0)]
    public required RunId Run { get; init; }

    /// <summary>The run's phase.</summary>
    [Id(1)]
    public required RunPhase Phase { get; init; }

    /// <summary>Stages that have begun, in order; the last one is the current one.</summary>
    [Id(2)]
    public StageView[] Stages { get; init; } = [];

    /// <summary>Number of stages of the run.</summary>
    [Id(3)]
    public required int StageCount { get; init; }
}

/// <summary>The answer to the submission of a run.</summary>
public enum RunAnswer
{
    /// <summary>The run is stored and will be trained. A repeated submission gets the same answer.</summary>
    Accepted,

    /// <summary>A run with other stages has this id.</summary>
    Conflict,

    /// <summary>Too many runs are open.</summary>
    Full,
}

/// <summary>A training run; the grain's key is a <see cref="RunId"/>.</summary>
[Alias("atelier.ITrainingRunGrain")]
public interface ITrainingRunGrain : IGrainWithStringKey
{
    /// <summary>Maximum number of stages of a run.</summary>
    const int StagesMax = 16;

    /// <summary>Submits the run. Idempotent: the same stages are accepted again.</summary>
    [Alias("Submit")]
    Task<RunAnswer> SubmitAsync(StageSource[] stages);

    /// <summary>The run's state; null if it was never submitted.</summary>
    [Alias("View")]
    Task<RunView?> ViewAsync();

    /// <summary>The current stage as it was submitted, and its index; null if the run was never submitted.</summary>
    [Alias("Current")]
    Task<(StageSource Source, int Stage)?> CurrentAsync();

    /// <summary>Cancels the run; its last checkpoint is kept.</summary>
    [Alias("Cancel")]
    Task CancelAsync();

    /// <summary>Resumes the run if it is paused; otherwise has no effect.</summary>
    [Alias("Resume")]
    Task ResumeAsync();

    /// <summary>Notifies the run that a stage is complete or cannot continue. Idempotent.</summary>
    /// <param name="stage">Index of the stage.</param>
    /// <param name="failure">Why the stage cannot continue; null if it is complete.</param>
    [Alias("StageEnded")]
    Task StageEndedAsync(int stage, string? failure);
}

/// <summary>The list of a cluster's open runs; the grain's key is 0.</summary>
[Alias("atelier.ITrainingBoardGrain")]
public interface ITrainingBoardGrain : IGrainWithIntegerKey
{
    /// <summary>Maximum number of open runs.</summary>
    const int RunsMax = 256;

    /// <summary>
    /// Adds an open run to the list, or updates its current stage. Returns false if too many runs are open.
    /// </summary>
    [Alias("Open")]
    Task<bool> OpenAsync(RunId run, int stage);

    /// <summary>Removes a run from the list, because it is over.</summary>
    [Alias("Close")]
    Task CloseAsync(RunId run);

    /// <summary>All open runs with their current stages, in order of submission.</summary>
    [Alias("List")]
    Task<OpenRun[]> ListAsync();
}

/// <summary>An open run.</summary>
/// <param name="Run">The run.</param>
/// <param name="Stage">Index of its current stage.</param>
[GenerateSerializer, Immutable, Alias("atelier.OpenRun")]
public readonly record struct OpenRun([property: Id(0)] RunId Run, [property: Id(1)] int Stage)
{
    /// <summary>The key of the stage's grain.</summary>
    public string StageKey => $"{Run}/{Stage}";
}
