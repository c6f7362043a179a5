// A training run: stages that run in order, each of which can start from the result of an earlier one.
using Orleans.CodeGeneration;

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

    /// <summary>
    /// The networks that made the stage's latents; null if they were not recorded, or differ between its data sets.
    /// </summary>
    [Id(5)]
    public LatentNetworks? Networks { get; init; }
}

/// <summary>The networks that made latents and caption features, by digest, as recorded beside the data.</summary>
/// <param name="Autoencoder">Digest of the autoencoder's parameters.</param>
/// <param name="TextEncoder">Digest of the text encoder's parameters.</param>
/// <param name="Vocabulary">Digest of the tokenizer's vocabulary.</param>
/// <param name="Precision">Precision of the parameters.</param>
[GenerateSerializer, Immutable, Alias("atelier.LatentNetworks")]
public sealed record LatentNetworks(
    [property: Id(0)] string Autoencoder, [property: Id(1)] string TextEncoder, [property: Id(2)] string Vocabulary,
    [property: Id(3)] string Precision);

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

    /// <summary>The run waits until somebody resumes it.</summary>
    Paused,
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

    /// <summary>Samples trained on per second; null before two steps were applied in a row.</summary>
    [Id(11)]
    public double? SamplesPerSecond { get; init; }

    /// <summary>Seconds until the end of the stage at the present rate; null if the rate is not known.</summary>
    [Id(12)]
    public double? SecondsLeft { get; init; }

    /// <summary>Device-seconds that the stage has taken so far.</summary>
    [Id(13)]
    public double DeviceSeconds { get; init; }

    /// <summary>What has happened to the stage, the last few notes, oldest first.</summary>
    [Id(14)]
    public StageNote[] Notes { get; init; } = [];

    /// <summary>Whether the stage waits until somebody resumes it.</summary>
    [Id(15)]
    public bool IsPaused { get; init; }

    /// <summary>Panels that were drawn, oldest first.</summary>
    [Id(16)]
    public PanelView[] Panels { get; init; } = [];
}

/// <summary>A panel of a stage: pictures that show what it had learned at a checkpoint.</summary>
/// <param name="Step">Number of steps that the checkpoint includes.</param>
/// <param name="Sheet">SHA-256 of the sheet of pictures.</param>
/// <param name="Score">CLIP score of the pictures; null without one.</param>
/// <param name="IsHeld">Whether the score has fallen too far, so that the stage was held.</param>
[GenerateSerializer, Immutable, Alias("atelier.PanelView")]
public sealed record PanelView(
    [property: Id(0)] long Step, [property: Id(1)] string Sheet, [property: Id(2)] double? Score,
    [property: Id(3)] bool IsHeld);

/// <summary>Something that has happened to a stage: who joined, who was lost and why, what was stored.</summary>
/// <param name="Number">Number of the note within the stage, from 1.</param>
/// <param name="Step">Step at which it happened.</param>
/// <param name="At">When it happened.</param>
/// <param name="Text">What happened, as text for people.</param>
[GenerateSerializer, Immutable, Alias("atelier.StageNote")]
public sealed record StageNote(
    [property: Id(0)] long Number, [property: Id(1)] long Step, [property: Id(2)] DateTimeOffset At,
    [property: Id(3)] string Text);

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

    /// <inheritdoc cref="RunSubmission.Priority"/>
    [Id(4)]
    public int Priority { get; init; }

    /// <inheritdoc cref="RunSubmission.Weight"/>
    [Id(5)]
    public double Weight { get; init; } = 1;

    /// <inheritdoc cref="RunSubmission.BudgetSeconds"/>
    [Id(6)]
    public double? BudgetSeconds { get; init; }

    /// <inheritdoc cref="RunSubmission.Owner"/>
    [Id(7)]
    public TenantId? Owner { get; init; }

    /// <summary>When the run was submitted.</summary>
    [Id(8)]
    public DateTimeOffset SubmittedAt { get; init; }

    /// <summary>When the run ended; null while it is open.</summary>
    [Id(9)]
    public DateTimeOffset? EndedAt { get; init; }

    /// <summary>Device-seconds that the run's stages have taken so far.</summary>
    [Id(10)]
    public double DeviceSeconds { get; init; }

    /// <summary>Whether the run trains, waits or is paused.</summary>
    public bool IsOpen => Phase is RunPhase.Running or RunPhase.Paused;
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
[Alias("atelier.ITrainingRunGrain"), Version(1)]
public interface ITrainingRunGrain : IGrainWithStringKey
{
    /// <summary>Maximum number of stages of a run.</summary>
    const int StagesMax = 16;

