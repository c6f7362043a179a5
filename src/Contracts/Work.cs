// The queue, as workers and generations see it: what work is, and how it is leased. What the queue hands out is a hint
// about who should claim; the generation itself decides (see IGenerationGrain.ClaimAsync).
using Orleans.Concurrency;

namespace Atelier.Contracts;

/// <summary>The three kinds of work that a picture takes.</summary>
[GenerateSerializer, Alias("atelier.WorkKind")]
public enum WorkKind
{
    /// <summary>Words to caption features.</summary>
    Encode,

    /// <summary>Noise to a clean latent, step by step.</summary>
    Denoise,

    /// <summary>A clean latent to a picture.</summary>
    Decode,
}

/// <summary>The kinds of work that a worker's configuration lets it do.</summary>
[Flags, GenerateSerializer, Alias("atelier.WorkRoles")]
public enum WorkRoles
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>A text encoder.</summary>
    Encode = 1,

    /// <summary>A denoiser.</summary>
    Denoise = 2,

    /// <summary>A decoder of latents.</summary>
    Decode = 4,

    /// <summary>All three.</summary>
    All = 7,
}

/// <summary>What a kind of work asks of a worker.</summary>
public static class WorkKinds
{
    /// <summary>The role that does this kind of work.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No role does it.</exception>
    public static WorkRoles Role(this WorkKind kind) => kind switch
    {
        WorkKind.Encode => WorkRoles.Encode,
        WorkKind.Denoise => WorkRoles.Denoise,
        WorkKind.Decode => WorkRoles.Decode,
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "No role does this kind of work."),
    };
}

/// <summary>One piece of work in a queue: a phase of a generation.</summary>
[GenerateSerializer, Immutable, Alias("atelier.WorkItem")]
public sealed record WorkItem
{
    /// <summary>Most quanta in one item: the steps of a generation.</summary>
    public const int QuantaMax = GenerationSpec.StepsMax;

    /// <summary>Whose work it is.</summary>
    [Id(0)]
    public required GenerationKey Generation { get; init; }

    /// <summary>What is to be done.</summary>
    [Id(1)]
    public required WorkKind Kind { get; init; }

    /// <summary>The tenant's weight: its share against other tenants'.</summary>
    [Id(2)]
    public double Weight { get; init; } = 1;

    /// <summary>Pieces after each of which the work may stop and go on elsewhere: steps left, or 1.</summary>
    [Id(3)]
    public required int Quanta { get; init; }

    /// <summary>Predicted floating-point operations of all these quanta together.</summary>
    [Id(4)]
    public required double Cost { get; init; }

    /// <summary>When the generation was accepted: a tenant's work is done in this order.</summary>
    [Id(5)]
    public required DateTimeOffset AcceptedAt { get; init; }

    /// <summary>Whether it is in quarantine: it runs on a worker that holds nothing else.</summary>
    [Id(6)]
    public bool Alone { get; init; }

    /// <summary>The device kind that its snapshot needs; none if any will do.</summary>
    [Id(7)]
    public string? DeviceKind { get; init; }

    /// <summary>
    /// From when on any device kind will do, at the price of starting again, by the clock of whoever set it.
    /// </summary>
    [Id(8)]
    public DateTimeOffset? AnyKindFrom { get; init; }

    /// <summary>
    /// The last lease on which it was claimed: leases to come have higher numbers, whichever queue gives them.
    /// </summary>
    [Id(9)]
    public long LastLease { get; init; }

    /// <summary>
    /// The worker whose claim on it has not ended; none if it waits for one. A queue that has just started keeps it for
    /// that worker until it has said what it holds.
    /// </summary>
    [Id(10)]
    public string? ClaimedBy { get; init; }

    /// <summary>
    /// For how long it waits for its device kind, from when the queue hears of it: clocks of two silos may differ.
    /// </summary>
    [Id(11)]
    public TimeSpan? AnyKindAfter { get; init; }

    /// <summary>The model that it needs.</summary>
    [Id(12)]
    public ModelDigest Model { get; init; }

    /// <summary>Number of the change that gave the weight: the largest that the queue knows holds.</summary>
    [Id(13)]
    public long WeightVersion { get; init; }
}

/// <summary>What became of an offer.</summary>
[GenerateSerializer, Alias("atelier.OfferOutcome")]
public enum OfferOutcome
{
    /// <summary>The work stands in the queue, or stood there already.</summary>
    Queued,

