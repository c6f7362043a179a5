// A work item that is leased to a worker, with its progress.
using System.Diagnostics;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Ports;
using Atelier.Grains.Telemetry;

namespace Atelier.Grains.Workers;

/// <summary>
/// A leased work item. Accessed only by the worker's loop and by the job's pending call; during a pending call the loop
/// only evaluates the job's picture.
/// </summary>
internal sealed class WorkerJob(LeasedWork lease, long attempt)
{
    // Maximum number of encodings and decodings that a worker holds besides the pictures that it denoises.
    private const int SingleMax = 2;

    private ClaimAnswer? _claim;
    private volatile bool _isPreviewing;

    /// <summary>Number of the lease.</summary>
    public long Lease { get; } = lease.Lease;

    /// <summary>The leased work item; it leaves quarantine once a new snapshot is stored.</summary>
    public WorkItem Item { get; private set; } = lease.Item;

    /// <summary>Number of the job's claim, the same for all retries.</summary>
    public long Attempt { get; } = attempt;

    /// <summary>Whether the claim was sent and has not been answered.</summary>
    public bool IsClaiming { get; set; }

    /// <summary>Whether the generation has granted the claim.</summary>
    public bool IsClaimed => _claim is not null;

    /// <summary>The generation's answer to the claim.</summary>
    /// <exception cref="InvalidOperationException">The claim was not granted yet.</exception>
    public ClaimAnswer Claim
    {
        get => _claim ?? throw new InvalidOperationException($"{Key} was not claimed.");
        set
        {
            StoredStep = ReportedStep = SentStep = value.Step;
            _claim = value;
        }
    }

    /// <summary>Predicted operations of one evaluation; a step takes up to two.</summary>
    public double EvaluationCost =>
        Item.Cost / Item.Quanta * Claim.Spec!.Steps / Claim.Spec!.Evaluations;

    /// <summary>The pending call; null if there is none.</summary>
    public Task? Call { get; set; }

    /// <summary>Time at which the next call may begin after an unanswered one.</summary>
    public DateTimeOffset RetryAt { get; set; }

    /// <summary>Whether the worker held nothing else at the time of the lease.</summary>
    public bool IsAloneHere { get; init; }

    /// <summary>Whether the job's picture is or was in the batcher.</summary>
    public bool IsJoined { get; set; }

    /// <summary>Whether the job will be returned at the end of its current step.</summary>
    public bool IsLeaving { get; set; }

    /// <summary>Whether the queue is notified when the job is returned.</summary>
    public bool NotifiesQueue { get; set; }

    /// <summary>Whether the generation denied this worker's claim for now.</summary>
    public bool IsDenied { get; set; }

    /// <summary>The device's failure; null if there was none.</summary>
    public DeviceException? Fault { get; set; }

    /// <summary>Whether this worker has nothing left to do for the job.</summary>
    public bool IsOver { get; private set; }

    /// <summary>
    /// The release to send to the queue; null if the queue already knows, or if the lease must expire.
    /// </summary>
    public LeaseRelease? Release { get; private set; }

    /// <summary>The finished latent, once nothing is left to evaluate.</summary>
    public byte[]? Latent { get; set; }

    /// <summary>Key of the generation.</summary>
    public GenerationKey Key => Item.Generation;

    /// <summary>The picture on the device, while it is denoised.</summary>
    public IDenoising? Picture { get; set; }

    /// <summary>Whether a preview of the picture is being made, during which it must not advance.</summary>
    public bool IsPreviewing
    {
        get => _isPreviewing;
        set => _isPreviewing = value;
    }

    /// <summary>Steps of the newest stored snapshot.</summary>
    public int StoredStep { get; set; }

    /// <summary>
    /// Ends the quarantine after a new snapshot was stored. Returns false if the work was not in quarantine.
    /// </summary>
    public bool EndQuarantine()
    {
        bool ends = Item.Alone;
        Item = ends ? Item with { Alone = false } : Item;
        return ends;
    }

    /// <summary>Steps that were reported to the generation.</summary>
    public int ReportedStep { get; set; }

    /// <summary>Steps that were reported or are being reported.</summary>
    public int SentStep { get; set; }

    /// <summary>When the newest snapshot was stored.</summary>
    public DateTimeOffset? StoredAt { get; set; }

    /// <summary>Previews that have not been reported to the generation, by step.</summary>
    public Dictionary<int, byte[]> Previews { get; } = [];

    /// <summary>Blobs that may have been stored for the job and have not been reported to the generation.</summary>
    public HashSet<BlobName> Untold { get; } = [];

    /// <summary>How much of the prompts was encoded; null before encoding, or if the device does not know.</summary>
    public EncodedPrompts? Encoded { get; set; }

    /// <summary>The stored output of the phase; null until it is stored.</summary>
    public BlobName? Output { get; set; }

    /// <summary>Steps done.</summary>
    public int Step => Picture?.Step ?? _claim?.Step ?? 0;

    /// <summary>Whether the job's picture is at the end of a step that was not reported.</summary>
    public bool HasUnreportedStep => Picture is { IsBetweenSteps: true } && Step > SentStep;

    /// <summary>Whether the job's picture can take part in the next evaluation.</summary>
    public bool CanContinue =>
        Picture is { } picture && IsJoined && !IsOver && !IsPreviewing && !HasUnreportedStep && Fault is null
        && !(IsLeaving && picture.IsBetweenSteps);

    /// <summary>
    /// Quanta done, derived from the steps left, because the leased item may be older than the claim's snapshot.
    /// </summary>
    public int Done => Item.Kind == WorkKind.Denoise ? Math.Clamp(Item.Quanta - Left, 0, Item.Quanta)
        : Output is null ? 0 : 1;

    private int Left => _claim?.Spec is { } spec ? spec.Steps - Step : Item.Quanta;

    /// <summary>The remaining work, which is returned to the queue.</summary>
    public WorkItem Remaining()
    {
        int left = Item.Kind == WorkKind.Denoise ? Math.Max(1, Left) : Item.Quanta;
        return Item with { Quanta = left, Cost = Item.Cost / Item.Quanta * left, LastLease = Lease };
    }

    /// <summary>Number of work items that a device with this many slots can take in addition to its jobs.</summary>
    public static int FreeBeside(WorkerJob[] jobs, int slots)
    {
        int singles = jobs.Count(job => job.Item.Kind != WorkKind.Denoise);
        int ended = jobs.Count(job => job.Latent is not null);
        int pictures = jobs.Length - singles - ended;

        // Finished pictures that wait to be stored free their slots for others, up to a bound.
        int beside = (singles < SingleMax ? 0 : singles) + Math.Max(0, ended - slots);
        return jobs.Any(job => job.Item.Alone)
            ? 0
            : Math.Clamp(slots - pictures - beside, 0, Math.Max(0, WorkerTurn.HeldMax - jobs.Length));
    }

    /// <summary>The activity of the work under this lease; null if its trace is not known.</summary>
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

    /// <summary>Ends the job on this worker.</summary>
    /// <param name="release">The release to send to the queue; null if the queue already knows.</param>
    public void End(LeaseRelease? release) => (Release, IsOver) = (release, true);
}
