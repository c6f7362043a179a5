// The stored state of a generation. It is written before any answer or event that depends on it.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;

namespace Atelier.Grains.Generations;

/// <summary>Why there is no generation under an id.</summary>
[GenerateSerializer, Alias("atelier.state.GenerationClosure")]
public enum GenerationClosure
{
    /// <summary>There is a generation, or there may be one in the future.</summary>
    None,

    /// <summary>No submission came before the timeout; a late one is refused.</summary>
    NeverSubmitted,

    /// <summary>The generation was deleted.</summary>
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

    /// <summary>Whether the worker held no other work.</summary>
    [Id(3)]
    public required bool Alone { get; init; }

    /// <summary>Steps done in the newest snapshot at the time of the claim.</summary>
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

    /// <summary>The tenant's weight when the generation was accepted.</summary>
    [Id(2)]
    public double Weight { get; init; } = 1;

    /// <summary>Predicted cost.</summary>
    [Id(3)]
    public GenerationCost Cost { get; init; }

    /// <summary>The current phase.</summary>
    [Id(4)]
    public GenerationPhase Phase { get; init; }

    /// <summary>
    /// The furthest phase reached while open. Parking returns to an earlier phase; events never go back.
    /// </summary>
    [Id(5)]
    public GenerationPhase Reached { get; init; }

    /// <summary>Steps that are known to be done, which may be more than those in the snapshot.</summary>
    [Id(6)]
    public int Step { get; init; }

    /// <summary>Fencing token: number of the last claim.</summary>
    [Id(7)]
    public long Epoch { get; init; }

    /// <summary>The current claim; null while there is none.</summary>
    [Id(8)]
    public GenerationClaim? Claim { get; init; }

    /// <summary>Consecutive claims that ended without a newer snapshot.</summary>
    [Id(9)]
    public int ClaimsWithoutProgress { get; init; }

    /// <summary>Number of those claims in which the generation ran alone.</summary>
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

    /// <summary>Time since which the generation waits for a worker.</summary>
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

    /// <summary>Why the generation failed.</summary>
    [Id(20)]
    public GenerationError Error { get; init; }

    /// <summary>Why the generation failed or was cancelled, as a sentence.</summary>
    [Id(21)]
    public string? Message { get; init; }

    /// <summary>When the generation was accepted.</summary>
    [Id(22)]
    public DateTimeOffset AcceptedAt { get; init; }

    /// <summary>When the generation ended; null while it is open.</summary>
    [Id(23)]
    public DateTimeOffset? EndedAt { get; init; }

    /// <summary>Restarts at step 0 on another device kind.</summary>
    [Id(24)]
    public int Restarts { get; init; }

    /// <summary>The lease of the last claim; claims under older leases are stale.</summary>
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

    /// <summary>The hour of the partition's retention clock in which the generation was accepted.</summary>
    [Id(28)]
    public long AcceptedHour { get; init; }

    /// <summary>The generation's index in its session's history.</summary>
    [Id(29)]
    public int? SessionIndex { get; init; }

    /// <summary>How much of the prompts was encoded, if the worker reported it.</summary>
    [Id(30)]
    public EncodedPrompts? Encoded { get; init; }

    /// <summary>
    /// The generation's partition of the open set; null in a state of format 0, where the id determines the partition.
    /// </summary>
    [Id(31)]
    public int? Partition { get; init; }

    /// <summary>
    /// Evaluations that were computed for the generation, once it has ended. A started step counts; repeated steps do
    /// not.
    /// </summary>
    [Id(32)]
    public int Computed { get; init; }

    /// <summary>The day to which the generation's evaluations are charged, in days since 1970 (UTC).</summary>
    [Id(33)]
    public long ChargedDay { get; init; }

    /// <summary>Version of the tenant's weight.</summary>
    [Id(34)]
    public long WeightVersion { get; init; }

    /// <summary>
    /// The W3C traceparent of the submission within its request's trace; null if the request is not traced.
    /// </summary>
    [Id(35)]
    public string? TraceParent { get; init; }

    /// <summary>Whether the generation was accepted and has not ended.</summary>
    public bool IsOpen => Submission is not null && !Phase.IsEnded();

    /// <summary>Whether a worker may be storing blobs for the generation.</summary>
    public bool IsClaimed => IsOpen && Claim is not null;

    /// <summary>The blobs that this state needs.</summary>
    public IEnumerable<BlobName> Needed() =>
        new[] { Caption, Snapshot, Latent, Picture }.OfType<BlobName>().Concat(Previews.Values);

    /// <summary>
    /// Whether the generation may need a blob. While it is open, it may need any blob, because a worker stores bytes
    /// before it reports them.
    /// </summary>
    public bool MayNeed(BlobName blob) => IsOpen || Needed().Concat(ToRelease).Concat(Late).Contains(blob);

    /// <summary>Whether the generation must run alone, because of claims without progress.</summary>
    public bool IsQuarantined(GenerationOptions options) => ClaimsWithoutProgress >= options.QuarantineAfter;
}
