using Atelier.Contracts.Tenants;
using Atelier.Grains.Blobs;

namespace Atelier.Silo.Api.Admin;

/// <summary>
/// A tenant's limits. A member that is left out keeps its value; in a new tenant it has the default value.
/// </summary>
internal sealed record PutTenantRequest
{
    /// <summary>Share of the devices relative to other tenants, 1 to 1000.</summary>
    public double? Weight { get; init; }

    /// <summary>Maximum number of requests per minute.</summary>
    public int? RequestsPerMinute { get; init; }

    /// <summary>Maximum number of generations that are open at once.</summary>
    public int? OpenGenerations { get; init; }

    /// <summary>Maximum number of network evaluations per day (UTC).</summary>
    public long? EvaluationsPerDay { get; init; }

    /// <summary>Maximum number of sessions at once.</summary>
    public int? Sessions { get; init; }

    /// <summary>
    /// Maximum size of stored state in MiB, which includes sessions, open requests, and ended requests that are
    /// retained.
    /// </summary>
    public int? StoredMegabytes { get; init; }

    /// <summary>
    /// Whether the tenant may submit training runs. Trainers read whatever folder a run names, so the right is for
    /// trusted tenants.
    /// </summary>
    public bool? MayTrain { get; init; }
}

/// <summary>A request for a key.</summary>
internal sealed record CreateKeyRequest
{
    /// <summary>Label of the key, 1 to 100 characters.</summary>
    public required string Label { get; init; }
}

/// <summary>A tenant.</summary>
/// <param name="Id">Name of the tenant.</param>
/// <param name="Weight">Share of the devices relative to other tenants.</param>
/// <param name="RequestsPerMinute">Maximum number of requests per minute.</param>
/// <param name="OpenGenerations">Maximum number of generations that are open at once.</param>
/// <param name="EvaluationsPerDay">Maximum number of network evaluations per day (UTC).</param>
/// <param name="Sessions">Maximum number of sessions at once.</param>
/// <param name="StoredMegabytes">Maximum size of stored state in MiB.</param>
/// <param name="MayTrain">Whether the tenant may submit training runs.</param>
/// <param name="Keys">The tenant's keys, without their secrets.</param>
/// <param name="Open">Number of generations that are open now.</param>
/// <param name="EvaluationsToday">Number of network evaluations used today (UTC).</param>
internal sealed record TenantResponse(
    string Id, double Weight, int RequestsPerMinute, int OpenGenerations, long EvaluationsPerDay, int Sessions,
    int StoredMegabytes, bool MayTrain,
    KeyResponse[] Keys, int Open, long EvaluationsToday)
{
    public static TenantResponse Of(TenantView view) => new(
        view.Id.Name, view.Settings.Weight, view.Settings.RequestsPerMinute, view.Settings.OpenGenerations,
        view.Settings.EvaluationsPerDay, view.Settings.Sessions, view.Settings.StoredMegabytes,
        view.Settings.MayTrain,
        [.. view.Keys.Select(key => new KeyResponse(key.Label, key.Hash, key.CreatedAt))], view.Open,
        view.EvaluationsToday);
}

/// <summary>A key without its secret.</summary>
/// <param name="Label">Label of the key.</param>
/// <param name="Hash">SHA-256 of the key, which identifies the key when it is revoked.</param>
/// <param name="CreatedAt">When the key was created.</param>
internal sealed record KeyResponse(string Label, string Hash, DateTimeOffset CreatedAt);

/// <summary>A new key.</summary>
/// <param name="Key">The key itself, which is not shown again.</param>
/// <param name="Label">Label of the key.</param>
/// <param name="Hash">SHA-256 of the key, which identifies the key when it is revoked.</param>
internal sealed record NewKeyResponse(string Key, string Label, string Hash);

/// <summary>A page of the list of tenants, in order of name.</summary>
/// <param name="Items">The tenants.</param>
/// <param name="Next">Value of the query parameter 'after' for the next page; null on the last page.</param>
internal sealed record TenantListResponse(TenantResponse[] Items, string? Next);