    /// <summary>Submits the run. Idempotent: the same submission is accepted again.</summary>
    [Alias("SubmitRun")]
    Task<RunAnswer> SubmitAsync(RunSubmission submission);

    /// <summary>The run's state; null if it was never submitted.</summary>
    [Alias("View")]
    Task<RunView?> ViewAsync();

    /// <summary>The current stage as it was submitted, and its index; null if the run was never submitted.</summary>
    [Alias("Current")]
    Task<(StageSource Source, int Stage)?> CurrentAsync();

    /// <summary>Whether the run is open and one of its stages names a data set of the blob store.</summary>
    /// <param name="set">Digest of the data set's manifest.</param>
    [Alias("NamesData")]
    Task<bool> NamesDataAsync(string set);

    /// <summary>A stage as it was submitted; null if the run has no such stage.</summary>
    /// <param name="stage">Index of the stage.</param>
    [Alias("Stage")]
    Task<StageSource?> StageAsync(int stage);

    /// <summary>The tenant that submitted the run; null for the administrator.</summary>
    [Alias("Owner")]
    Task<TenantId?> OwnerAsync();

    /// <summary>Cancels the run; its last checkpoint is kept.</summary>
    [Alias("Cancel")]
    Task CancelAsync();

    /// <summary>Pauses the run; otherwise has no effect if the run is not running.</summary>
    /// <param name="isImmediate">
    /// Whether trainers stop at once, so that the steps since the last checkpoint are computed again; otherwise they
    /// stop at the next checkpoint.
    /// </param>
    [Alias("Pause")]
    Task PauseAsync(bool isImmediate);

    /// <summary>
    /// Resumes the run if it is paused, and withdraws a pause that waits for the next checkpoint. A new budget applies
    /// to every open run; a run that is over does not change.
    /// </summary>
    /// <param name="budgetSeconds">The run's new budget in device-seconds; null to keep the budget.</param>
    [Alias("ResumeRun")]
    Task ResumeAsync(double? budgetSeconds);

    /// <summary>Notifies the run that its current stage is paused. Idempotent.</summary>
    /// <param name="stage">Index of the stage.</param>
    [Alias("StagePaused")]
    Task StagePausedAsync(int stage);

    /// <summary>Notifies the run that a stage is complete or cannot continue. Idempotent.</summary>
    /// <param name="stage">Index of the stage.</param>
    /// <param name="failure">Why the stage cannot continue; null if it is complete.</param>
    /// <param name="deviceSeconds">Device-seconds that the stage has taken.</param>
    [Alias("StageIsOver")]
    Task StageEndedAsync(int stage, string? failure, double deviceSeconds);

    /// <summary>Whether the run may need a blob, because it is open or one of its stages may need the blob.</summary>
    [Alias("MayNeed")]
    Task<bool> MayNeedAsync(BlobName blob);

    /// <summary>For silos of the release before: submits a run of these stages.</summary>
    [Alias("Submit")]
    Task<RunAnswer> EarlierSubmitAsync(StageSource[] stages);

    /// <summary>For silos of the release before: resumes the run with its budget.</summary>
    [Alias("Resume")]
    Task EarlierResumeAsync();

    /// <summary>
    /// For silos of the release before: notifies the run that a stage is over, whose device-seconds are not known.
    /// </summary>
    [Alias("StageEnded")]
    Task EarlierStageEndedAsync(int stage, string? failure);
}
