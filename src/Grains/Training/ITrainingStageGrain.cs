// The manager of a stage as a grain. Messages are JSON texts, so that the pure protocols, whose types they are, need no
// serializer of Orleans; the typed calls are the extensions below.
using Atelier.Contracts.Training;
using Atelier.Grains.Ports;
using Atelier.Training.Checkpoints;
using Orleans.Concurrency;

namespace Atelier.Grains.Training;

/// <summary>The manager of a stage; its key is the run's id, a slash and the stage's index.</summary>
[Alias("atelier.ITrainingStageGrain")]
public interface ITrainingStageGrain : IGrainWithStringKey
{
    /// <summary>Begins the stage; again has no effect.</summary>
    /// <param name="plan">A <see cref="StagePlan"/>.</param>
    [Alias("Begin")]
    Task BeginJsonAsync(string plan);

    /// <summary>The <see cref="StagePlan"/>; null if the stage has not begun, has paused, or is over.</summary>
    [Alias("Plan"), AlwaysInterleave]
    Task<string?> PlanJsonAsync();

    /// <summary>A trainer reports; the answer is a <see cref="StageAnswer"/>.</summary>
    /// <param name="report">A <see cref="StageReport"/>.</param>
    [Alias("Report")]
    Task<string> ReportJsonAsync(string report);

    /// <summary>A committed <see cref="CheckpointManifest"/>; null if it is not kept.</summary>
    [Alias("Checkpoint"), AlwaysInterleave]
    Task<string?> CheckpointJsonAsync(long step);

    /// <summary>
    /// The last committed <see cref="CheckpointManifest"/>, which is the stage's result once it is complete; null
    /// before.
    /// </summary>
    [Alias("Last"), AlwaysInterleave]
    Task<string?> LastJsonAsync();

    /// <summary>
    /// The last committed <see cref="CheckpointManifest"/>, which is kept for a while so that it can be read; null if
    /// there is none.
    /// </summary>
    /// <param name="time">How long it is kept, even if later ones supersede it.</param>
    [Alias("PinLast")]
    Task<string?> PinLastJsonAsync(TimeSpan time);

    /// <summary>A device cannot train the stage.</summary>
    /// <param name="worker">Its worker's key.</param>
    /// <param name="reason">Why, as a sentence.</param>
    [Alias("Refuse")]
    Task RefuseAsync(string worker, string reason);

    /// <summary>Its state, for people.</summary>
    [Alias("View"), AlwaysInterleave]
    Task<StageView> ViewAsync();

    /// <summary>Continues a stage that has paused, from its last committed checkpoint.</summary>
    [Alias("Resume")]
    Task ResumeAsync();

    /// <summary>Ends the stage; its checkpoints stay.</summary>
    [Alias("End")]
    Task EndAsync();
}

/// <summary>Typed calls of the manager of a stage.</summary>
public static class TrainingStageCalls
{
    /// <inheritdoc cref="ITrainingStageGrain.BeginJsonAsync"/>
    public static Task BeginAsync(this ITrainingStageGrain stage, StagePlan plan) =>
        stage.BeginJsonAsync(TrainingJson.Write(plan));

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

    /// <inheritdoc cref="ITrainingStageGrain.LastJsonAsync"/>
    public static async Task<CheckpointManifest?> LastAsync(this ITrainingStageGrain stage) =>
        TrainingJson.Read<CheckpointManifest>(await stage.LastJsonAsync());
}
