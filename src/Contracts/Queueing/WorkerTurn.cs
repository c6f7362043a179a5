namespace Atelier.Contracts.Queueing;

/// <summary>
/// Work that a worker holds, with the whole item, so that a queue that has just started knows it too.
/// </summary>
/// <param name="Lease">Number of the lease.</param>
/// <param name="Item">The work as it was leased.</param>
/// <param name="Done">Quanta finished under this lease.</param>
[GenerateSerializer, Immutable, Alias("atelier.HeldWork")]
public sealed record HeldWork(
    [property: Id(0)] long Lease, [property: Id(1)] WorkItem Item, [property: Id(2)] int Done);

/// <summary>Where a model that a worker may hold is, or could be.</summary>
[GenerateSerializer, Alias("atelier.ModelPlace")]
public enum ModelPlace
{
    /// <summary>In memory.</summary>
    Loaded,

    /// <summary>On its way into memory.</summary>
    Loading,

    /// <summary>Not in memory, where there is room for it.</summary>
    Beside,

    /// <summary>Not in memory; another model would have to leave.</summary>
    Instead,
}

/// <summary>A model that a worker may hold.</summary>
/// <param name="Model">Which one.</param>
/// <param name="Place">Where it is.</param>
[GenerateSerializer, Immutable, Alias("atelier.WorkerModel")]
public readonly record struct WorkerModel([property: Id(0)] ModelDigest Model, [property: Id(1)] ModelPlace Place);

/// <summary>What a worker says between two quanta.</summary>
[GenerateSerializer, Immutable, Alias("atelier.WorkerTurn")]
public sealed record WorkerTurn
{
    /// <summary>Most pictures that one worker draws together.</summary>
    public const int SlotsMax = 256;

    /// <summary>Most work that one worker holds: also what is on its way in or out.</summary>
    public const int HeldMax = 4 * SlotsMax;

    /// <summary>The worker: silo and device.</summary>
    [Id(0)]
    public required string Worker { get; init; }

    /// <summary>Its device kind.</summary>
    [Id(1)]
    public required string DeviceKind { get; init; }

    /// <summary>What it may do.</summary>
    [Id(2)]
    public required WorkRoles Roles { get; init; }

    /// <summary>How much more it can take at once.</summary>
    [Id(3)]
    public required int Free { get; init; }

    /// <summary>What it holds.</summary>
    [Id(4)]
    public HeldWork[] Held { get; init; } = [];

    /// <summary>Models that it may hold. It is given work of those that are loaded.</summary>
    [Id(5)]
    public WorkerModel[] Models { get; init; } = [];

    /// <summary>
    /// Time since the worker's last load ended, divided by the time that the load took; null if it has loaded nothing.
    /// </summary>
    [Id(6)]
    public double? LoadAge { get; init; }
}

/// <summary>What a worker shall do with work that it holds.</summary>
[GenerateSerializer, Alias("atelier.WorkVerdict")]
public enum WorkVerdict
{
    /// <summary>Go on.</summary>
    Continue,

    /// <summary>Store a snapshot and give it back: others come first.</summary>
    Park,

    /// <summary>Stop: it was withdrawn, or is someone else's. The generation is told as when it is parked.</summary>
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

    /// <summary>How long the leases last unless the worker takes another turn.</summary>
    [Id(2)]
    public required TimeSpan LeaseTime { get; init; }

    /// <summary>The model to load: its work comes next. Null to keep those that are loaded.</summary>
    [Id(3)]
    public ModelDigest? Load { get; init; }
}

/// <summary>How a lease ended.</summary>
[GenerateSerializer, Alias("atelier.LeaseEnd")]
public enum LeaseEnd
{
    /// <summary>The work is done, or is none any more.</summary>
    Finished,

    /// <summary>The work goes back to its old place in the queue.</summary>
    Returned,
}

/// <summary>A worker gives a lease back.</summary>
/// <param name="Lease">Number of the lease.</param>
/// <param name="Item">The work as it is now: quanta that are left and what they cost.</param>
/// <param name="End">How it ended.</param>
[GenerateSerializer, Immutable, Alias("atelier.LeaseRelease")]
public sealed record LeaseRelease(
    [property: Id(0)] long Lease, [property: Id(1)] WorkItem Item, [property: Id(2)] LeaseEnd End);
