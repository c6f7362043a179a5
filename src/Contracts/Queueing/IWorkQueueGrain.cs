// The queue, as workers and generations see it: what work is, and how it is leased. What the queue hands out is a hint
// about who should claim; the generation itself decides (see IGenerationGrain.ClaimAsync).
using Atelier.Contracts.Tenants;
using Orleans.Concurrency;

namespace Atelier.Contracts.Queueing;

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
    Task<QueuePlace?> PlaceOfAsync(GenerationKey generation);

    /// <summary>A tenant's weight was changed: it holds at once, for what waits too.</summary>
    [Alias("Weigh")]
    Task SetWeightAsync(TenantId tenant, TenantWeight weight);

    /// <summary>How full the queue is.</summary>
    [Alias("Status"), AlwaysInterleave]
    Task<QueueStatus> StatusAsync();

    /// <summary>How full the queue is with work of one model.</summary>
    [Alias("StatusOf"), AlwaysInterleave]
    Task<QueueStatus> StatusOfAsync(ModelDigest model);
}
