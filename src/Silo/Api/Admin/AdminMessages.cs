using Atelier.Contracts.Tenants;
using Atelier.Grains.Blobs;

namespace Atelier.Silo.Api.Admin;

/// <summary>What a tenant may do. What is left out stays as it is, or is the standard for a new tenant.</summary>
internal sealed record PutTenantRequest
{
    /// <summary>Share of the devices against other tenants', 1 to 1000.</summary>
    public double? Weight { get; init; }

    /// <summary>Requests a minute.</summary>
    public int? RequestsPerMinute { get; init; }

    /// <summary>Generations open at a time.</summary>
    public int? OpenGenerations { get; init; }

    /// <summary>Evaluations of a network in a day (UTC).</summary>
    public long? EvaluationsPerDay { get; init; }

    /// <summary>Sessions at a time.</summary>
    public int? Sessions { get; init; }

    /// <summary>MiB of stored states: requests, open or ended and kept, and sessions.</summary>
    public int? StoredMegabytes { get; init; }
}

/// <summary>A request for a key.</summary>
internal sealed record CreateKeyRequest
{
    /// <summary>What the key is called, 1 to 100 characters.</summary>
    public required string Label { get; init; }
}

/// <summary>A tenant.</summary>
/// <param name="Id">Its name.</param>
/// <param name="Weight">Share of the devices against other tenants'.</param>
/// <param name="RequestsPerMinute">Requests a minute.</param>
/// <param name="OpenGenerations">Generations that it may have open.</param>
/// <param name="EvaluationsPerDay">Evaluations of a network that it may use in a day.</param>
/// <param name="Sessions">Sessions that it may have.</param>
/// <param name="StoredMegabytes">MiB of states that it may keep stored.</param>
/// <param name="Keys">Its keys, without what is secret of them.</param>
/// <param name="Open">Generations open now.</param>
/// <param name="EvaluationsToday">Evaluations used today.</param>
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

/// <summary>A key as it may be shown again.</summary>
/// <param name="Label">What it is called.</param>
/// <param name="Hash">Its SHA-256, by which it is revoked.</param>
/// <param name="CreatedAt">When it was made.</param>
internal sealed record KeyResponse(string Label, string Hash, DateTimeOffset CreatedAt);

/// <summary>A new key.</summary>
/// <param name="Key">The key itself, shown this once.</param>
/// <param name="Label">What it is called.</param>
/// <param name="Hash">Its SHA-256, by which it is revoked.</param>
internal sealed record NewKeyResponse(string Key, string Label, string Hash);

/// <summary>A part of the list of tenants, by name.</summary>
/// <param name="Items">The tenants.</param>
/// <param name="Next">The name after which the next part begins; null at the end.</param>
internal sealed record TenantListResponse(TenantResponse[] Items, string? Next);

/// <summary>The cluster.</summary>
/// <param name="Silos">Silos that are alive.</param>
/// <param name="Workers">Workers that answer.</param>
/// <param name="Queues">The models' queues.</param>
internal sealed record StatusResponse(SiloResponse[] Silos, WorkerResponse[] Workers, QueueResponse[] Queues);

/// <summary>A silo.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Address">Where its HTTP API listens.</param>
internal sealed record SiloResponse(string Name, string Address);

/// <summary>A worker.</summary>
/// <param name="Name">Silo and device.</param>
/// <param name="DeviceKind">Its device kind.</param>
/// <param name="Roles">What it does: encode, denoise, decode.</param>
/// <param name="Slots">Pictures that it can denoise together.</param>
/// <param name="Held">Work that it holds.</param>
/// <param name="Model">Digest of the model in memory, if any.</param>
/// <param name="Draining">Whether it takes no more work.</param>
internal sealed record WorkerResponse(
    string Name, string DeviceKind, string[] Roles, int Slots, int Held, string? Model, bool Draining);

/// <summary>A model's queue.</summary>
/// <param name="Model">The model's digest.</param>
/// <param name="Name">The model's name.</param>
/// <param name="Waiting">Pieces of work that wait.</param>
/// <param name="Leased">Pieces of work that workers hold.</param>
/// <param name="Tenants">Tenants with work.</param>
/// <param name="CostWaiting">Predicted operations of what waits.</param>
/// <param name="CostPerSecond">Operations granted a second, lately.</param>
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
