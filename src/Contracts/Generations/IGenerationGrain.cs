// A generation: from an accepted request to a picture or a recorded failure. Only its grain advances the phase, and it
// owns the fence: each claim of its work gets a new epoch, and reports with an older epoch are rejected.
namespace Atelier.Contracts.Generations;

/// <summary>A generation; its key is a <see cref="GenerationKey"/>.</summary>
[Alias("atelier.IGenerationGrain")]
public interface IGenerationGrain : IGrainWithStringKey
{
    /// <summary>
    /// Accepts a request. Idempotent: the same id with the same specification is answered with the same generation.
    /// </summary>
    [Alias("Submit")]
    Task<SubmitAnswer> SubmitAsync(Submission submission);

    /// <summary>Its current state; null if it was never accepted or is deleted.</summary>
    [Alias("View")]
    Task<GenerationView?> ViewAsync();

    /// <summary>Cancels it unless it has ended, and returns its state afterwards.</summary>
    [Alias("Cancel")]
    Task<GenerationView?> CancelAsync();

    /// <summary>
    /// Cancels it unless it has ended or is still watched, and returns its state afterwards. For a client that has
    /// stopped watching, while others may still wait for the same picture.
    /// </summary>
    [Alias("CancelUnwatched")]
    Task<GenerationView?> CancelUnwatchedAsync();

    /// <summary>Deletes it and its pictures, cancelling it first if it is open.</summary>
    [Alias("Delete")]
    Task DeleteAsync();

    /// <summary>As <see cref="DeleteAsync"/>, if it was submitted in that session.</summary>
    [Alias("DeleteIn")]
    Task DeleteInAsync(SessionId session);

    /// <summary>Streams its events after <paramref name="after"/> as they happen, up to the last one.</summary>
    [Alias("Watch")]
    IAsyncEnumerable<GenerationEvent> WatchAsync(EventNumber after, CancellationToken cancellation = default);

    /// <summary>
    /// Forgets it completely, including its pictures and the record of its deletion, when its retention time is over. A
    /// generation that is open or was accepted after that hour stays, because its id was used again.
    /// </summary>
    /// <param name="hour">The hour of the retention clock under which its end was listed.</param>
    /// <exception cref="IOException">The blob store has not released all blobs; call again later.</exception>
    [Alias("ForgetEnded")]
    Task ForgetAsync(long hour);

    /// <summary>
    /// Makes sure that its work is in the queue. False if it is not open; the open set then drops it.
    /// </summary>
    /// <param name="late">
    /// Whether the time for a submission is over: if none has arrived, a later one is refused.
    /// </param>
    [Alias("EnsureQueued")]
    Task<bool> EnsureQueuedAsync(bool late);

    /// <summary>
    /// Whether it may need a blob of its tenant: it is open, or its stored state names the blob.
    /// </summary>
    [Alias("MayNeed")]
    Task<bool> MayNeedAsync(BlobName blob);

    /// <summary>A worker claims its work; the attempt is stored before the answer.</summary>
    [Alias("Claim")]
    Task<ClaimAnswer> ClaimAsync(ClaimRequest request);

    /// <summary>A worker reports finished steps.</summary>
    [Alias("Report")]
    Task<ReportOutcome> ReportAsync(StepReport report);

    /// <summary>A worker has finished a phase; its output is in the blob store.</summary>
    /// <param name="epoch">The claim's epoch.</param>
    /// <param name="output">Caption features, clean latent or picture.</param>
    [Alias("Complete")]
    Task<ReportOutcome> CompleteAsync(long epoch, BlobName output);

    /// <summary>As <see cref="CompleteAsync"/>, for encoding, with the number of tokens that fitted.</summary>
    /// <param name="epoch">The claim's epoch.</param>
    /// <param name="caption">Caption features.</param>
    /// <param name="encoded">How much of the prompts was encoded.</param>
    [Alias("CompleteEncoding")]
    Task<ReportOutcome> CompleteEncodingAsync(long epoch, BlobName caption, EncodedPrompts encoded);

    /// <summary>A worker releases its claim in good order, because the work was parked or the worker drains.</summary>
    /// <param name="last">Its progress, with a snapshot if steps were done.</param>
    [Alias("Release")]
    Task<ReportOutcome> ReleaseAsync(StepReport last);

    /// <summary>
    /// A worker could not do the work and reports why. The work is retried once; then the generation fails.
    /// </summary>
    /// <param name="epoch">The claim's epoch.</param>
    /// <param name="error">The cause.</param>
    /// <param name="message">The cause as a sentence.</param>
    [Alias("Fail")]
    Task<ReportOutcome> FailAsync(long epoch, GenerationError error, string message);
}
