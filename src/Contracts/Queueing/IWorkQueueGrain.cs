// The queue, as workers and generations see it. A lease is a hint about who should claim; the generation itself decides
// (see IGenerationGrain.ClaimAsync).
using Atelier.Contracts.Scaling;
using Atelier.Contracts.Tenants;
using Orleans.CodeGeneration;
using Orleans.Concurrency;

namespace Atelier.Contracts.Queueing;

/// <summary>The queue of a cluster, for all models; its key is <see cref="Key"/>.</summary>
[Alias("atelier.IWorkQueueGrain"), Version(1)]
public interface IWorkQueueGrain : IGrainWithStringKey
{
    /// <summary>
    /// The key. Silos of earlier versions have a queue for each model, with the model's digest as its key.
    /// </summary>
    const string Key = "all";

    /// <summary>Puts work into the queue. Idempotent.</summary>
    /// <param name="item">The work.</param>
    /// <param name="admitted">
    /// Whether its generation was accepted already, so that the queue's limits do not apply.
    /// </param>
    [Alias("Offer")]
    Task<OfferAnswer> OfferAsync(WorkItem item, bool admitted);

    /// <summary>A worker reports the work that it holds, which renews its leases, and takes more work.</summary>
    [Alias("Turn")]
    Task<TurnAnswer> TurnAsync(WorkerTurn turn);

    /// <summary>A worker releases work.</summary>
    [Alias("Release")]
    Task ReleaseAsync(LeaseRelease release);

    /// <summary>Removes a generation's work; the worker that holds it is notified at its next turn.</summary>
    [Alias("Withdraw")]
    Task WithdrawAsync(GenerationKey generation);

    /// <summary>The place of a generation's waiting work; null if no work waits.</summary>
    [Alias("Where")]
    Task<QueuePlace?> PlaceOfAsync(GenerationKey generation);

    /// <summary>Changes a tenant's weight at once, including the weight of waiting work.</summary>
    [Alias("Weigh")]
    Task SetWeightAsync(TenantId tenant, TenantWeight weight);

    /// <summary>The load of the queue.</summary>
    [Alias("Status"), AlwaysInterleave]
    Task<QueueStatus> StatusAsync();

    /// <summary>The load of the queue, counting the work of one model only.</summary>
    [Alias("StatusOf"), AlwaysInterleave]
    Task<QueueStatus> StatusOfAsync(ModelDigest model);

    /// <summary>The work for a pool of workers.</summary>
    /// <param name="silos">Names of the pool's silos.</param>
    /// <param name="models">Models of the pool while none of its workers reports any.</param>
    [Alias("WorkFor"), AlwaysInterleave]
    Task<PoolWork> WorkForAsync(string[] silos, ModelDigest[] models);

    /// <summary>Says when workers will be there for models that no worker holds now.</summary>
    [Alias("SetStart")]
    Task SetStartAsync(PoolStart start);
}
