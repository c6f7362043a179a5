using Atelier.Contracts.Tenants;
using Atelier.Grains.Blobs;

namespace Atelier.Silo.Api.Admin;

/// <summary>A tenant's limits. A member left out keeps its value, or is the default for a new tenant.</summary>
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
    /// Maximum size of stored state in MiB: sessions, and requests whether open or ended and retained.
    /// </summary>
    public int? StoredMegabytes { get; init; }
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
/// <param name="Keys">Its keys, without their secrets.</param>
/// <param name="Open">Generations that are open now.</param>
/// <param name="EvaluationsToday">Network evaluations used today (UTC).</param>
internal sealed record TenantResponse(
    string Id, double Weight, int RequestsPerMinute, int OpenGenerations, long EvaluationsPerDay, int Sessions,
    int StoredMegabytes,
    KeyResponse[] Keys, int Open, long EvaluationsToday)
{
    public static TenantResponse Of(TenantView view) => new(
        view.Id.Name, view.Settings.Weight, view.Settings.RequestsPerMinute, view.Settings.OpenGenerations,
        view.Settings.EvaluationsPerDay, view.Settings.Sessions, view.Settings.StoredMegabytes,
        [.. view.Keys.Select(key => new KeyResponse(key.Label, key.Hash, key.CreatedAt))], view.Open,
        view.EvaluationsToday);
}

/// <summary>A key without its secret.</summary>
/// <param name="Label">Label of the key.</param>
/// <param name="Hash">SHA-256 of the key, which identifies it when it is revoked.</param>
/// <param name="CreatedAt">When it was created.</param>
internal sealed record KeyResponse(string Label, string Hash, DateTimeOffset CreatedAt);

/// <summary>A new key.</summary>
/// <param name="Key">The key itself, which is not shown again.</param>
/// <param name="Label">Label of the key.</param>
/// <param name="Hash">SHA-256 of the key, which identifies it when it is revoked.</param>
internal sealed record NewKeyResponse(string Key, string Label, string Hash);

/// <summary>A page of the list of tenants, in order of name.</summary>
/// <param name="Items">The tenants.</param>
/// <param name="Next">The value of after for the next page; null on the last page.</param>
internal sealed record TenantListResponse(TenantResponse[] Items, string? Next);

/// <summary>State of the cluster.</summary>
/// <param name="Silos">Silos that are alive.</param>
/// <param name="Workers">Workers that answered.</param>
/// <param name="Queues">Queues, one for each model.</param>
internal sealed record StatusResponse(SiloResponse[] Silos, WorkerResponse[] Workers, QueueResponse[] Queues);

/// <summary>A silo.</summary>
/// <param name="Name">Name of the silo.</param>
/// <param name="Address">Address of its HTTP API.</param>
internal sealed record SiloResponse(string Name, string Address);

/// <summary>A worker.</summary>
/// <param name="Name">Silo and device.</param>
/// <param name="DeviceKind">Kind of its device, such as cpu.</param>
/// <param name="Roles">Kinds of work that it does: encode, denoise, decode.</param>
/// <param name="Slots">Maximum number of pictures in a batch.</param>
/// <param name="Held">Work items that it holds.</param>
/// <param name="Model">Digest of the model in memory; null if none is loaded.</param>
/// <param name="Draining">Whether it accepts no new work.</param>
internal sealed record WorkerResponse(
    string Name, string DeviceKind, string[] Roles, int Slots, int Held, string? Model, bool Draining);

/// <summary>A model's queue.</summary>
/// <param name="Model">The model's digest.</param>
/// <param name="Name">The model's name.</param>
/// <param name="Waiting">Work items that wait.</param>
/// <param name="Leased">Work items that workers hold.</param>
/// <param name="Tenants">Tenants with work.</param>
/// <param name="CostWaiting">Predicted operations of the waiting work.</param>
/// <param name="CostPerSecond">Recent throughput, in operations granted per second.</param>
internal sealed record QueueResponse(
    string Model, string Name, int Waiting, int Leased, int Tenants, double CostWaiting, double CostPerSecond);

/// <summary>A request for a sweep of the blob store.</summary>
internal sealed record SweepBlobsRequest
{
    /// <summary>Whether nothing is removed; true by default.</summary>
    public bool? DryRun { get; init; }

    /// <summary>Hours since a blob was last put before it may be removed, at least 1; 24 by default.</summary>
    public int? GraceHours { get; init; }
}

/// <summary>A blob that no owner needs.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Bytes">Its bytes.</param>
/// <param name="Owners">Who holds it, without needing it.</param>
/// <param name="PutAt">When it was last put.</param>
/// <param name="Removed">Whether it was removed.</param>
internal sealed record SweptBlobResponse(
    string Name, long Bytes, string[] Owners, DateTimeOffset PutAt, bool Removed);

/// <summary>A number of blobs.</summary>
/// <param name="Blobs">How many.</param>
/// <param name="Bytes">Their bytes.</param>
internal sealed record BlobCountResponse(long Blobs, long Bytes)
{
    public static BlobCountResponse Of(BlobCount count) => new(count.Blobs, count.Bytes);
}

/// <summary>The totals of a sweep.</summary>
/// <param name="Listed">All blobs.</param>
/// <param name="Unneeded">Those that no owner needs.</param>
/// <param name="Removed">Those that were removed.</param>
/// <param name="Young">Those that were kept because they are younger than the grace period.</param>
/// <param name="InDoubt">Those that were kept because an owner or the store did not answer.</param>
internal sealed record SweepResponse(
    BlobCountResponse Listed, BlobCountResponse Unneeded, BlobCountResponse Removed, BlobCountResponse Young,
    BlobCountResponse InDoubt)
{
    public static SweepResponse Of(BlobSweep sweep) => new(
        BlobCountResponse.Of(sweep.Listed), BlobCountResponse.Of(sweep.Unneeded), BlobCountResponse.Of(sweep.Removed),
        BlobCountResponse.Of(sweep.Young), BlobCountResponse.Of(sweep.InDoubt));
}
