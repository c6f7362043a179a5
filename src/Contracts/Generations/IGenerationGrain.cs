// A generation: from an accepted request to a picture or a recorded failure. Its grain alone advances the phase, and
// owns the fence: whoever claims its work gets a new epoch, and what carries an older one is refused.
namespace Atelier.Contracts.Generations;

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

    /// <summary>
    /// Whether it may need bytes of its tenant's in the blob store: it is open, or its stored state names them.
    /// </summary>
    [Alias("MayNeed")]
    Task<bool> MayNeedAsync(BlobName blob);

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
