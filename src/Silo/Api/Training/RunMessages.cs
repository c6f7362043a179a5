// The messages of the routes for training runs.
using System.Text.Json.Serialization;
using Atelier.Contracts.Training;
using Atelier.Silo.Api.Http;
using Atelier.Training.Checkpoints;

namespace Atelier.Silo.Api.Training;

/// <summary>A stage of a run.</summary>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record SubmitStageRequest
{
    /// <summary>The stage's configuration, as YAML. Folders in it are paths on the trainers' machines.</summary>
    public required string Configuration { get; init; }

    /// <summary>Changes to the configuration, each as key=value.</summary>
    public string[] Overrides { get; init; } = [];

    /// <summary>
    /// Whether the stage resumes from the checkpoints that single-process training left in its trainer.save_folder, if
    /// there are any.
    /// </summary>
    public bool Resume { get; init; }
}

/// <summary>A training run.</summary>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record SubmitRunRequest
{
    /// <summary>Id of the run. Submitting the same stages again under the same id changes nothing.</summary>
    public required string Id { get; init; }

    /// <summary>The stages, in order.</summary>
    public required SubmitStageRequest[] Stages { get; init; }

    /// <summary>Priority, -100 to 100, 0 by default: runs of higher priority get devices first.</summary>
    public int? Priority { get; init; }

    /// <summary>
    /// Share of the devices relative to other runs of the same priority, 1 to 1000, 1 by default.
    /// </summary>
    public double? Weight { get; init; }

    /// <summary>Device-seconds after which the run pauses; no limit by default.</summary>
    public double? BudgetSeconds { get; init; }
}

/// <summary>A request to pause a run.</summary>
internal sealed record PauseRunRequest
{
    /// <summary>
    /// Whether trainers stop at once, so that the steps since the last checkpoint are computed again; by default, they
    /// stop at the next checkpoint.
    /// </summary>
    public bool? Now { get; init; }
}

/// <summary>A request to resume a run.</summary>
internal sealed record ResumeRunRequest
{
    /// <summary>The run's new budget in device-seconds; by default, the budget stays as it is.</summary>
    public double? BudgetSeconds { get; init; }
}

/// <summary>A trainer of a stage.</summary>
/// <param name="Trainer">Name of the trainer: its silo, device and incarnation.</param>
/// <param name="Shards">
/// Number of shards of each batch that the trainer computes; 0 if it only follows the training, as a spectator.
/// </param>
/// <param name="Step">Number of steps that the trainer's weights include; null if it has no weights.</param>
internal sealed record TrainerResponse(string Trainer, int Shards, long? Step);

/// <summary>A stage of a run.</summary>
/// <param name="Name">Name of the stage.</param>
/// <param name="Step">Number of steps that are done.</param>
/// <param name="Steps">Number of steps of the stage; 0 until a trainer has read the configuration.</param>
/// <param name="SafeStep">Number of steps that the last committed checkpoint includes.</param>
/// <param name="World">Number of the latest world, which is the set of trainers that train the stage together.</param>
/// <param name="Loss">Mean loss of the last step.</param>
/// <param name="Trainers">The stage's trainers.</param>
/// <param name="Weights">SHA-256 of the weights at the end of the stage.</param>
/// <param name="State">SHA-256 of weights, moments and average at the end of the stage.</param>
/// <param name="Records">SHA-256 of the newest file with step records.</param>
/// <param name="Trouble">
/// Why the stage waits or cannot continue, or why single trainers do not help; null if all is well.
/// </param>
/// <param name="ImagesPerSecond">Samples trained on per second.</param>
/// <param name="SecondsLeft">Seconds until the end of the stage at the present rate.</param>
/// <param name="DeviceSeconds">Device-seconds that the stage has taken so far.</param>
/// <param name="Notes">What has happened to the stage, the last few notes, oldest first.</param>
/// <param name="Panels">Panels that were drawn, oldest first.</param>
internal sealed record StageResponse(
    string Name, long Step, long Steps, long SafeStep, int World, double? Loss, TrainerResponse[] Trainers,
    string? Weights, string? State, string? Records, string? Trouble, double? ImagesPerSecond, double? SecondsLeft,
    double DeviceSeconds, NoteResponse[] Notes, PanelResponse[] Panels)
{
    public static StageResponse Of(StageView stage) => new(
        stage.Name, stage.Step, stage.Steps, stage.SafeStep, stage.World,
        stage.Loss is { } loss && double.IsFinite(loss) ? loss : null,
        [.. stage.Trainers.Select(one => new TrainerResponse(one.Trainer, one.Shards, one.Position))],
        stage.Weights, stage.State, stage.Records, stage.Trouble, Rounded(stage.SamplesPerSecond),
        Rounded(stage.SecondsLeft), Math.Round(stage.DeviceSeconds, 1),
        [.. stage.Notes.Select(note => new NoteResponse(note.Step, note.At, note.Text))],
        [.. stage.Panels.Select(panel => new PanelResponse(panel.Step, Rounded(panel.Score, 3), panel.IsHeld))]);

    private static double? Rounded(double? value, int digits = 1) =>
        value is { } known ? Math.Round(known, digits) : null;
}

