// A generation: from an accepted request to a picture or a recorded failure. Its grain alone advances the phase, and
// owns the fence: whoever claims its work gets a new epoch, and what carries an older one is refused.
namespace Atelier.Contracts;

/// <summary>The phase of a generation; <see cref="GenerationPhases"/> has their meaning and order.</summary>
[GenerateSerializer, Alias("atelier.GenerationPhase")]
public enum GenerationPhase
{
    /// <summary>Waits for a text encoder.</summary>
    QueuedEncode,

    /// <summary>Its words are being encoded.</summary>
    Encoding,

    /// <summary>Waits for a denoiser.</summary>
    QueuedDenoise,

    /// <summary>Its latent is being denoised.</summary>
    Denoising,

    /// <summary>Waits for a decoder.</summary>
    QueuedDecode,

    /// <summary>Its latent is being decoded.</summary>
    Decoding,

    /// <summary>The picture is there.</summary>
    Done,

    /// <summary>It ended without a picture, for a recorded reason.</summary>
    Failed,

    /// <summary>It was cancelled.</summary>
    Cancelled,
}

/// <summary>Why a generation failed.</summary>
[GenerateSerializer, Alias("atelier.GenerationError")]
public enum GenerationError
{
    /// <summary>It did not fail.</summary>
    None,

    /// <summary>Every worker that ran it alone died.</summary>
    WorkerLost,

    /// <summary>A device had too little memory for it, twice.</summary>
    OutOfMemory,

    /// <summary>A kernel threw, twice.</summary>
    KernelFailed,

    /// <summary>A worker refused what it was given: it does not fit the model.</summary>
    InvalidRequest,

    /// <summary>Bytes that it needs are gone from the blob store.</summary>
    BlobLost,

    /// <summary>A part of the model gave NaN or an infinity, twice: its weights or a device are at fault.</summary>
    NonFinite = 6,

    /// <summary>No worker holds its model any more, and another model has taken the name.</summary>
    ModelRetired = 7,
}

/// <summary>The number of an event: work that is done again gives the same numbers.</summary>
/// <param name="Phase">The phase it reports; all ends share one number.</param>
/// <param name="Step">The step within denoising; otherwise 0.</param>
[GenerateSerializer, Immutable, Alias("atelier.EventNumber")]
public readonly record struct EventNumber([property: Id(0)] int Phase, [property: Id(1)] int Step) : IComparable<EventNumber>
{
    /// <summary>Before the first event.</summary>
    public static EventNumber Before => new(-1, 0);

    /// <summary>The number of the event of a phase entered, or of a step done in it.</summary>
    public static EventNumber Of(GenerationPhase phase, int step = 0) => new((int)phase, step);

    /// <summary>Reads what <see cref="ToString"/> wrote: a Last-Event-ID.</summary>
    public static bool TryParse(string? text, out EventNumber number)
    {
        number = Before;
        if (text?.Split('.') is not [var phaseText, var stepText] || !TryDigits(phaseText, 9, out int phase)
            || !TryDigits(stepText, GenerationSpec.StepsMax, out int step))
        {
            return false;
        }

        number = new EventNumber(phase, step);
        return true;
    }

    /// <inheritdoc/>
    public int CompareTo(EventNumber other) =>
        Phase != other.Phase
            ? GenerationPhases.OrderOf(Phase).CompareTo(GenerationPhases.OrderOf(other.Phase))
            : Step.CompareTo(other.Step);

    /// <summary>Whether one comes before another.</summary>
    public static bool operator <(EventNumber left, EventNumber right) => left.CompareTo(right) < 0;

    /// <summary>Whether one comes after another.</summary>
    public static bool operator >(EventNumber left, EventNumber right) => left.CompareTo(right) > 0;

    /// <summary>Whether one does not come after another.</summary>
    public static bool operator <=(EventNumber left, EventNumber right) => left.CompareTo(right) <= 0;

    /// <summary>Whether one does not come before another.</summary>
    public static bool operator >=(EventNumber left, EventNumber right) => left.CompareTo(right) >= 0;

    /// <summary>Phase and step with a dot between.</summary>
    public override string ToString() => $"{Phase}.{Step}";

    private static bool TryDigits(string text, int max, out int value)
    {
        value = 0;
        return text.Length is > 0 and <= 4 && text.All(char.IsAsciiDigit)
            && (value = int.Parse(text, System.Globalization.CultureInfo.InvariantCulture)) <= max;
    }
}

