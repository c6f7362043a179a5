namespace Atelier.Contracts.Queueing;

/// <summary>
/// Work that a worker holds. It carries the whole item, so that a queue that has just started can rebuild its state.
/// </summary>
/// <param name="Lease">Number of the lease.</param>
/// <param name="Item">The work as it was leased.</param>
/// <param name="Done">Quanta finished under this lease.</param>
[GenerateSerializer, Immutable, Alias("atelier.HeldWork")]
public sealed record HeldWork(
    [property: Id(0)] long Lease, [property: Id(1)] WorkItem Item, [property: Id(2)] int Done);

/// <summary>Whether a model is in a worker's memory, or what loading it would take.</summary>
[GenerateSerializer, Alias("atelier.ModelPlace")]
public enum ModelPlace
{
    /// <summary>In memory.</summary>
    Loaded,

    /// <summary>Being loaded.</summary>
    Loading,

    /// <summary>Not in memory; there is room for it beside the others.</summary>
    Beside,

    /// <summary>Not in memory; another model would have to be evicted.</summary>
    Instead,
}

/// <summary>A model that a worker can hold.</summary>
/// <param name="Model">The model's digest.</param>
/// <param name="Place">Whether the model is in memory.</param>
[GenerateSerializer, Immutable, Alias("atelier.WorkerModel")]
public readonly record struct WorkerModel([property: Id(0)] ModelDigest Model, [property: Id(1)] ModelPlace Place);

/// <summary>A worker's report between two quanta.</summary>
[GenerateSerializer, Immutable, Alias("atelier.WorkerTurn")]
public sealed record WorkerTurn
{
    /// <summary>Maximum number of pictures that one worker denoises in a batch.</summary>
    public const int SlotsMax = 256;

    /// <summary>
    /// Maximum number of work items that one worker holds, including those that it is claiming or releasing.
    /// </summary>
    public const int HeldMax = 4 * SlotsMax;

    /// <summary>The worker's key: silo and device.</summary>
    [Id(0)]
    public required string Worker { get; init; }

    /// <summary>The worker's device kind. A snapshot can be resumed only on the device kind that wrote it.</summary>
    [Id(1)]
    public required string DeviceKind { get; init; }

    /// <summary>The kinds of work that the worker may do.</summary>
    [Id(2)]
    public required WorkRoles Roles { get; init; }

    /// <summary>Number of further work items that the worker can take now.</summary>
    [Id(3)]
    public required int Free { get; init; }

    /// <summary>The work that the worker holds.</summary>
    [Id(4)]
    public HeldWork[] Held { get; init; } = [];

    /// <summary>The models that the worker may hold. It gets work only for those that are loaded.</summary>
    [Id(5)]
    public WorkerModel[] Models { get; init; } = [];

    /// <summary>
    /// Time since the worker's last model load ended, divided by the duration of that load; null before the first load.
    /// </summary>
    [Id(6)]
    public double? LoadAge { get; init; }

    /// <summary>
    /// Floating-point operations per second that the worker achieved while it denoised, averaged over the last minute
    /// of denoising; null before the first evaluation.
    /// </summary>
    [Id(7)]
    public double? Speed { get; init; }
}

/// <summary>What a worker must do with work that it holds.</summary>
[GenerateSerializer, Alias("atelier.WorkVerdict")]
public enum WorkVerdict
{
    /// <summary>Continue.</summary>
    Continue,

    /// <summary>Store a snapshot and release the work: other work comes first.</summary>
    Park,

    /// <summary>
    /// Stop: the work was withdrawn or belongs to another worker. The generation is notified as for <see cref="Park"/>.
    /// </summary>
    Stop,
}

/// <summary>Work given to a worker.</summary>
/// <param name="Lease">Number of the lease.</param>
/// <param name="Item">The work.</param>
[GenerateSerializer, Immutable, Alias("atelier.LeasedWork")]
public sealed record LeasedWork([property: Id(0)] long Lease, [property: Id(1)] WorkItem Item);

/// <summary>The queue's answer to a worker's turn.</summary>
[GenerateSerializer, Immutable, Alias("atelier.TurnAnswer")]
public sealed record TurnAnswer
{
    /// <summary>One verdict for each piece of work held, in the turn's order.</summary>
    [Id(0)]
    public required WorkVerdict[] Verdicts { get; init; }

    /// <summary>New work.</summary>
    [Id(1)]
    public required LeasedWork[] Leased { get; init; }

    /// <summary>How long the leases last unless renewed by another turn.</summary>
    [Id(2)]
    public required TimeSpan LeaseTime { get; init; }

    /// <summary>The model to load, because its work comes next; null to keep the loaded ones.</summary>
    [Id(3)]
    public ModelDigest? Load { get; init; }
}

/// <summary>How a lease ended.</summary>
[GenerateSerializer, Alias("atelier.LeaseEnd")]
public enum LeaseEnd
{
    /// <summary>The work is done or no longer exists.</summary>
    Finished,

    /// <summary>The work goes back to its old place in the queue.</summary>
    Returned,
}

/// <summary>A worker's release of a lease.</summary>
/// <param name="Lease">Number of the lease.</param>
/// <param name="Item">The work as it is now: the quanta left and their cost.</param>
/// <param name="End">How the lease ended.</param>
[GenerateSerializer, Immutable, Alias("atelier.LeaseRelease")]
public sealed record LeaseRelease(
    [property: Id(0)] long Lease, [property: Id(1)] WorkItem Item, [property: Id(2)] LeaseEnd End);
