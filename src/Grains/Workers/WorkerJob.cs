// A piece of work in a worker's hands.
using System.Diagnostics;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Ports;
using Atelier.Grains.Telemetry;

namespace Atelier.Grains.Workers;

/// <summary>
/// Work that was leased. Only its pending call and the worker's loop touch it: while it has a pending call, the loop
/// does no more than evaluate its picture.
/// </summary>
internal sealed class WorkerJob(LeasedWork lease, long attempt)
{
    // Captions and decodings that a worker holds besides the pictures that it denoises.
    private const int SingleMax = 2;

    private ClaimAnswer? _claim;
    private volatile bool _isShowing;

    /// <summary>Number of the lease.</summary>
    public long Lease { get; } = lease.Lease;

    /// <summary>The work as it was leased; no longer in quarantine once a new snapshot is stored.</summary>
    public WorkItem Item { get; private set; } = lease.Item;

    /// <summary>Number of its claim, however often that is sent.</summary>
    public long Attempt { get; } = attempt;

    /// <summary>Whether its claim was sent and not answered.</summary>
    public bool IsAsking { get; set; }

    /// <summary>Whether the generation has granted it.</summary>
    public bool IsClaimed => _claim is not null;

    /// <summary>What the generation gave.</summary>
    /// <exception cref="InvalidOperationException">It was not claimed yet.</exception>
    public ClaimAnswer Claim
    {
        get => _claim ?? throw new InvalidOperationException($"{Key} was not claimed.");
        set
        {
            StoredStep = ToldStep = SentStep = value.Step;
            _claim = value;
        }
    }

    /// <summary>The pending call: what is reported and stored for it; null if there is none.</summary>
    public Task? Call { get; set; }

    /// <summary>When the next call may begin, after one without an answer.</summary>
    public DateTimeOffset RetryAt { get; set; }

    /// <summary>Whether the worker held nothing else when it was leased.</summary>
    public bool IsAloneHere { get; init; }

    /// <summary>Whether its picture is among those that share evaluations, or was.</summary>
    public bool IsJoined { get; set; }

    /// <summary>Whether it goes back at its step's end.</summary>
    public bool IsLeaving { get; set; }

    /// <summary>Whether the queue is told when it has gone back.</summary>
    public bool TellsQueue { get; set; }

    /// <summary>Whether its generation said that it is not this worker's for now.</summary>
    public bool IsForOthers { get; set; }

    /// <summary>Why the device could not do it.</summary>
    public DeviceException? Fault { get; set; }

    /// <summary>Whether nothing is left to do for it here.</summary>
    public bool IsOver { get; private set; }

    /// <summary>How its lease ends; none if the queue knows, or if it ends by itself.</summary>
    public LeaseRelease? Release { get; private set; }

    /// <summary>The finished latent, once nothing is left to evaluate.</summary>
    public byte[]? Latent { get; set; }

    /// <summary>Which generation it is.</summary>
    public GenerationKey Key => Item.Generation;

    /// <summary>The picture on the device, while it is denoised.</summary>
    public IDenoising? Picture { get; set; }

    /// <summary>Whether a preview of it is being made: it must stay as it is.</summary>
    public bool IsShowing
    {
        get => _isShowing;
        set => _isShowing = value;
    }

    /// <summary>Steps of the newest stored state.</summary>
    public int StoredStep { get; set; }

    /// <summary>The generation has a new snapshot of it: its quarantine is over. False if it was in none.</summary>
    public bool EndQuarantine()
    {
        bool ends = Item.Alone;
        Item = ends ? Item with { Alone = false } : Item;
        return ends;
    }

    /// <summary>Steps that the generation was told of.</summary>
    public int ToldStep { get; set; }

    /// <summary>Steps that it was told of or is being told of.</summary>
    public int SentStep { get; set; }

    /// <summary>When the newest state was stored.</summary>
    public DateTimeOffset? StoredAt { get; set; }

    /// <summary>Previews by step that the generation was not told of.</summary>
    public Dictionary<int, byte[]> Previews { get; } = [];

    /// <summary>Bytes that were stored for it, perhaps, and that its generation was not told of.</summary>
    public HashSet<BlobName> Untold { get; } = [];

    /// <summary>How much of the prompts was encoded, once they are and if the device knows.</summary>
    public EncodedPrompts? Encoded { get; set; }

    /// <summary>The stored outcome of the phase.</summary>
    public BlobName? Output { get; set; }

    /// <summary>Steps done.</summary>
    public int Step => Picture?.Step ?? _claim?.Step ?? 0;

    /// <summary>Whether its picture stands at the end of a step that nobody was told of.</summary>
    public bool HasNews => Picture is { IsBetweenSteps: true } && Step > SentStep;

    /// <summary>Whether its picture can take part in the next evaluation.</summary>
    public bool CanGoOn =>
        Picture is { } picture && IsJoined && !IsOver && !IsShowing && !HasNews && Fault is null
        && !(IsLeaving && picture.IsBetweenSteps);

    /// <summary>
    /// Quanta done, by what is left: what was leased may know less of the generation's snapshot than its claim.
    /// </summary>
    public int Done => Item.Kind == WorkKind.Denoise ? Math.Clamp(Item.Quanta - Left, 0, Item.Quanta)
        : Output is null ? 0 : 1;

    private int Left => _claim?.Spec is { } spec ? spec.Steps - Step : Item.Quanta;

    /// <summary>The work as it stands in the queue when it goes back.</summary>
    public WorkItem Rest()
    {
        int left = Item.Kind == WorkKind.Denoise ? Math.Max(1, Left) : Item.Quanta;
        return Item with { Quanta = left, Cost = Item.Cost / Item.Quanta * left, LastLease = Lease };
    }

    /// <summary>Pieces of work that a device with so many slots can take beside those that it holds.</summary>
    public static int FreeBeside(WorkerJob[] jobs, int slots)
    {
        int singles = jobs.Count(job => job.Item.Kind != WorkKind.Denoise);
        int ended = jobs.Count(job => job.Latent is not null);
        int pictures = jobs.Length - singles - ended;

        // Pictures that have ended and wait to be stored leave their slots to others, up to a bound.
        int beside = (singles < SingleMax ? 0 : singles) + Math.Max(0, ended - slots);
        return jobs.Any(job => job.Item.Alone)
            ? 0
            : Math.Clamp(slots - pictures - beside, 0, Math.Max(0, WorkerTurn.HeldMax - jobs.Length));
    }

    /// <summary>The work under its lease, as part of its request's trace; null if it is not traced.</summary>
    public Activity? Activity { get; set; }

    /// <summary>Ends the activity, if there is one.</summary>
    public void EndActivity()
    {
        if (Activity is { } activity)
        {
            activity.SetTag("atelier.steps", Step - (_claim?.Step ?? 0));
            activity.SetTag("atelier.finished", Output is not null);
            if (Fault is { } fault)
            {
                activity.SetStatus(ActivityStatusCode.Error, Labels<GenerationError>.Of(fault.Error));
            }

            activity.Dispose();
        }
    }

    /// <summary>Nothing is left to do for it here.</summary>
    /// <param name="release">How its lease ends; none if the queue knows.</param>
    public void End(LeaseRelease? release) => (Release, IsOver) = (release, true);
}
