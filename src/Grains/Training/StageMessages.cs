// The messages that a trainer and the manager of its stage exchange about once a second.
using System.Collections.Immutable;
using Atelier.Training.Stages;
using Atelier.Training.Worlds;

namespace Atelier.Grains.Training;

/// <summary>A trainer's heartbeat.</summary>
/// <param name="Trainer">The part of the report about membership.</param>
public sealed record StageReport(TrainerReport Trainer)
{
    /// <summary>Key of the trainer's worker, which the manager uses to prompt the trainer.</summary>
    public required string Worker { get; init; }

    /// <summary>Everything on which the bits of the trainer's results depend, as JSON.</summary>
    public required string Identity { get; init; }

    /// <summary>Number of weights.</summary>
    public required long Parameters { get; init; }

    /// <summary>Names of the vectors of the trainer's state.</summary>
    public required ImmutableArray<string> Vectors { get; init; }

    /// <summary>Number of shards of a batch, V.</summary>
    public required int Shards { get; init; }

    /// <summary>Number of steps of the stage.</summary>
    public required long Steps { get; init; }

    /// <summary>Number of planned checkpoints to keep.</summary>
    public int CheckpointsKept { get; init; } = 1;

    /// <summary>Steps between panels; 0 for none.</summary>
    public long PanelInterval { get; init; }

    /// <summary>
    /// The part of the report about the trainer's state, and about the checkpoint of which it keeps a copy.
    /// </summary>
    public StateReport State { get; init; } = new();

    /// <summary>
    /// The step at which the stage begins: that of the checkpoint in the stage's folder from which it resumes, or 0.
    /// The first report to a stage's manager determines the step.
    /// </summary>
    public long BeginsAt { get; init; }

    /// <summary>Mean loss of the trainer's last step; null before the first step.</summary>
    public double? Loss { get; init; }

    /// <summary>Number of samples in a batch.</summary>
    public int Batch { get; init; }

    /// <summary>
    /// Seconds from one applied step to the next one, smoothed; null before two steps were applied in a row.
    /// </summary>
    public double? StepSeconds { get; init; }

    /// <summary>Digests of the stage's final state; null before the end.</summary>
    public StageEnd? End { get; init; }
}

/// <summary>Digests of a stage's final state.</summary>
/// <param name="Weights">SHA-256 of the weights.</param>
/// <param name="State">SHA-256 of weights, moments and average.</param>
public sealed record StageEnd(string Weights, string State);

/// <summary>The manager's answer to a trainer's heartbeat.</summary>
public sealed record StageAnswer
{
    /// <summary>The part of the answer about membership; null if the trainer is refused or the stage is over.</summary>
    public ManagerAnswer? Manager { get; init; }

    /// <summary>Number of steps that the last committed checkpoint includes.</summary>
    public long SafeStep { get; init; }

    /// <summary>Uncommitted steps that worlds up to this number computed are discarded; 0 if there are none.</summary>
    public int Returned { get; init; }

    /// <summary>The trainer's tasks for the pending checkpoint.</summary>
    public ImmutableArray<PartTask> Tasks { get; init; } = [];

    /// <summary>Whether the stage is over, so that the trainer must leave it.</summary>
    public bool IsOver { get; init; }

    /// <summary>Why the trainer is refused, as a sentence; null if it is not refused.</summary>
    public string? Refusal { get; init; }
}