/// <summary>State of the cluster.</summary>
/// <param name="Silos">Silos that are alive.</param>
/// <param name="Workers">Workers that reported their status.</param>
/// <param name="Queues">Queues, one for each model.</param>
internal sealed record StatusResponse(SiloResponse[] Silos, WorkerResponse[] Workers, QueueResponse[] Queues);

/// <summary>A silo.</summary>
/// <param name="Name">Name of the silo.</param>
/// <param name="Address">Address of the silo's HTTP API.</param>
internal sealed record SiloResponse(string Name, string Address);

/// <summary>A worker.</summary>
/// <param name="Name">Name of the worker: its silo and its device.</param>
/// <param name="DeviceKind">Kind of the worker's device, such as cpu.</param>
/// <param name="Roles">Kinds of work that the worker does: encode, denoise, decode.</param>
/// <param name="Slots">Maximum number of pictures in a batch.</param>
/// <param name="Held">Number of work items that the worker holds.</param>
/// <param name="Model">Digest of the model in memory; null if no model is loaded.</param>
/// <param name="Draining">Whether the worker is draining: it accepts no new work.</param>
internal sealed record WorkerResponse(
    string Name, string DeviceKind, string[] Roles, int Slots, int Held, string? Model, bool Draining);

/// <summary>A model's queue.</summary>
/// <param name="Model">The model's digest.</param>
/// <param name="Name">The model's name.</param>
/// <param name="Waiting">Number of work items that are waiting.</param>
/// <param name="Leased">Number of work items that are leased to workers.</param>
/// <param name="Tenants">Number of tenants with work in the queue.</param>
/// <param name="CostWaiting">Predicted number of operations of the waiting work.</param>
/// <param name="CostPerSecond">Recent throughput, in operations of granted work per second.</param>
internal sealed record QueueResponse(
    string Model, string Name, int Waiting, int Leased, int Tenants, double CostWaiting, double CostPerSecond);

/// <summary>A request for a sweep of the blob store.</summary>
internal sealed record SweepBlobsRequest
{
    /// <summary>Whether this is a dry run, which removes nothing; true by default.</summary>
    public bool? DryRun { get; init; }

    /// <summary>
    /// Number of hours that must pass after a blob was last stored before it may be removed; at least 1, 24 by default.
    /// </summary>
    public int? GraceHours { get; init; }
}

/// <summary>A blob that no owner needs.</summary>
/// <param name="Name">Name of the blob.</param>
/// <param name="Bytes">Size of the blob in bytes.</param>
/// <param name="Owners">Owners that hold the blob without needing it.</param>
/// <param name="PutAt">When the blob was last stored.</param>
/// <param name="Removed">Whether the blob was removed.</param>
internal sealed record SweptBlobResponse(
    string Name, long Bytes, string[] Owners, DateTimeOffset PutAt, bool Removed);

/// <summary>A number of blobs and their total size.</summary>
/// <param name="Blobs">Number of blobs.</param>
/// <param name="Bytes">Total size of the blobs in bytes.</param>
internal sealed record BlobCountResponse(long Blobs, long Bytes)
{
    public static BlobCountResponse Of(BlobCount count) => new(count.Blobs, count.Bytes);
}

/// <summary>The totals of a sweep.</summary>
/// <param name="Listed">All blobs in the store.</param>
/// <param name="Unneeded">Blobs that no owner needs.</param>
/// <param name="Removed">Blobs that were removed.</param>
/// <param name="Young">Blobs that were kept because they are younger than the grace period.</param>
/// <param name="InDoubt">Blobs that were kept because an owner or the store did not answer.</param>
internal sealed record SweepResponse(
    BlobCountResponse Listed, BlobCountResponse Unneeded, BlobCountResponse Removed, BlobCountResponse Young,
    BlobCountResponse InDoubt)
{
    public static SweepResponse Of(BlobSweep sweep) => new(
        BlobCountResponse.Of(sweep.Listed), BlobCountResponse.Of(sweep.Unneeded), BlobCountResponse.Of(sweep.Removed),
        BlobCountResponse.Of(sweep.Young), BlobCountResponse.Of(sweep.InDoubt));
}
