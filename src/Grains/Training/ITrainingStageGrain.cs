// The manager of a stage as a grain. Messages are sent as JSON text, because their types belong to the pure protocols,
// which are independent of Orleans and its serializer. The extension methods below are the typed calls.
using Atelier.Contracts;
using Atelier.Contracts.Training;
using Atelier.Grains.Ports;
using Atelier.Training.Checkpoints;
using Orleans.CodeGeneration;
using Orleans.Concurrency;

namespace Atelier.Grains.Training;

/// <summary>The manager of a stage; its key is the run's id, a slash and the stage's index.</summary>
[Alias("atelier.ITrainingStageGrain"), Version(1)]
public interface ITrainingStageGrain : IGrainWithStringKey
{
    /// <summary>Begins the stage. Idempotent.</summary>
    /// <param name="plan">The <see cref="StagePlan"/>.</param>
    /// <param name="budgetSeconds">Device-seconds that the stage may take; null for no limit.</param>
    [Alias("BeginStage")]
    Task BeginJsonAsync(string plan, double? budgetSeconds);

    /// <summary>The <see cref="StagePlan"/>; null if the stage has not begun, is paused, or is over.</summary>
    [Alias("Plan"), AlwaysInterleave]
    Task<string?> PlanJsonAsync();

    /// <summary>Processes a trainer's report and returns a <see cref="StageAnswer"/>.</summary>
    /// <param name="report">The <see cref="StageReport"/>.</param>
    [Alias("Report")]
    Task<string> ReportJsonAsync(string report);

    /// <summary>
    /// The <see cref="CheckpointManifest"/> of a committed checkpoint; null if the checkpoint is not kept.
    /// </summary>
    [Alias("Checkpoint"), AlwaysInterleave]
    Task<string?> CheckpointJsonAsync(long step);

    /// <summary>
    /// The <see cref="CheckpointManifest"/> of the last committed checkpoint, which is the stage's result once the
    /// stage is complete; null before the first checkpoint.
    /// </summary>
    [Alias("Last"), AlwaysInterleave]
    Task<string?> LastJsonAsync();

    /// <summary>
    /// Returns the <see cref="CheckpointManifest"/> of the last committed checkpoint, and keeps that checkpoint for a
    /// while so that it can be read; null if there is none.
    /// </summary>
    /// <param name="time">How long the checkpoint is kept, even if later checkpoints supersede it.</param>
    [Alias("PinLast")]
    Task<string?> PinLastJsonAsync(TimeSpan time);

    /// <summary>
    /// Returns the <see cref="CheckpointManifest"/> of a committed checkpoint, and keeps that checkpoint for a while so
    /// that it can be read; null if it is not kept.
    /// </summary>
    /// <param name="step">Number of steps that the checkpoint includes.</param>
    /// <param name="time">How long the checkpoint is kept, even if later checkpoints supersede it.</param>
    [Alias("Pin")]
    Task<string?> PinJsonAsync(long step, TimeSpan time);

    /// <summary>Whether a later rollback has undone the weights after a number of steps.</summary>
    [Alias("IsUndone"), AlwaysInterleave]
    Task<bool> IsUndoneAsync(long step);

    /// <summary>Reports that a device cannot train the stage.</summary>
    /// <param name="worker">Key of the device's worker.</param>
    /// <param name="reason">Why, as a sentence.</param>
    [Alias("Refuse")]
    Task RefuseAsync(string worker, string reason);

    /// <summary>Records a panel of the stage, a <see cref="DrawnPanel"/>. Idempotent.</summary>
    [Alias("PanelDrawn")]
    Task PanelDrawnJsonAsync(string panel);

    /// <summary>Records that an attempt to draw a panel failed; another one follows.</summary>
    /// <param name="step">Number of steps that its checkpoint includes.</param>
    /// <param name="reason">Why, as a sentence.</param>
    [Alias("PanelFailed")]
    Task PanelFailedAsync(long step, string reason);

    /// <summary>The stage's state, for people.</summary>
    [Alias("View"), AlwaysInterleave]
    Task<StageView> ViewAsync();