/// <summary>
/// Something that happened to a generation. Contents depend on its specification and the number alone.
/// </summary>
[GenerateSerializer, Immutable, Alias("atelier.GenerationEvent")]
public sealed record GenerationEvent
{
    /// <summary>The message of a generation that was cancelled because its last watcher left.</summary>
    public const string Abandoned = "It was cancelled because every client that waited for it had gone.";

    /// <summary>Its number.</summary>
    [Id(0)]
    public required EventNumber Number { get; init; }

    /// <summary>The phase entered, or in which a step was done.</summary>
    [Id(1)]
    public required GenerationPhase Phase { get; init; }

    /// <summary>Steps done.</summary>
    [Id(2)]
    public int Step { get; init; }

    /// <summary>Steps in all.</summary>
    [Id(3)]
    public int Steps { get; init; }

    /// <summary>Preview of the picture at this step, if one was asked for here.</summary>
    [Id(4)]
    public BlobName? Preview { get; init; }

    /// <summary>Which preview it is, from 0.</summary>
    [Id(5)]
    public int PreviewIndex { get; init; }

    /// <summary>The picture, once done.</summary>
    [Id(6)]
    public BlobName? Picture { get; init; }

    /// <summary>Why it failed, if it did.</summary>
    [Id(7)]
    public GenerationError Error { get; init; }

    /// <summary>The failure in a sentence.</summary>
    [Id(8)]
    public string? Message { get; init; }

    /// <summary>Whether nothing comes after it.</summary>
    public bool IsLast => Phase.IsEnded();

    /// <summary>Whether it was cancelled because nobody waited for it, not because somebody asked for that.</summary>
    public bool IsAbandoned => Phase == GenerationPhase.Cancelled && Message == Abandoned;
}

/// <summary>
/// How much of a prompt the model's text encoder takes, in tokens without the start and end marks.
/// </summary>
/// <param name="Given">Tokens of the whole prompt.</param>
/// <param name="Used">Those of them that the text encoder takes, the first ones.</param>
/// <param name="CutAt">
/// The beginning of what is cut off, at most 40 UTF-16 units, in lower case as the tokenizer reads it; null if nothing
/// is.
/// </param>
[GenerateSerializer, Immutable, Alias("atelier.PromptTokens")]
public sealed record PromptTokens(
    [property: Id(0)] int Given, [property: Id(1)] int Used, [property: Id(2)] string? CutAt);

/// <summary>The same for both prompts.</summary>
/// <param name="Prompt">The prompt.</param>
/// <param name="Negative">The negative prompt; null where none was encoded.</param>
[GenerateSerializer, Immutable, Alias("atelier.EncodedPrompts")]
public sealed record EncodedPrompts([property: Id(0)] PromptTokens Prompt, [property: Id(1)] PromptTokens? Negative);

/// <summary>A request to generate.</summary>
[GenerateSerializer, Immutable, Alias("atelier.Submission")]
public sealed record Submission
{
    /// <summary>Most previews.</summary>
    public const int PreviewsMax = 3;

    /// <summary>What to generate.</summary>
    [Id(0)]
    public required GenerationSpec Spec { get; init; }

    /// <summary>The session it belongs to, if any.</summary>
    [Id(1)]
    public SessionId? Session { get; init; }

    /// <summary>Previews wanted on the way; they do not change the picture.</summary>
    [Id(2)]
    public int Previews { get; init; }

    /// <summary>The generation that this one varies, if any.</summary>
    [Id(3)]
    public GenerationId? VariationOf { get; init; }
}

/// <summary>What became of a submission.</summary>
[GenerateSerializer, Alias("atelier.SubmitOutcome")]
public enum SubmitOutcome
{
    /// <summary>Accepted: it will end in a picture or in a recorded failure.</summary>
    Accepted,

