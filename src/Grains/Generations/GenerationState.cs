// The stored state of a generation. It is written before any answer or event that depends on it.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;

namespace Atelier.Grains.Generations;

/// <summary>Why there is no generation under an id.</summary>
[GenerateSerializer, Alias("atelier.state.GenerationClosure")]
public enum GenerationClosure
{
    /// <summary>There is one, or there may be one in the future.</summary>
    None,

    /// <summary>No submission came before the timeout; a late one is refused.</summary>
    NeverSubmitted,

    /// <summary>It was deleted.</summary>
    Deleted,
}

/// <summary>A claim that is in force, or ended without a release.</summary>
[GenerateSerializer, Immutable, Alias("atelier.state.GenerationClaim")]
public sealed record GenerationClaim
{
    /// <summary>Name of the worker.</summary>
    [Id(0)]
    public required string Worker { get; init; }

    /// <summary>The worker's own number of the claim, by which a retry is recognized.</summary>
    [Id(1)]
    public required long Attempt { get; init; }

    /// <summary>The worker's device kind.</summary>
    [Id(2)]
    public required string DeviceKind { get; init; }

    /// <summary>Whether the worker held nothing else.</summary>
    [Id(3)]
    public required bool Alone { get; init; }

    /// <summary>Steps of the newest snapshot at the claim.</summary>
    [Id(4)]
    public required int FromStep { get; init; }

    /// <summary>Time of the claim.</summary>
    [Id(5)]
    public required DateTimeOffset At { get; init; }
}

/// <summary>Predicted cost of a generation's work, in floating-point operations.</summary>
/// <param name="Encode">Encoding of the captions.</param>
/// <param name="Step">One step with its share of the previews.</param>
/// <param name="Decode">Decoding of the picture.</param>
[GenerateSerializer, Immutable, Alias("atelier.state.GenerationCost")]
public readonly record struct GenerationCost(
    [property: Id(0)] double Encode, [property: Id(1)] double Step, [property: Id(2)] double Decode)
{
    /// <summary>The predicted cost of a submission to a model.</summary>
    public static GenerationCost Of(ModelCard card, Submission submission)
    {
        GenerationSpec spec = submission.Spec;
        PictureSize native = card.Sizes[0];
        double size = (double)spec.Width * spec.Height / ((double)native.Width * native.Height);
        double rows = spec.Guidance == 1 ? 1 : 2;
        double previews = submission.Previews * card.DecodeCost * size / spec.Steps;
        return new GenerationCost(
            card.EncodeCost * (spec.Negative.Length == 0 ? 1 : 2),
            (card.EvaluationCost * size * rows * spec.Evaluations / spec.Steps) + previews, card.DecodeCost * size);
    }
}

/// <summary>
/// The stored state of a generation, below 64 KiB: only the prompts are long, and their length is bounded.
/// </summary>
[GenerateSerializer, Immutable, Alias("atelier.state.Generation")]
public sealed record GenerationState
{
    /// <summary>Why there is no generation, if there is none.</summary>
    [Id(0)]
    public GenerationClosure Closure { get; init; }

    /// <summary>The submission; null before it and after a deletion.</summary>
    [Id(1)]
    public Submission? Submission { get; init; }

    /// <summary>The tenant's weight when it was accepted.</summary>
    [Id(2)]
    public double Weight { get; init; } = 1;

    /// <summary>Predicted cost.</summary>
    [Id(3)]
    public GenerationCost Cost { get; init; }

    /// <summary>The current phase.</summary>
    [Id(4)]
    public GenerationPhase Phase { get; init; }

    /// <summary>The furthest phase while open: parking goes back to an earlier phase, events do not.</summary>
    [Id(5)]
    public GenerationPhase Reached { get; init; }

    /// <summary>Steps known to be done; may be ahead of the snapshot.</summary>
    [Id(6)]
    public int Step { get; init; }

    /// <summary>Fencing token: number of the last claim.</summary>
    [Id(7)]
    public long Epoch { get; init; }

    /// <summary>The current claim; null while no worker has one.</summary>
    [Id(8)]
    public GenerationClaim? Claim { get; init; }

    /// <summary>Consecutive claims that ended without a newer snapshot.</summary>
    [Id(9)]
    public int ClaimsWithoutProgress { get; init; }

    /// <summary>Those of them in which it ran alone.</summary>
    [Id(10)]
    public int DeathsAlone { get; init; }

