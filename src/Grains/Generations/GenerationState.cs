// What is stored of a generation. It is written before anything that depends on it is said to anyone.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;

namespace Atelier.Grains.Generations;

/// <summary>Why there is no generation under an id.</summary>
[GenerateSerializer, Alias("atelier.state.GenerationClosure")]
public enum GenerationClosure
{
    /// <summary>There may be one.</summary>
    None,

    /// <summary>It was asked for after the time that a submission takes; one that comes late is refused.</summary>
    NeverCame,

    /// <summary>It was deleted.</summary>
    Deleted,
}

/// <summary>A claim that has not ended in good order, so far.</summary>
[GenerateSerializer, Immutable, Alias("atelier.state.GenerationClaim")]
public sealed record GenerationClaim
{
    /// <summary>Who claimed.</summary>
    [Id(0)]
    public required string Worker { get; init; }

    /// <summary>The worker's number for it.</summary>
    [Id(1)]
    public required long Attempt { get; init; }

    /// <summary>The worker's device kind.</summary>
    [Id(2)]
    public required string DeviceKind { get; init; }

    /// <summary>Whether it held nothing else.</summary>
    [Id(3)]
    public required bool Alone { get; init; }

    /// <summary>Steps of the newest snapshot at the claim.</summary>
    [Id(4)]
    public required int FromStep { get; init; }

    /// <summary>When it was made.</summary>
    [Id(5)]
    public required DateTimeOffset At { get; init; }
}

/// <summary>What a generation's work is predicted to cost, in floating-point operations.</summary>
/// <param name="Encode">Its captions.</param>
/// <param name="Step">One step with its share of the previews.</param>
/// <param name="Decode">Its picture.</param>
[GenerateSerializer, Immutable, Alias("atelier.state.GenerationCost")]
public readonly record struct GenerationCost(
    [property: Id(0)] double Encode, [property: Id(1)] double Step, [property: Id(2)] double Decode)
{
    /// <summary>The cost of a submission to a model.</summary>
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
/// A generation as it is stored. Below 64 KiB: of unbounded length is the prompt alone, and that is bounded.
/// </summary>
[GenerateSerializer, Immutable, Alias("atelier.state.Generation")]
public sealed record GenerationState
{
    /// <summary>Why there is none, if there is none.</summary>
    [Id(0)]
    public GenerationClosure Closure { get; init; }

    /// <summary>What was asked for.</summary>
    [Id(1)]
    public Submission? Submission { get; init; }

    /// <summary>The tenant's weight when it was accepted.</summary>
    [Id(2)]
    public double Weight { get; init; } = 1;

    /// <summary>What it costs.</summary>
    [Id(3)]
    public GenerationCost Cost { get; init; }

    /// <summary>Where it stands.</summary>
    [Id(4)]
    public GenerationPhase Phase { get; init; }

    /// <summary>The furthest phase that it was in while open: parking leads back, events do not.</summary>
    [Id(5)]
    public GenerationPhase Reached { get; init; }

    /// <summary>Steps known to be done; may be more than the snapshot's.</summary>
    [Id(6)]
    public int Step { get; init; }

    /// <summary>The fence: number of the last claim.</summary>
    [Id(7)]
    public long Epoch { get; init; }

    /// <summary>The claim under which it is worked on.</summary>
    [Id(8)]
    public GenerationClaim? Claim { get; init; }

    /// <summary>Claims in a row that ended without a newer snapshot.</summary>
    [Id(9)]
    public int BarrenClaims { get; init; }

    /// <summary>Of those, the ones in which it ran alone.</summary>
    [Id(10)]
    public int DeathsAlone { get; init; }

    /// <summary>Failures in a row that workers reported.</summary>
    [Id(11)]
    public int Failures { get; init; }

    /// <summary>Caption features.</summary>
    [Id(12)]
    public BlobName? Caption { get; init; }

    /// <summary>Newest state of the sampler.</summary>
    [Id(13)]
    public BlobName? Snapshot { get; init; }

    /// <summary>Steps done in it.</summary>
    [Id(14)]
    public int SnapshotStep { get; init; }

    /// <summary>The device kind that made it.</summary>
    [Id(15)]
    public string? DeviceKind { get; init; }

    /// <summary>Since when it waits for a worker.</summary>
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

    /// <summary>The same in a sentence.</summary>
    [Id(21)]
    public string? Message { get; init; }

    /// <summary>When it was accepted.</summary>
    [Id(22)]
    public DateTimeOffset AcceptedAt { get; init; }

    /// <summary>When it ended.</summary>
    [Id(23)]
    public DateTimeOffset? EndedAt { get; init; }

    /// <summary>How often it started again at step 0 on another device kind.</summary>
    [Id(24)]
    public int Restarts { get; init; }

    /// <summary>The lease of the last claim; claims on older ones come late.</summary>
    [Id(25)]
    public long LastLease { get; init; }

    /// <summary>Blobs that nobody needs any more and that the blob store may still hold.</summary>
    [Id(26)]
    public BlobName[] ToRelease { get; init; } = [];

    /// <summary>
    /// Blobs of earlier claims that the claim under way may store again, byte for byte: they wait for its end.
    /// </summary>
    [Id(27)]
    public BlobName[] Late { get; init; } = [];

    /// <summary>The hour of its partition's retention clock in which it was accepted.</summary>
    [Id(28)]
    public long AcceptedHour { get; init; }

    /// <summary>Its place in its session's history.</summary>
    [Id(29)]
    public int? SessionIndex { get; init; }

    /// <summary>How much of its prompts was encoded, where the worker said so.</summary>
    [Id(30)]
    public EncodedPrompts? Encoded { get; init; }

    /// <summary>Its partition of the open set; none in a state of format 0, where its id says it.</summary>
    [Id(31)]
    public int? Partition { get; init; }

    /// <summary>
    /// Evaluations that were computed for it, once it has ended: the step at hand counts, steps done again do not.
    /// </summary>
    [Id(32)]
    public int Computed { get; init; }

    /// <summary>The day to which its tenant was charged, in days since 1970 (UTC).</summary>
    [Id(33)]
    public long ChargedDay { get; init; }

    /// <summary>Number of the change that gave the weight.</summary>
    [Id(34)]
    public long WeightVersion { get; init; }

    /// <summary>Whether it was accepted and has not ended.</summary>
    public bool IsOpen => Submission is not null && !Phase.IsEnded();

    /// <summary>Whether a worker may be at work for it: its blobs are then not this grain's alone.</summary>
    public bool IsClaimed => IsOpen && Claim is not null;

    /// <summary>The blobs that it needs as it stands.</summary>
    public IEnumerable<BlobName> Needed() =>
        new[] { Caption, Snapshot, Latent, Picture }.OfType<BlobName>().Concat(Previews.Values);

    /// <summary>
    /// Whether it may need a blob. While it is open it may need any: a worker stores bytes before it reports them.
    /// </summary>
    public bool MayNeed(BlobName blob) => IsOpen || Needed().Concat(ToRelease).Concat(Late).Contains(blob);

    /// <summary>Whether it must run alone.</summary>
    public bool IsQuarantined(GenerationOptions options) => BarrenClaims >= options.QuarantineAfter;
}
