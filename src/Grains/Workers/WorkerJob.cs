// A piece of work in a worker's hands.
using Atelier.Contracts;
using Atelier.Grains.Ports;

namespace Atelier.Grains.Workers;

/// <summary>Work that was leased. Its errand and the worker's loop are the only ones that touch it, never both at a time.</summary>
internal sealed class WorkerJob(LeasedWork lease, ModelDigest model)
{
    private ClaimAnswer? _claim;

    /// <summary>Number of the lease.</summary>
    public long Lease { get; } = lease.Lease;

    /// <summary>The work as it was leased.</summary>
    public WorkItem Item { get; } = lease.Item;

    /// <summary>The model.</summary>
    public ModelDigest Model { get; } = model;

    /// <summary>Whether the generation has granted it.</summary>
    public bool IsClaimed => _claim is not null;

    /// <summary>What the generation gave.</summary>
    /// <exception cref="InvalidOperationException">It was not claimed yet.</exception>
    public ClaimAnswer Claim
    {
        get => _claim ?? throw new InvalidOperationException($"{Key} was not claimed.");
        set
        {
            _claim = value;
            StoredStep = ToldStep = SentStep = value.Step;
        }
    }

    /// <summary>What is said and stored for it while the device works for others; none if there is nothing to wait for.</summary>
    public Task? Errand { get; set; }

    /// <summary>Whether the worker held nothing else when it was leased.</summary>
    public bool IsAloneHere { get; init; }

    /// <summary>Whether its picture is among those that share evaluations.</summary>
    public bool IsJoined { get; set; }

    /// <summary>Whether nothing is left to do for it here.</summary>
    public bool IsOver { get; set; }

    /// <summary>When an errand that had no answer is run again.</summary>
    public DateTimeOffset RetryAt { get; set; }

    /// <summary>The finished latent, once nothing is left to evaluate.</summary>
    public byte[]? Latent { get; set; }

    /// <summary>Which generation it is.</summary>
    public GenerationKey Key => Item.Generation;

    /// <summary>The picture on the device, while it is denoised.</summary>
    public IDenoising? Picture { get; set; }

    /// <summary>Steps of the newest stored state.</summary>
    public int StoredStep { get; set; }

    /// <summary>Steps that the generation was told of.</summary>
    public int ToldStep { get; set; }

    /// <summary>Steps that it was told of or is being told of.</summary>
    public int SentStep { get; set; }

    /// <summary>When the newest state was stored.</summary>
    public DateTimeOffset? StoredAt { get; set; }

    /// <summary>Previews by step that the generation was not told of.</summary>
    public Dictionary<int, byte[]> Previews { get; } = [];

    /// <summary>The stored outcome of the phase.</summary>
    public BlobName? Output { get; set; }

    /// <summary>Steps done.</summary>
    public int Step => Picture?.Step ?? _claim?.Step ?? 0;

    /// <summary>Quanta done under the lease.</summary>
    public int Done => Item.Kind == WorkKind.Denoise ? _claim is null ? 0 : Math.Min(Item.Quanta, Step - _claim.Step) : Output is null ? 0 : 1;

    /// <summary>The work as it stands in the queue when it goes back.</summary>
    public WorkItem Rest()
    {
        int left = Math.Max(1, Item.Quanta - Done);
        return Item with { Quanta = left, Cost = Item.Cost / Item.Quanta * left, LastLease = Lease };
    }
}