    /// <summary>This id was accepted before with the same specification: the answer is that generation's.</summary>
    Exists,

    /// <summary>This id was accepted before with another specification.</summary>
    Conflict,

    /// <summary>The specification is wrong; the message says what would be right.</summary>
    Invalid,

    /// <summary>No such model.</summary>
    UnknownModel,

    /// <summary>The queue is full.</summary>
    Busy,

    /// <summary>The tenant makes more requests a minute than it may.</summary>
    RateLimited,

    /// <summary>The tenant has as many open generations as it may.</summary>
    TooManyOpen,

    /// <summary>The tenant has used the evaluations that it may use in a day.</summary>
    DailyLimit,

    /// <summary>The id came too late, or was deleted: choose a new one.</summary>
    Gone,

    /// <summary>There is no such tenant, or it was closed.</summary>
    UnknownTenant,

    /// <summary>The tenant has as many sessions as it may.</summary>
    TooManySessions,

    /// <summary>The tenant keeps as much as it may.</summary>
    TooMuchStored,

    /// <summary>The store has no room for anything new.</summary>
    StoreFull,
}

/// <summary>Answer to a submission.</summary>
/// <param name="Outcome">Whether it was accepted.</param>
/// <param name="Message">What is wrong and what would be right, if it was not.</param>
/// <param name="RetryAfter">When to come back, if that helps.</param>
/// <param name="View">The generation, if there is one.</param>
[GenerateSerializer, Immutable, Alias("atelier.SubmitAnswer")]
public sealed record SubmitAnswer(
    [property: Id(0)] SubmitOutcome Outcome, [property: Id(1)] string? Message = null,
    [property: Id(2)] TimeSpan? RetryAfter = null, [property: Id(3)] GenerationView? View = null)
{
    /// <summary>Whether there is a generation that will end in a picture or a recorded failure.</summary>
    public bool IsAccepted => Outcome is SubmitOutcome.Accepted or SubmitOutcome.Exists;
}

/// <summary>A generation as its tenant sees it.</summary>
[GenerateSerializer, Immutable, Alias("atelier.GenerationView")]
public sealed record GenerationView
{
    /// <summary>Which one.</summary>
    [Id(0)]
    public required GenerationKey Key { get; init; }

    /// <summary>What was asked for.</summary>
    [Id(1)]
    public required Submission Submission { get; init; }

    /// <summary>Where it stands.</summary>
    [Id(2)]
    public required GenerationPhase Phase { get; init; }

    /// <summary>Steps done.</summary>
    [Id(3)]
    public int Step { get; init; }

    /// <summary>Where it stands in the queue, if it waits there.</summary>
    [Id(4)]
    public QueuePlace? Place { get; init; }

    /// <summary>The picture, once done.</summary>
    [Id(5)]
    public BlobName? Picture { get; init; }

    /// <summary>Why it failed, if it did.</summary>
    [Id(6)]
    public GenerationError Error { get; init; }

    /// <summary>The failure in a sentence.</summary>
    [Id(7)]
    public string? Message { get; init; }

    /// <summary>When it was accepted.</summary>
    [Id(8)]
    public required DateTimeOffset AcceptedAt { get; init; }

    /// <summary>When it ended.</summary>
    [Id(9)]
    public DateTimeOffset? EndedAt { get; init; }

    /// <summary>Claims so far: 3 where nothing went wrong.</summary>
    [Id(10)]
    public long Epoch { get; init; }

    /// <summary>How often it started again at step 0 because no worker of its device kind was left.</summary>
    [Id(11)]
    public int Restarts { get; init; }

    /// <summary>The device kind that denoised it, as far as it is.</summary>
    [Id(12)]
    public string? DeviceKind { get; init; }

    /// <summary>Its place in its session's history; none without a session, or before places were stored.</summary>
    [Id(13)]
    public int? SessionIndex { get; init; }

    /// <summary>How much of its prompts was encoded; null before that, or where the worker does not say.</summary>
    [Id(14)]
    public EncodedPrompts? Encoded { get; init; }
}

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