/// <summary>A panel: pictures that show what a stage had learned at a checkpoint.</summary>
/// <param name="Step">Number of steps that the checkpoint includes.</param>
/// <param name="Score">CLIP score of the pictures; null without panel.score.</param>
/// <param name="Held">Whether the score had fallen too far, so that the stage was held.</param>
internal sealed record PanelResponse(long Step, double? Score, bool Held);

/// <summary>Something that has happened to a stage.</summary>
/// <param name="Step">Step at which it happened.</param>
/// <param name="At">When it happened.</param>
/// <param name="Text">What happened.</param>
internal sealed record NoteResponse(long Step, DateTimeOffset At, string Text);

/// <summary>A training run.</summary>
/// <param name="Id">Id of the run.</param>
/// <param name="Status">State of the run: running, paused, done, failed or cancelled.</param>
/// <param name="StageCount">Number of the run's stages.</param>
/// <param name="Stages">Stages that have begun, in order.</param>
/// <param name="Priority">Runs of higher priority get devices first.</param>
/// <param name="Weight">Share of the devices relative to other runs of the same priority.</param>
/// <param name="BudgetSeconds">Device-seconds after which the run pauses; null for no limit.</param>
/// <param name="DeviceSeconds">Device-seconds that the run has taken so far.</param>
/// <param name="Owner">The tenant that submitted the run; null for the administrator.</param>
/// <param name="SubmittedAt">When the run was submitted.</param>
/// <param name="EndedAt">When the run ended; null while it is open.</param>
internal sealed record RunResponse(
    string Id, string Status, int StageCount, StageResponse[] Stages, int Priority, double Weight,
    double? BudgetSeconds, double DeviceSeconds, string? Owner, DateTimeOffset SubmittedAt, DateTimeOffset? EndedAt)
{
    public static RunResponse Of(RunView view) => new(
        view.Run.Value, ApiJson.NameOf(view.Phase), view.StageCount, [.. view.Stages.Select(StageResponse.Of)],
        view.Priority, view.Weight, view.BudgetSeconds, Math.Round(view.DeviceSeconds, 1), view.Owner?.Value,
        view.SubmittedAt, view.EndedAt);
}

/// <summary>A training run in a list.</summary>
/// <param name="Id">Id of the run.</param>
/// <param name="Status">State of the run: running, paused, done, failed or cancelled.</param>
/// <param name="Stage">Index of the current stage.</param>
/// <param name="StageCount">Number of the run's stages.</param>
/// <param name="StageName">Name of the current stage.</param>
/// <param name="SafeStep">Number of steps that the current stage's last committed checkpoint includes.</param>
/// <param name="Steps">Number of steps of the current stage; 0 until a trainer has read the configuration.</param>
/// <param name="Priority">Runs of higher priority get devices first.</param>
/// <param name="Weight">Share of the devices relative to other runs of the same priority.</param>
/// <param name="Owner">The tenant that submitted the run; null for the administrator.</param>
/// <param name="SubmittedAt">When the run was submitted.</param>
/// <param name="EndedAt">When the run ended; null while it is open.</param>
internal sealed record RunSummaryResponse(
    string Id, string Status, int Stage, int StageCount, string StageName, long SafeStep, long Steps, int Priority,
    double Weight, string? Owner, DateTimeOffset SubmittedAt, DateTimeOffset? EndedAt)
{
    public static RunSummaryResponse Of(RunSummary run) => new(
        run.Run.Value, ApiJson.NameOf(run.Phase), run.Stage, run.StageCount, run.StageName, run.SafeStep, run.Steps,
        run.Priority, run.Weight, run.Owner?.Value, run.SubmittedAt, run.EndedAt);
}

/// <summary>A checkpoint that was exported to a file.</summary>
/// <param name="Path">Path of the file on the silo that wrote it.</param>
/// <param name="Step">Number of steps that the checkpoint includes.</param>
internal sealed record ExportResponse(string Path, long Step);

/// <summary>Runs.</summary>
/// <param name="Data">Open runs in order of submission, then ended runs, the last one first.</param>
internal sealed record RunListResponse(RunSummaryResponse[] Data);

/// <summary>A step of a stage.</summary>
/// <param name="Step">Number of the step, from 0.</param>
/// <param name="Verdict">What was done with the step: apply, skip or roll_back.</param>
/// <param name="Loss">Mean loss of the step's samples; null if it is not finite.</param>
/// <param name="GradientNorm">2-norm of the mean gradient; null if it is not finite.</param>
/// <param name="LearningRate">Learning rate of the step.</param>
/// <param name="World">Number of the world that computed the step.</param>
/// <param name="LeftOut">Number of the step's samples that were left out, because they cannot be trained on.</param>
internal sealed record StepResponse(
    long Step, string Verdict, double? Loss, double? GradientNorm, double LearningRate, int World, int LeftOut)
{
    public static StepResponse Of(StepRecord record) => new(
        record.Step, ApiJson.NameOf(record.Verdict), Finite(record.Loss), Finite(record.GradientNorm),
        record.LearningRate, record.World, record.LeftOut.Length);

    private static double? Finite(double value) => double.IsFinite(value) ? value : null;
}