    /// <summary>Pauses the stage; has no effect if it is over or paused.</summary>
    /// <param name="reason">Why, as text for people.</param>
    /// <param name="isImmediate">Whether it pauses at once, or when the next checkpoint is committed.</param>
    [Alias("Pause")]
    Task PauseAsync(string reason, bool isImmediate);

    /// <summary>Resumes a paused stage from its last committed checkpoint.</summary>
    /// <param name="budgetSeconds">Device-seconds that the stage may take in total; null for no limit.</param>
    [Alias("ResumeStage")]
    Task ResumeAsync(double? budgetSeconds);

    /// <summary>Ends the stage because its run was cancelled; its checkpoints are kept.</summary>
    [Alias("End")]
    Task EndAsync();

    /// <summary>
    /// Whether the stage may need a blob, because it is open or the blob belongs to one of its kept checkpoints or is
    /// one of its files of step records.
    /// </summary>
    /// <exception cref="InvalidDataException">
    /// A file of step records is missing, so the earlier ones are not known.
    /// </exception>
    [Alias("MayNeed"), AlwaysInterleave]
    Task<bool> MayNeedAsync(BlobName blob);

    /// <summary>For silos of the release before: begins the stage without a budget.</summary>
    [Alias("Begin")]
    Task EarlierBeginJsonAsync(string plan);

    /// <summary>For silos of the release before: resumes a paused stage with its budget.</summary>
    [Alias("Resume")]
    Task EarlierResumeAsync();
}

/// <summary>Typed calls to the manager of a stage.</summary>
public static class TrainingStageCalls
{
    /// <inheritdoc cref="ITrainingStageGrain.BeginJsonAsync"/>
    public static Task BeginAsync(this ITrainingStageGrain stage, StagePlan plan, double? budgetSeconds = null) =>
        stage.BeginJsonAsync(TrainingJson.Write(plan), budgetSeconds);

    /// <inheritdoc cref="ITrainingStageGrain.PlanJsonAsync"/>
    public static async Task<StagePlan?> PlanAsync(this ITrainingStageGrain stage) =>
        TrainingJson.Read<StagePlan>(await stage.PlanJsonAsync());

    /// <inheritdoc cref="ITrainingStageGrain.ReportJsonAsync"/>
    public static async Task<StageAnswer> ReportAsync(this ITrainingStageGrain stage, StageReport report) =>
        TrainingJson.Read<StageAnswer>(await stage.ReportJsonAsync(TrainingJson.Write(report)))!;

    /// <inheritdoc cref="ITrainingStageGrain.CheckpointJsonAsync"/>
    public static async Task<CheckpointManifest?> CheckpointAsync(this ITrainingStageGrain stage, long step) =>
        TrainingJson.Read<CheckpointManifest>(await stage.CheckpointJsonAsync(step));

    /// <inheritdoc cref="ITrainingStageGrain.PinLastJsonAsync"/>
    public static async Task<CheckpointManifest?> PinLastAsync(this ITrainingStageGrain stage, TimeSpan time) =>
        TrainingJson.Read<CheckpointManifest>(await stage.PinLastJsonAsync(time));

    /// <inheritdoc cref="ITrainingStageGrain.PinJsonAsync"/>
    public static async Task<CheckpointManifest?> PinAsync(this ITrainingStageGrain stage, long step, TimeSpan time) =>
        TrainingJson.Read<CheckpointManifest>(await stage.PinJsonAsync(step, time));

    /// <inheritdoc cref="ITrainingStageGrain.PanelDrawnJsonAsync"/>
    public static Task PanelDrawnAsync(this ITrainingStageGrain stage, DrawnPanel panel) =>
        stage.PanelDrawnJsonAsync(TrainingJson.Write(panel));

    /// <inheritdoc cref="ITrainingStageGrain.LastJsonAsync"/>
    public static async Task<CheckpointManifest?> LastAsync(this ITrainingStageGrain stage) =>
        TrainingJson.Read<CheckpointManifest>(await stage.LastJsonAsync());
}
