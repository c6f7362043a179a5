// A training run: stages in order, each started from the result of the one before.
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

    /// <summary>Its configuration, YAML.</summary>
    [Id(1)]
    public required string Configuration { get; init; }

    /// <summary>Changes to it: key=value.</summary>
    [Id(2)]
    public string[] Overrides { get; init; } = [];

    /// <summary>Index of the stage from whose result it starts; null if it starts from elsewhere.</summary>
    [Id(3)]
    public int? StartsFrom { get; init; }

    /// <summary>
    /// Whether it resumes from the checkpoints that single-process training left in its folder, if there are any.
    /// </summary>
    [Id(4)]
    public bool Resumes { get; init; }
}

/// <summary>Where a run is.</summary>
public enum RunPhase
{
    /// <summary>It trains, or waits for trainers.</summary>
    Running,

    /// <summary>All stages have their results.</summary>
    Done,

    /// <summary>A stage cannot continue.</summary>
    Failed,

    /// <summary>It was cancelled.</summary>
    Cancelled,
}

/// <summary>A trainer as its stage sees it.</summary>
[GenerateSerializer, Immutable, Alias("atelier.TrainerView")]
public sealed record TrainerView
{
    /// <summary>Silo, device and incarnation.</summary>
    [Id(0)]
    public required string Trainer { get; init; }

    /// <summary>Shards of every batch that it computes; 0 for a spectator.</summary>
    [Id(1)]
    public int Shards { get; init; }

    /// <summary>Steps in its weights; null if it has none.</summary>
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

    /// <summary>Steps applied or skipped, by the last reports.</summary>
    [Id(1)]
    public long Step { get; init; }

    /// <summary>Steps of the stage; 0 before a trainer has read the configuration.</summary>
    [Id(2)]
    public long Steps { get; init; }

    /// <summary>Steps in the last committed checkpoint.</summary>
    [Id(3)]
    public long SafeStep { get; init; }

    /// <summary>Number of the last world; 0 before the first.</summary>
    [Id(4)]
    public int World { get; init; }

    /// <summary>Its trainers.</summary>
    [Id(5)]
    public TrainerView[] Trainers { get; init; } = [];

    /// <summary>SHA-256 of the weights at its end; null before.</summary>
    [Id(6)]
    public string? Weights { get; init; }

    /// <summary>SHA-256 of weights, moments and average at its end; null before.</summary>
    [Id(7)]
    public string? State { get; init; }

    /// <summary>Why it cannot continue or waits, as a sentence; null if it trains.</summary>
    [Id(8)]
    public string? Trouble { get; init; }

    /// <summary>Mean loss of the last step; null before the first.</summary>
    [Id(9)]
    public double? Loss { get; init; }

    /// <summary>SHA-256 of the newest file with records of steps, which names the one before it; null before.</summary>
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

    /// <summary>Where it is.</summary>
    [Id(1)]
    public required RunPhase Phase { get; init; }

    /// <summary>Stages that have begun, in order; the last one is the current one.</summary>
    [Id(2)]
    public StageView[] Stages { get; init; } = [];

    /// <summary>Number of stages of the run.</summary>
    [Id(3)]
    public required int StageCount { get; init; }
}

/// <summary>The answer to a submission.</summary>
public enum RunAnswer
{
    /// <summary>The run is stored and will be trained; also when it was submitted before.</summary>
    Accepted,

    /// <summary>Another configuration has this id.</summary>
    Conflict,

    /// <summary>Too many runs are open.</summary>
    Full,
}

/// <summary>A training run; its key is a <see cref="RunId"/>.</summary>
[Alias("atelier.ITrainingRunGrain")]
public interface ITrainingRunGrain : IGrainWithStringKey
{
    /// <summary>Most stages of a run.</summary>
    const int StagesMax = 16;

    /// <summary>Submits the run. The same stages again are accepted again.</summary>
    [Alias("Submit")]
    Task<RunAnswer> SubmitAsync(StageSource[] stages);

    /// <summary>Its state; null if it was never submitted.</summary>
    [Alias("View")]
    Task<RunView?> ViewAsync();

    /// <summary>The current stage as it was submitted, and its index; null if the run was never submitted.</summary>
    [Alias("Current")]
    Task<(StageSource Source, int Stage)?> CurrentAsync();

    /// <summary>Ends the run; its last checkpoint stays.</summary>
    [Alias("Cancel")]
    Task CancelAsync();

    /// <summary>Resumes a run that has paused; without effect on others.</summary>
    [Alias("Resume")]
    Task ResumeAsync();

    /// <summary>The current stage has its result or cannot continue. It may be told more than once.</summary>
    /// <param name="stage">Index of the stage.</param>
    /// <param name="failure">Why it cannot continue; null if it has its result.</param>
    [Alias("StageEnded")]
    Task StageEndedAsync(int stage, string? failure);
}

/// <summary>The open runs of a cluster; its key is 0.</summary>
[Alias("atelier.ITrainingBoardGrain")]
public interface ITrainingBoardGrain : IGrainWithIntegerKey
{
    /// <summary>Most open runs.</summary>
    const int RunsMax = 256;

    /// <summary>Lists an open run with its current stage; false if there are too many.</summary>
    [Alias("Open")]
    Task<bool> OpenAsync(RunId run, int stage);

    /// <summary>The run is over.</summary>
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
