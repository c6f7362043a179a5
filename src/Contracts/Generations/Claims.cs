using Atelier.Contracts.Queueing;

namespace Atelier.Contracts.Generations;

/// <summary>A worker wants to do a generation's work.</summary>
/// <param name="Worker">The worker: silo and device.</param>
/// <param name="Lease">The lease on which it comes; leases that follow have higher numbers.</param>
/// <param name="Kind">The work.</param>
/// <param name="DeviceKind">The worker's device kind.</param>
/// <param name="Alone">Whether it was leased to run alone, and the worker holds nothing else until it ends.</param>
/// <param name="Attempt">
/// A number that the worker never used before, in this process or another: asking twice is asking once.
/// </param>
[GenerateSerializer, Immutable, Alias("atelier.ClaimRequest")]
public sealed record ClaimRequest(
    [property: Id(0)] string Worker, [property: Id(1)] long Lease, [property: Id(2)] WorkKind Kind,
    [property: Id(3)] string DeviceKind, [property: Id(4)] bool Alone, [property: Id(5)] long Attempt);

/// <summary>What became of a claim.</summary>
[GenerateSerializer, Alias("atelier.ClaimOutcome")]
public enum ClaimOutcome
{
    /// <summary>The work is the worker's, under a new epoch.</summary>
    Granted,

    /// <summary>There is no such work (any more): drop the lease.</summary>
    Nothing,

    /// <summary>
    /// The work must run alone, or needs another device kind: give the lease back with the item of the answer.
    /// </summary>
    NotYou,
}

/// <summary>Answer to a claim: all that the work needs.</summary>
[GenerateSerializer, Immutable, Alias("atelier.ClaimAnswer")]
public sealed record ClaimAnswer
{
    /// <summary>Whether the work is the worker's.</summary>
    [Id(0)]
    public required ClaimOutcome Outcome { get; init; }

    /// <summary>The fence: all that the worker reports carries it.</summary>
    [Id(1)]
    public long Epoch { get; init; }

    /// <summary>What to generate.</summary>
    [Id(2)]
    public GenerationSpec? Spec { get; init; }

    /// <summary>Steps at whose end a preview is due, ascending.</summary>
    [Id(3)]
    public int[] PreviewSteps { get; init; } = [];

    /// <summary>Caption features, for denoising.</summary>
    [Id(4)]
    public BlobName? Caption { get; init; }

    /// <summary>State to go on from, if there is one.</summary>
    [Id(5)]
    public BlobName? Snapshot { get; init; }

    /// <summary>Steps done in that state.</summary>
    [Id(6)]
    public int Step { get; init; }

    /// <summary>The clean latent, for decoding.</summary>
    [Id(7)]
    public BlobName? Latent { get; init; }

    /// <summary>The work as it should stand in the queue, if it is not this worker's.</summary>
    [Id(8)]
    public WorkItem? Item { get; init; }

    /// <summary>The submission's place in its request's trace (W3C traceparent); null if it is not traced.</summary>
    [Id(9)]
    public string? TraceParent { get; init; }
}

/// <summary>A worker reports steps, with a snapshot or a preview where there is one.</summary>
[GenerateSerializer, Immutable, Alias("atelier.StepReport")]
public sealed record StepReport
{
    /// <summary>The claim's epoch.</summary>
    [Id(0)]
    public required long Epoch { get; init; }

    /// <summary>Steps done.</summary>
    [Id(1)]
    public required int Step { get; init; }

    /// <summary>The sampler's state after that step, stored.</summary>
    [Id(2)]
    public BlobName? Snapshot { get; init; }

    /// <summary>Previews since the last report, by step, stored; a report with any carries a snapshot too.</summary>
    [Id(3)]
    public Dictionary<int, BlobName> Previews { get; init; } = new Dictionary<int, BlobName>();

    /// <summary>Bytes that the worker stored before and that no report told of: that report had no answer.</summary>
    [Id(4)]
    public BlobName[] Untold { get; init; } = [];
}

/// <summary>What became of a report.</summary>
[GenerateSerializer, Alias("atelier.ReportOutcome")]
public enum ReportOutcome
{
    /// <summary>Taken.</summary>
    Taken,

    /// <summary>The work is not the sender's (any more): drop it.</summary>
    Refused,
}