    /// <summary>Consecutive failures that workers reported.</summary>
    [Id(11)]
    public int Failures { get; init; }

    /// <summary>Caption features.</summary>
    [Id(12)]
    public BlobName? Caption { get; init; }

    /// <summary>Newest snapshot of the sampler's state.</summary>
    [Id(13)]
    public BlobName? Snapshot { get; init; }

    /// <summary>Steps done in the snapshot.</summary>
    [Id(14)]
    public int SnapshotStep { get; init; }

    /// <summary>Kind of the device that computed the snapshot.</summary>
    [Id(15)]
    public string? DeviceKind { get; init; }

    /// <summary>Time since which it waits for a worker.</summary>
    [Id(16)]
    public DateTimeOffset WaitingSince { get; init; }

    /// <summary>Previews, by step.</summary>
    [Id(17)]
    public Dictionary<int, BlobName> Previews { get; init; } = new Dictionary<int, BlobName>();

    /// <summary>The clean latent.</summary>
    [Id(18)]
    public BlobName? Latent { get; init; }

    /// <summary>The picture.</summary>
    [Id(19)]
    public BlobName? Picture { get; init; }

    /// <summary>Why it failed.</summary>
    [Id(20)]
    public GenerationError Error { get; init; }

    /// <summary>Why it failed or was cancelled, in a sentence.</summary>
    [Id(21)]
    public string? Message { get; init; }

    /// <summary>When it was accepted.</summary>
    [Id(22)]
    public DateTimeOffset AcceptedAt { get; init; }

    /// <summary>When it ended.</summary>
    [Id(23)]
    public DateTimeOffset? EndedAt { get; init; }

    /// <summary>Restarts at step 0 on another device kind.</summary>
    [Id(24)]
    public int Restarts { get; init; }

    /// <summary>The lease of the last claim; claims on older leases are stale.</summary>
    [Id(25)]
    public long LastLease { get; init; }

    /// <summary>Blobs that are no longer needed and that the blob store may still hold.</summary>
    [Id(26)]
    public BlobName[] ToRelease { get; init; } = [];

    /// <summary>
    /// Blobs of earlier claims that the current claim may store again, byte for byte. They are released after its end.
    /// </summary>
    [Id(27)]
    public BlobName[] Late { get; init; } = [];

    /// <summary>The hour of its partition's retention clock in which it was accepted.</summary>
    [Id(28)]
    public long AcceptedHour { get; init; }

    /// <summary>Its place in its session's history.</summary>
    [Id(29)]
    public int? SessionIndex { get; init; }

    /// <summary>How much of its prompts was encoded, if the worker reported it.</summary>
    [Id(30)]
    public EncodedPrompts? Encoded { get; init; }

    /// <summary>Its partition of the open set; null in a state of format 0, where its id determines it.</summary>
    [Id(31)]
    public int? Partition { get; init; }

    /// <summary>
    /// Evaluations computed for it, once it has ended. A started step counts, repeated steps do not.
    /// </summary>
    [Id(32)]
    public int Computed { get; init; }

    /// <summary>The day on which its tenant was charged, in days since 1970 (UTC).</summary>
    [Id(33)]
    public long ChargedDay { get; init; }

    /// <summary>Version of the tenant's weight.</summary>
    [Id(34)]
    public long WeightVersion { get; init; }

    /// <summary>The submission's place in its request's trace (W3C traceparent); null if it is not traced.</summary>
    [Id(35)]
    public string? TraceParent { get; init; }

    /// <summary>Whether it was accepted and has not ended.</summary>
    public bool IsOpen => Submission is not null && !Phase.IsEnded();

    /// <summary>Whether a worker may be storing blobs for it.</summary>
    public bool IsClaimed => IsOpen && Claim is not null;

    /// <summary>The blobs that this state needs.</summary>
    public IEnumerable<BlobName> Needed() =>
        new[] { Caption, Snapshot, Latent, Picture }.OfType<BlobName>().Concat(Previews.Values);

    /// <summary>
    /// Whether it may need a blob. While it is open it may need any: a worker stores bytes before it reports them.
    /// </summary>
    public bool MayNeed(BlobName blob) => IsOpen || Needed().Concat(ToRelease).Concat(Late).Contains(blob);

    /// <summary>Whether it must run alone, because of claims without progress.</summary>
    public bool IsQuarantined(GenerationOptions options) => ClaimsWithoutProgress >= options.QuarantineAfter;
}
