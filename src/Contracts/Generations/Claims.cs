using Atelier.Contracts.Queueing;

namespace Atelier.Contracts.Generations;

/// <summary>A worker's claim of a generation's work.</summary>
/// <param name="Worker">The worker's key: silo and device.</param>
/// <param name="Lease">The lease under which the worker claims; later leases have higher numbers.</param>
/// <param name="Kind">The kind of work.</param>
/// <param name="DeviceKind">The worker's device kind.</param>
/// <param name="Alone">Whether the work was leased to run alone: until it ends, the worker holds no other work.</param>
/// <param name="Attempt">
/// A number that is the same for all retries of the claim and that no other claim of any process uses. It makes the
/// claim idempotent.
/// </param>
[GenerateSerializer, Immutable, Alias("atelier.ClaimRequest")]
public sealed record ClaimRequest(
    [property: Id(0)] string Worker, [property: Id(1)] long Lease, [property: Id(2)] WorkKind Kind,
    [property: Id(3)] string DeviceKind, [property: Id(4)] bool Alone, [property: Id(5)] long Attempt);

/// <summary>The outcome of a claim.</summary>
[GenerateSerializer, Alias("atelier.ClaimOutcome")]
public enum ClaimOutcome
{
    /// <summary>The worker owns the work, under a new epoch.</summary>
    Granted,

    /// <summary>The work does not exist, or no longer exists. The worker drops the lease.</summary>
    Nothing,

    /// <summary>
    /// The work must run alone or needs another device kind. The worker returns the lease with the item in the answer.
    /// </summary>
    Denied,
}

/// <summary>Answer to a claim: everything that the work needs.</summary>
[GenerateSerializer, Immutable, Alias("atelier.ClaimAnswer")]
public sealed record ClaimAnswer
{
    /// <summary>Whether the claim was granted.</summary>
    [Id(0)]
    public required ClaimOutcome Outcome { get; init; }

    /// <summary>The fencing token, which every report of the worker carries.</summary>
    [Id(1)]
    public long Epoch { get; init; }

    /// <summary>Specification of the picture; null unless the claim was granted.</summary>
    [Id(2)]
    public GenerationSpec? Spec { get; init; }

    /// <summary>Steps after which a preview is due, ascending.</summary>
    [Id(3)]
    public int[] PreviewSteps { get; init; } = [];

    /// <summary>Caption features, for denoising.</summary>
    [Id(4)]
    public BlobName? Caption { get; init; }

    /// <summary>Snapshot to resume from; null if there is none.</summary>
    [Id(5)]
    public BlobName? Snapshot { get; init; }

    /// <summary>Steps done in that snapshot.</summary>
    [Id(6)]
    public int Step { get; init; }

    /// <summary>The clean latent, for decoding.</summary>
    [Id(7)]
    public BlobName? Latent { get; init; }

    /// <summary>The work item to return to the queue, if the claim was denied.</summary>
    [Id(8)]
    public WorkItem? Item { get; init; }

    /// <summary>
    /// The W3C traceparent of the submission within its request's trace; null if the request is not traced.
    /// </summary>
    [Id(9)]
    public string? TraceParent { get; init; }
}

/// <summary>A worker's report of finished steps, with any snapshot and previews.</summary>
[GenerateSerializer, Immutable, Alias("atelier.StepReport")]
public sealed record StepReport
{
    /// <summary>The claim's epoch.</summary>
    [Id(0)]
    public required long Epoch { get; init; }

    /// <summary>Steps done.</summary>
    [Id(1)]
    public required int Step { get; init; }

    /// <summary>The stored state of the sampler after that step; null if no state was stored.</summary>
    [Id(2)]
    public BlobName? Snapshot { get; init; }

    /// <summary>
    /// Stored previews since the last report, by step. A report with previews also carries a snapshot.
    /// </summary>
    [Id(3)]
    public Dictionary<int, BlobName> Previews { get; init; } = new Dictionary<int, BlobName>();

    /// <summary>
    /// Blobs that the worker may have stored and has not yet reported, or whose report was not answered.
    /// </summary>
    [Id(4)]
    public BlobName[] Untold { get; init; } = [];
}

/// <summary>The outcome of a report.</summary>
[GenerateSerializer, Alias("atelier.ReportOutcome")]
public enum ReportOutcome
{
    /// <summary>The report was recorded.</summary>
    Taken,

    /// <summary>The worker does not own the work, or no longer owns it, and must drop it.</summary>
    Refused,
}