/// <summary>A generation; its key is a <see cref="GenerationKey"/>.</summary>
[Alias("atelier.IGenerationGrain")]
public interface IGenerationGrain : IGrainWithStringKey
{
    /// <summary>
    /// Accepts a request, once: the same id with the same specification is answered with the same generation.
    /// </summary>
    [Alias("Submit")]
    Task<SubmitAnswer> SubmitAsync(Submission submission);

    /// <summary>What is known of it; none if it was never accepted or is deleted.</summary>
    [Alias("View")]
    Task<GenerationView?> ViewAsync();

    /// <summary>Cancels it, if it has not ended; gives what it is then.</summary>
    [Alias("Cancel")]
    Task<GenerationView?> CancelAsync();

    /// <summary>
    /// Cancels it, if it has not ended and nobody watches it: for a client that has stopped watching and leaves it to
    /// others who wait for the same picture. Gives what it is then.
    /// </summary>
    [Alias("CancelUnwatched")]
    Task<GenerationView?> CancelUnwatchedAsync();

    /// <summary>Deletes it and its pictures, cancelling it first if it is open.</summary>
    [Alias("Delete")]
    Task DeleteAsync();

    /// <summary>The same, if it was submitted in that session.</summary>
    [Alias("DeleteIn")]
    Task DeleteInAsync(SessionId session);

    /// <summary>Its events after <paramref name="after"/>, as they happen, to the last one.</summary>
    [Alias("Watch")]
    IAsyncEnumerable<GenerationEvent> WatchAsync(EventNumber after, CancellationToken cancellation = default);

    /// <summary>
    /// Forgets it altogether, pictures and the memory of its deletion included: its retention time is over. One that is
    /// open, or was accepted after that hour, stays: its id was used again.
    /// </summary>
    /// <param name="hour">The hour of the retention clock in which its ending was listed.</param>
    /// <exception cref="IOException">The blob store does not release all blobs; it is to be asked again.</exception>
    [Alias("ForgetEnded")]
    Task ForgetAsync(long hour);

    /// <summary>
    /// Puts its work into the queue if it is open and not there. False if it is not open: then the open set drops it.
    /// </summary>
    /// <param name="late">Whether a submission had its time: if none has come, one that comes now is refused.</param>
    [Alias("EnsureQueued")]
    Task<bool> EnsureQueuedAsync(bool late);

    /// <summary>A worker claims its work; the attempt is stored before this answers.</summary>
    [Alias("Claim")]
    Task<ClaimAnswer> ClaimAsync(ClaimRequest request);

    /// <summary>A worker reports steps.</summary>
    [Alias("Report")]
    Task<ReportOutcome> ReportAsync(StepReport report);

    /// <summary>A worker has finished a phase; its outcome is stored in the blob store.</summary>
    /// <param name="epoch">The claim's epoch.</param>
    /// <param name="output">Caption features, clean latent or picture.</param>
    [Alias("Complete")]
    Task<ReportOutcome> CompleteAsync(long epoch, BlobName output);

    /// <summary>The same for the prompts' encoding, by a worker that says how much of them fitted.</summary>
    /// <param name="epoch">The claim's epoch.</param>
    /// <param name="caption">Caption features.</param>
    /// <param name="encoded">How much of the prompts they are of.</param>
    [Alias("CompleteEncoding")]
    Task<ReportOutcome> CompleteEncodingAsync(long epoch, BlobName caption, EncodedPrompts encoded);

    /// <summary>A worker gives work back in good order: parked, or drained.</summary>
    /// <param name="last">Where it stands, with a snapshot if steps were done.</param>
    [Alias("Release")]
    Task<ReportOutcome> ReleaseAsync(StepReport last);

    /// <summary>A worker could not do the work and says why: it is tried once more, then it has failed.</summary>
    /// <param name="epoch">The claim's epoch.</param>
    /// <param name="error">Why.</param>
    /// <param name="message">The same in a sentence.</param>
    [Alias("Fail")]
    Task<ReportOutcome> FailAsync(long epoch, GenerationError error, string message);
}
