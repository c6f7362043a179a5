// What a client submits as a training run, and how runs are listed.
using System.Globalization;
using Orleans.CodeGeneration;

namespace Atelier.Contracts.Training;

/// <summary>A training run as it was submitted. The same submission under the same id is accepted again.</summary>
[GenerateSerializer, Immutable, Alias("atelier.RunSubmission")]
public sealed record RunSubmission
{
    /// <summary>Largest priority; the smallest is its negative.</summary>
    public const int PriorityMax = 100;

    /// <summary>Largest weight; the smallest is 1.</summary>
    public const double WeightMax = 1000;

    /// <summary>The stages, in order.</summary>
    [Id(0)]
    public required StageSource[] Stages { get; init; }

    /// <summary>Runs of higher priority get devices first.</summary>
    [Id(1)]
    public int Priority { get; init; }

    /// <summary>Share of the devices relative to other runs of the same priority.</summary>
    [Id(2)]
    public double Weight { get; init; } = 1;

    /// <summary>
    /// Device-seconds after which the run pauses; null for no limit. A device counts while it computes shards of the
    /// run.
    /// </summary>
    [Id(3)]
    public double? BudgetSeconds { get; init; }

    /// <summary>The tenant that the run belongs to; null for the administrator.</summary>
    [Id(4)]
    public TenantId? Owner { get; init; }

    /// <summary>What is wrong with this submission, as a sentence; null if it is valid.</summary>
    public string? Fault() => this switch
    {
        { Stages.Length: < 1 or > ITrainingRunGrain.StagesMax } =>
            $"A run has 1 to {ITrainingRunGrain.StagesMax} stages, not {Stages.Length}.",
        { Priority: < -PriorityMax or > PriorityMax } =>
            $"The priority must be in {-PriorityMax}..{PriorityMax}, not {Priority}.",
        { Weight: not (>= 1 and <= WeightMax) } => $"The weight must be in 1..{WeightMax}, not {Weight}.",
        { BudgetSeconds: not (null or (> 0 and < double.PositiveInfinity)) } =>
            $"The budget must be a positive number of device-seconds, not {BudgetSeconds}.",
        _ => null,
    };

    /// <summary>
    /// Whether another submission is the same one. The networks that made the data are read from the data, which may be
    /// gone when a submission is repeated.
    /// </summary>
    public bool IsSame(RunSubmission other) =>
        (Priority, Weight, BudgetSeconds, Owner) == (other.Priority, other.Weight, other.BudgetSeconds, other.Owner)
        && Stages.Length == other.Stages.Length && Stages.Zip(other.Stages).All(pair =>
            pair.First with { Overrides = [], Networks = null } == pair.Second with { Overrides = [], Networks = null }
            && pair.First.Overrides.SequenceEqual(pair.Second.Overrides, StringComparer.Ordinal));
}

/// <summary>A run as it is listed.</summary>
[GenerateSerializer, Immutable, Alias("atelier.RunSummary")]
public sealed record RunSummary
{
    /// <summary>The run.</summary>
    [Id(0)]
    public required RunId Run { get; init; }

    /// <summary>The run's phase.</summary>
    [Id(1)]
    public RunPhase Phase { get; init; }

    /// <summary>Index of the current stage.</summary>
    [Id(2)]
    public int Stage { get; init; }

    /// <summary>Number of stages.</summary>
    [Id(3)]
    public int StageCount { get; init; }

    /// <summary>Name of the current stage.</summary>
    [Id(4)]
    public string StageName { get; init; } = "";

    /// <inheritdoc cref="RunSubmission.Priority"/>
    [Id(5)]
    public int Priority { get; init; }

    /// <inheritdoc cref="RunSubmission.Weight"/>
    [Id(6)]
    public double Weight { get; init; } = 1;

    /// <inheritdoc cref="RunSubmission.Owner"/>
    [Id(7)]
    public TenantId? Owner { get; init; }

    /// <summary>When the run was submitted.</summary>
    [Id(8)]
    public DateTimeOffset SubmittedAt { get; init; }

    /// <summary>When the run ended; null while it is open.</summary>
    [Id(9)]
    public DateTimeOffset? EndedAt { get; init; }

    /// <summary>Number of steps that the current stage's last committed checkpoint includes.</summary>
    [Id(10)]
    public long SafeStep { get; init; }

    /// <summary>Number of steps of the current stage; 0 before a trainer has read the configuration.</summary>
    [Id(11)]
    public long Steps { get; init; }

    /// <summary>Whether the run is open: it trains, waits or is paused.</summary>
    public bool IsOpen => Phase is RunPhase.Running or RunPhase.Paused;

    /// <summary>The key of the current stage's grain.</summary>
    public string StageKey => new OpenRun(Run, Stage).StageKey;
}

/// <summary>The list of a cluster's runs; the grain's key is 0.</summary>
[Alias("atelier.ITrainingBoardGrain"), Version(1)]
public interface ITrainingBoardGrain : IGrainWithIntegerKey
{
    /// <summary>Maximum number of open runs.</summary>
    const int RunsMax = 256;

    /// <summary>Maximum number of ended runs that are listed; older ones are dropped from the list.</summary>
    const int EndedMax = 1000;

    /// <summary>Adds or updates a run. Returns false, and changes nothing, if too many runs are open.</summary>
    [Alias("Update")]
    Task<bool> UpdateAsync(RunSummary run);

    /// <summary>Records the progress of a run's stage, which is kept in memory only.</summary>
    [Alias("Progress")]
    Task ProgressAsync(RunId run, int stage, long safeStep, long steps);

    /// <summary>Open runs in order of submission.</summary>
    [Alias("ListOpen")]
    Task<RunSummary[]> ListOpenAsync();

    /// <summary>Open runs in order of submission, then ended runs, the last one first.</summary>
    [Alias("ListAll")]
    Task<RunSummary[]> ListAsync();

    /// <summary>
    /// For silos of the release before: adds an open run, or updates its current stage. Returns false if too many runs
    /// are open.
    /// </summary>
    [Alias("Open")]
    Task<bool> EarlierOpenAsync(RunId run, int stage);

    /// <summary>
    /// For silos of the release before: removes a run that is over. How it ended is not known to the list.
    /// </summary>
    [Alias("Close")]
    Task EarlierCloseAsync(RunId run);

    /// <summary>For trainers of the release before: running runs in order of submission.</summary>
    [Alias("List")]
    Task<OpenRun[]> EarlierListAsync();
}

/// <summary>A run and its current stage.</summary>
/// <param name="Run">The run.</param>
/// <param name="Stage">Index of its current stage.</param>
[GenerateSerializer, Immutable, Alias("atelier.OpenRun")]
public readonly record struct OpenRun([property: Id(0)] RunId Run, [property: Id(1)] int Stage)
{
    /// <summary>The key of the stage's grain.</summary>
    public string StageKey => $"{Run}/{Stage}";

    /// <summary>Parses a <see cref="StageKey"/>.</summary>
    public static OpenRun Parse(string stageKey)
    {
        int slash = stageKey.LastIndexOf('/');
        return new OpenRun(
            new RunId(stageKey[..slash]), int.Parse(stageKey.AsSpan(slash + 1), CultureInfo.InvariantCulture));
    }
}
