// A piece of work in a worker's hands.
using Atelier.Contracts;
using Atelier.Grains.Ports;

namespace Atelier.Grains.Workers;

/// <summary>Work that was claimed.</summary>
internal sealed class WorkerJob(LeasedWork lease, ModelDigest model, ClaimAnswer claim)
{
    /// <summary>Number of the lease.</summary>
    public long Lease { get; } = lease.Lease;

    /// <summary>The work as it was leased.</summary>
    public WorkItem Item { get; } = lease.Item;

    /// <summary>The model.</summary>
    public ModelDigest Model { get; } = model;

    /// <summary>What the generation gave.</summary>
    public ClaimAnswer Claim { get; } = claim;

    /// <summary>Which generation it is.</summary>
    public GenerationKey Key => Item.Generation;

    /// <summary>The picture on the device, while it is denoised.</summary>
    public IDenoising? Picture { get; set; }

    /// <summary>Steps of the newest stored state.</summary>
    public int StoredStep { get; set; } = claim.Step;

    /// <summary>Steps that the generation was told of.</summary>
    public int ToldStep { get; set; } = claim.Step;

    /// <summary>When the newest state was stored.</summary>
    public DateTimeOffset? StoredAt { get; set; }

    /// <summary>Stored previews that the generation was not told of.</summary>
    public Dictionary<int, BlobName> Previews { get; } = [];

    /// <summary>The stored outcome of the phase.</summary>
    public BlobName? Output { get; set; }

    /// <summary>Steps done.</summary>
    public int Step => Picture?.Step ?? Claim.Step;

    /// <summary>Quanta done under the lease.</summary>
    public int Done => Item.Kind == WorkKind.Denoise ? Math.Min(Item.Quanta, Step - Claim.Step) : Output is null ? 0 : 1;

    /// <summary>The work as it stands in the queue when it goes back.</summary>
    public WorkItem Rest()
    {
        int left = Math.Max(1, Item.Quanta - Done);
        return Item with { Quanta = left, Cost = Item.Cost / Item.Quanta * left, LastLease = Lease };
    }
}
