// A generation: from an accepted request to a picture or a recorded failure. Only its grain advances the phase. The
// grain also fences workers: each claim of the work gets a new epoch, and reports with an older epoch are rejected.
namespace Atelier.Contracts.Generations;

/// <summary>A generation; the grain's key is a <see cref="GenerationKey"/>.</summary>
[Alias("atelier.IGenerationGrain")]
public interface IGenerationGrain : IGrainWithStringKey
{
    /// <summary>
    /// Accepts a request. Idempotent: a repeated request with the same id and specification returns the same
    /// generation.
    /// </summary>
    [Alias("Submit")]
    Task<SubmitAnswer> SubmitAsync(Submission submission);

    /// <summary>The generation's current state; null if it was never accepted or was deleted.</summary>
    [Alias("View")]
    Task<GenerationView?> ViewAsync();

    /// <summary>Cancels the generation unless it has ended, and returns its state afterwards.</summary>
    [Alias("Cancel")]
    Task<GenerationView?> CancelAsync();

    /// <summary>
    /// Cancels the generation unless it has ended or is still watched, and returns its state afterwards. A client that
    /// has stopped watching uses this call, because others may still wait for the same picture.
    /// </summary>
    [Alias("CancelUnwatched")]
    Task<GenerationView?> CancelUnwatchedAsync();

    /// <summary>Deletes the generation and its pictures. An open generation is cancelled first.</summary>
    [Alias("Delete")]
    Task DeleteAsync();

    /// <summary>
    /// Deletes the generation like <see cref="DeleteAsync"/>, but only if it was submitted in the given session.
    /// </summary>
    [Alias("DeleteIn")]
    Task DeleteInAsync(SessionId session);

    /// <summary>Streams the events after <paramref name="after"/> as they happen, up to the last one.</summary>
    [Alias("Watch")]
    IAsyncEnumerable<GenerationEvent> WatchAsync(EventNumber after, CancellationToken cancellation = default);

    /// <summary>
    /// Deletes everything that is stored for the generation, including its pictures and the record of its deletion,
    /// when its retention time is over. A generation that is open or was accepted after the given hour is kept, because
    /// its id was used again.
    /// </summary>
    /// <param name="hour">The hour of the retention clock in which the generation was listed as ended.</param>
    /// <exception cref="IOException">The blob store has not released all blobs; call again later.</exception>
    [Alias("ForgetEnded")]
    Task ForgetAsync(long hour);

    /// <summary>
    /// Makes sure that the generation's work is in the queue. Returns false if the generation is not open; the open set
    /// then removes it.
    /// </summary>
    /// <param name="late">
    /// Whether the time limit of the submission has passed. If no submission has arrived by then, a later one is
    /// refused.
    /// </param>
    [Alias("EnsureQueued")]
    Task<bool> EnsureQueuedAsync(bool late);

    /// <summary>
    /// Whether the generation may need a blob of its tenant, because it is open or its stored state names the blob.
    /// </summary>
    [Alias("MayNeed")]
    Task<bool> MayNeedAsync(BlobName blob);

    /// <summary>A worker claims the generation's work. The claim is stored before it is answered.</summary>
    [Alias("Claim")]
    Task<ClaimAnswer> ClaimAsync(ClaimRequest request);

    /// <summary>A worker reports finished steps.</summary>
    [Alias("Report")]
    Task<ReportOutcome> ReportAsync(StepReport report);

    /// <summary>A worker has finished a phase; the output is in the blob store.</summary>
    /// <param name="epoch">The claim's epoch.</param>
    /// <param name="output">Caption features, clean latent or picture.</param>
    [Alias("Complete")]
    Task<ReportOutcome> CompleteAsync(long epoch, BlobName output);

    /// <summary>
    /// A worker has finished encoding: like <see cref="CompleteAsync"/>, with the number of tokens that were encoded.
    /// </summary>
    /// <param name="epoch">The claim's epoch.</param>
    /// <param name="caption">Caption features.</param>
    /// <param name="encoded">How much of the prompts was encoded.</param>
    [Alias("CompleteEncoding")]
    Task<ReportOutcome> CompleteEncodingAsync(long epoch, BlobName caption, EncodedPrompts encoded);

    /// <summary>A worker releases its claim gracefully, because the work was parked or the worker drains.</summary>
    /// <param name="last">The worker's progress, with a snapshot if steps were done.</param>
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
