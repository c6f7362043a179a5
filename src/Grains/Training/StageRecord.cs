// The stored state of a stage.
using System.Collections.Immutable;
using Atelier.Contracts.Training;
using Atelier.Grains.Ports;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;

namespace Atelier.Grains.Training;

/// <summary>The stored state of a stage.</summary>
[GenerateSerializer, Alias("atelier.state.TrainingStage")]
internal sealed class TrainingStageState
{
    /// <summary>A <see cref="StageRecord"/> as JSON; null before the stage begins.</summary>
    [Id(0)]
    public string? Record { get; set; }
}

/// <summary>The stored record of a stage.</summary>
/// <param name="Plan">The stage's plan.</param>
/// <param name="World">The stage's membership.</param>
internal sealed record StageRecord(StagePlan Plan, WorldRecord World)
{
    /// <summary>Steps that rollbacks have undone; a stage has at most a few rollbacks.</summary>
    public ImmutableArray<UndoneSteps> Undone { get; init; } = [];

    /// <summary>
    /// Everything on which the stage's bits depend, as the first trainer resolved it; null before the first report.
    /// </summary>
    public string? Identity { get; init; }

    /// <summary>Number of weights.</summary>
    public long Parameters { get; init; }

    /// <summary>Number of shards of a batch, V.</summary>
    public int Shards { get; init; }

    /// <summary>Number of steps of the stage.</summary>
    public long Steps { get; init; }

    /// <summary>Number of planned checkpoints to keep.</summary>
    public int CheckpointsKept { get; init; } = 1;

    /// <summary>Checkpoints that are being read, by step, each with the time until which it is kept for that.</summary>
    public ImmutableDictionary<long, DateTimeOffset> Pins { get; init; } =
        ImmutableDictionary<long, DateTimeOffset>.Empty;

    /// <summary>Committed checkpoints that are kept, oldest first.</summary>
    public ImmutableArray<CheckpointManifest> Checkpoints { get; init; } = [];

    /// <summary>Digests of the final state; null before the stage is complete.</summary>
    public StageEnd? End { get; init; }

    /// <summary>Why the stage cannot continue; null if it can.</summary>
    public string? Failure { get; init; }

    /// <summary>Names of the vectors of the stage's state.</summary>
    public ImmutableArray<string> Vectors { get; init; } = [];

    /// <summary>Why the stage is paused until a person resumes it; null if it is not paused.</summary>
    public string? Paused { get; init; }

    /// <summary>
    /// Why the stage will be paused when the next checkpoint is committed; null if it will not be.
    /// </summary>
    public string? PausesBecause { get; init; }

    /// <summary>Device-seconds that the stage has taken.</summary>
    public double DeviceSeconds { get; init; }

    /// <summary>Device-seconds that the stage had taken when the last checkpoint was committed.</summary>
    public double SafeDeviceSeconds { get; init; }

    /// <summary>Device-seconds that the stage may take; null for no limit.</summary>
    public double? BudgetSeconds { get; init; }

    /// <summary>The last notes about the stage, oldest first.</summary>
    public ImmutableArray<StageNote> Notes { get; init; } = [];

    /// <summary>The stage's panels.</summary>
    public StagePanels Panels { get; init; } = new();

    /// <summary>Whether the run of the stage was cancelled.</summary>
    public bool IsCancelled { get; init; }

    /// <summary>Whether the stage can be trained: it is neither over nor paused.</summary>
    public bool IsOpen => !IsOver && Paused is null;

    /// <summary>Whether the stage is over, so that trainers leave it.</summary>
    public bool IsOver => End is not null || Failure is not null || IsCancelled;
}

/// <summary>Steps that a rollback has undone.</summary>
/// <param name="From">The step whose weights were restored.</param>
/// <param name="Until">The step at which training continued with these weights.</param>
internal sealed record UndoneSteps(long From, long Until)
{
    /// <summary>Whether the weights after a number of steps are those of an undone step.</summary>
    public bool Has(long step) => step > From && step < Until;
}
