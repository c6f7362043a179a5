// What a trainer and the manager of its stage tell each other, about once a second.
using System.Collections.Immutable;
using Atelier.Training.Stages;
using Atelier.Training.Worlds;

namespace Atelier.Grains.Training;

/// <summary>A trainer's heartbeat.</summary>
/// <param name="Trainer">Membership.</param>
public sealed record StageReport(TrainerReport Trainer)
{
    /// <summary>Its worker's key, by which it is woken.</summary>
    public required string Worker { get; init; }

    /// <summary>All that its bits depend on.</summary>
    public required string Identity { get; init; }

    /// <summary>Number of weights.</summary>
    public required long Parameters { get; init; }

    /// <summary>Names of the vectors of its state.</summary>
    public required ImmutableArray<string> Vectors { get; init; }

    /// <summary>Shards of a batch, V.</summary>
    public required int Shards { get; init; }

    /// <summary>Steps of the stage.</summary>
    public required long Steps { get; init; }

    /// <summary>Number of planned checkpoints to keep.</summary>
    public int CheckpointsKept { get; init; } = 1;

    /// <summary>Its state, and the checkpoint of which it holds a copy.</summary>
    public StateReport State { get; init; } = new();

    /// <summary>
    /// The step at which the stage begins: that of the checkpoint in its folder from which it resumes, or 0. The first
    /// report of a stage decides.
    /// </summary>
    public long BeginsAt { get; init; }

    /// <summary>Mean loss of its last step; null before.</summary>
    public double? Loss { get; init; }

    /// <summary>Why the stage cannot continue; the same for all replicas.</summary>
    public string? Failure { get; init; }

    /// <summary>Digests of the final state; null before the end.</summary>
    public StageEnd? End { get; init; }
}

/// <summary>The end of a stage.</summary>
/// <param name="Weights">SHA-256 of the weights.</param>
/// <param name="State">SHA-256 of weights, moments and average.</param>
public sealed record StageEnd(string Weights, string State);

/// <summary>The manager's answer.</summary>
public sealed record StageAnswer
{
    /// <summary>Membership; null if the trainer is refused or the stage is over.</summary>
    public ManagerAnswer? Manager { get; init; }

    /// <summary>Steps in the last committed checkpoint.</summary>
    public long SafeStep { get; init; }

    /// <summary>Worlds up to this number have ended without the steps after that checkpoint; 0 if none has.</summary>
    public int Returned { get; init; }

    /// <summary>What to do for the pending checkpoint.</summary>
    public ImmutableArray<PartTask> Tasks { get; init; } = [];

    /// <summary>Whether the stage is over, so that the trainer leaves it.</summary>
    public bool IsOver { get; init; }

    /// <summary>Why the trainer is refused, as a sentence; null if it is not.</summary>
    public string? Refusal { get; init; }
}
