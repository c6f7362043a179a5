// A session: a tenant's conversation with a model. It lists its generations in order, in pages of fixed size; their
// requests and results are kept by the generations themselves.
using Atelier.Contracts.Generations;
using Orleans.Concurrency;

namespace Atelier.Contracts.Sessions;

/// <summary>A session; the grain's key is a <see cref="SessionKey"/>.</summary>
[Alias("atelier.ISessionGrain")]
public interface ISessionGrain : IGrainWithStringKey
{
    /// <summary>Maximum number of generations in one session.</summary>
    const int GenerationsMax = 100_000;

    /// <summary>Begins the session if it has not begun and the tenant's limit allows another one.</summary>
    [Alias("Begin")]
    Task<SessionAnswer> BeginAsync();

    /// <summary>The session's current state; null if it never began or was deleted.</summary>
    [Alias("View")]
    Task<SessionView?> ViewAsync();

    /// <summary>Submits a generation and adds it to the history. The first one begins the session.</summary>
    /// <param name="id">Id of the generation, chosen by the client or the API. It makes the call idempotent.</param>
    /// <param name="submission">What to generate.</param>
    [Alias("Submit")]
    Task<SubmitAnswer> SubmitAsync(GenerationId id, Submission submission);

    /// <summary>
    /// Adds a generation that is about to be accepted to the history. Returns its index, or null if the session was
    /// deleted. If the generation is then refused, its index stays unused.
    /// </summary>
    [Alias("List"), AlwaysInterleave]
    Task<int?> ListAsync(GenerationId id);

    /// <summary>Submits a variation of an earlier generation: the same prompt and settings with another seed.</summary>
    /// <param name="id">Id of the variation.</param>
    /// <param name="of">The generation that is varied.</param>
    /// <param name="seed">The variation's seed; null for the earlier generation's seed plus 1.</param>
    [Alias("Vary")]
    Task<SubmitAnswer> VaryAsync(GenerationId id, GenerationId of, ulong? seed);

    /// <summary>Part of the history, oldest first, from index <paramref name="start"/>.</summary>
    [Alias("History")]
    Task<HistoryPage> HistoryAsync(int start, int count);

    /// <summary>
    /// Deletes the session, its generations and their pictures, one page per call. Returns true once nothing is left.
    /// </summary>
    [Alias("Delete")]
    Task<bool> DeleteAsync();

    /// <summary>
    /// Deletes the session, its pages and the record of its deletion if its retention time is over; otherwise lists the
    /// session again for a later check. Returns false if the deletion is not finished yet.
    /// </summary>
    /// <param name="hour">The current hour of its partition's retention clock.</param>
    [Alias("Forget")]
    Task<bool> ForgetAsync(long hour);
}

/// <summary>
/// A page of a session's history; the grain's key is the session's key, a slash and the page's number.
/// </summary>
[Alias("atelier.ISessionPageGrain")]
public interface ISessionPageGrain : IGrainWithStringKey
{
    /// <summary>Generations on a page, so that its state stays below 64 KiB with names of 64 characters.</summary>
    const int Size = 256;

    /// <summary>
    /// Appends a generation unless it is on the page. Returns its index on the page, or -1 if the page is full.
    /// </summary>
    [Alias("Put")]
    Task<int> PutAsync(GenerationId id);

    /// <summary>Drops generations that no longer exist; the others keep their indexes.</summary>
    [Alias("Drop")]
    Task DropAsync(GenerationId[] ids);

    /// <summary>The generations on the page; dropped ones are empty ids.</summary>
    [Alias("Read")]
    Task<GenerationId[]> ReadAsync();

    /// <summary>Empties the page.</summary>
    [Alias("Delete")]
    Task DeleteAsync();
}