    /// <summary>The tenant has as much in the queue as it may.</summary>
    TenantFull,

    /// <summary>The queue holds as much as it may.</summary>
    QueueFull,
}

/// <summary>Where work stands in its queue.</summary>
/// <param name="Position">
/// Pieces of the same tenant's work that come first; other tenants' are nobody's business.
/// </param>
/// <param name="Wait">
/// Estimated time until it starts; none while the queue has not yet seen how fast the workers are.
/// </param>
[GenerateSerializer, Immutable, Alias("atelier.QueuePlace")]
public readonly record struct QueuePlace([property: Id(0)] int Position, [property: Id(1)] TimeSpan? Wait);

/// <summary>Answer to an offer.</summary>
/// <param name="Outcome">Whether the work is in the queue.</param>
/// <param name="Place">Where it stands, if it is.</param>
/// <param name="RetryAfter">When to come back, if it is not.</param>
[GenerateSerializer, Immutable, Alias("atelier.OfferAnswer")]
public sealed record OfferAnswer(
    [property: Id(0)] OfferOutcome Outcome, [property: Id(1)] QueuePlace? Place, [property: Id(2)] TimeSpan? RetryAfter);

/// <summary>
/// Work that a worker holds, with the whole item, so that a queue that has just started knows it too.
/// </summary>
/// <param name="Lease">Number of the lease.</param>
/// <param name="Item">The work as it was leased.</param>
/// <param name="Done">Quanta finished under this lease.</param>
[GenerateSerializer, Immutable, Alias("atelier.HeldWork")]
public sealed record HeldWork([property: Id(0)] long Lease, [property: Id(1)] WorkItem Item, [property: Id(2)] int Done);

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

/// <summary>How full a queue is.</summary>
/// <param name="Waiting">Pieces of work that wait.</param>
/// <param name="Leased">Pieces of work that are leased.</param>
/// <param name="Tenants">Tenants with work.</param>
/// <param name="CostWaiting">Predicted operations of what waits.</param>
/// <param name="CostPerSecond">Operations granted a second, lately; 0 while none is known.</param>
[GenerateSerializer, Immutable, Alias("atelier.QueueStatus")]
public sealed record QueueStatus(
    [property: Id(0)] int Waiting, [property: Id(1)] int Leased, [property: Id(2)] int Tenants,
    [property: Id(3)] double CostWaiting, [property: Id(4)] double CostPerSecond);

/// <summary>The queue of a cluster, for all models; its key is <see cref="Key"/>.</summary>
[Alias("atelier.IWorkQueueGrain")]
public interface IWorkQueueGrain : IGrainWithStringKey
{
    /// <summary>The key. Silos of earlier versions have a queue for each model, under its digest.</summary>
    const string Key = "all";

    /// <summary>Puts work into the queue; the same work twice is once.</summary>
    /// <param name="item">The work.</param>
    /// <param name="admitted">Whether its generation was accepted already: then the bounds do not apply.</param>
    [Alias("Offer")]
    Task<OfferAnswer> OfferAsync(WorkItem item, bool admitted);

    /// <summary>A worker says what it holds and takes more.</summary>
    [Alias("Turn")]
    Task<TurnAnswer> TurnAsync(WorkerTurn turn);

    /// <summary>A worker gives work back.</summary>
    [Alias("Release")]
    Task ReleaseAsync(LeaseRelease release);

    /// <summary>Takes a generation's work out; whoever holds it is told at its next turn.</summary>
    [Alias("Withdraw")]
    Task WithdrawAsync(GenerationKey generation);

    /// <summary>Where a generation's work stands; none if none waits.</summary>
    [Alias("Where")]
    Task<QueuePlace?> WhereAsync(GenerationKey generation);

    /// <summary>A tenant's weight was changed: it holds at once, for what waits too.</summary>
    [Alias("Weigh")]
    Task WeighAsync(TenantId tenant, TenantWeight weight);

    /// <summary>How full the queue is.</summary>
    [Alias("Status"), AlwaysInterleave]
    Task<QueueStatus> StatusAsync();

    /// <summary>How full the queue is with work of one model.</summary>
    [Alias("StatusOf"), AlwaysInterleave]
    Task<QueueStatus> StatusOfAsync(ModelDigest model);

    /// <summary>Asks for the queue to be there: one that starts asks all open generations for their work.</summary>
    [Alias("Wake")]
    Task WakeAsync();
}
