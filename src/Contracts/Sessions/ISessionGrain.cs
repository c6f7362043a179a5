// A session: a tenant's conversation with a model. It remembers which generations it led to, in order, in pages of
// fixed size; what each one was and became is the generation's own to tell.
using Atelier.Contracts.Generations;
using Orleans.Concurrency;

namespace Atelier.Contracts.Sessions;

/// <summary>A session; its key is a <see cref="SessionKey"/>.</summary>
[Alias("atelier.ISessionGrain")]
public interface ISessionGrain : IGrainWithStringKey
{
    /// <summary>Most generations in one session.</summary>
    const int GenerationsMax = 100_000;

    /// <summary>Begins the session, if it has not begun and its tenant may begin one more.</summary>
    [Alias("Begin")]
    Task<SessionAnswer> BeginAsync();

    /// <summary>What is known of it; none if it never began or is deleted.</summary>
    [Alias("View")]
    Task<SessionView?> ViewAsync();

    /// <summary>Submits a generation and remembers it. The first one begins the session.</summary>
    /// <param name="id">The client's or the API's choice; the same twice is once.</param>
    /// <param name="submission">What to generate.</param>
    [Alias("Submit")]
    Task<SubmitAnswer> SubmitAsync(GenerationId id, Submission submission);

    /// <summary>
    /// Puts a generation that is about to be accepted into the history; gives its place, or none if the session was
    /// deleted. A place that nothing accepted has stored stays empty.
    /// </summary>
    [Alias("List"), AlwaysInterleave]
    Task<int?> ListAsync(GenerationId id);

    /// <summary>A variation: the same prompt and settings as an earlier generation's, under another seed.</summary>
    /// <param name="id">Id of the variation.</param>
    /// <param name="of">The generation that is varied.</param>
    /// <param name="seed">The seed; none takes the next one.</param>
    [Alias("Vary")]
    Task<SubmitAnswer> VaryAsync(GenerationId id, GenerationId of, ulong? seed);

    /// <summary>History from an index on, oldest first.</summary>
    [Alias("History")]
    Task<HistoryPage> HistoryAsync(int start, int count);

    /// <summary>
    /// Deletes the session, its generations and their pictures, a page at a call; true once nothing is left.
    /// </summary>
    [Alias("Delete")]
    Task<bool> DeleteAsync();

    /// <summary>
    /// Forgets the session, its pages and its deletion, if its retention time is over; else lists it again, to be asked
    /// later. False if it is not done yet.
    /// </summary>
    /// <param name="hour">The hour of its partition's retention clock now.</param>
    [Alias("Forget")]
    Task<bool> ForgetAsync(long hour);
}

/// <summary>A page of a session's history; its key is the session's, a slash and the page's number.</summary>
[Alias("atelier.ISessionPageGrain")]
public interface ISessionPageGrain : IGrainWithStringKey
{
    /// <summary>Generations on a page: 256 names of 64 characters stay below 64 KiB.</summary>
    const int Size = 256;

    /// <summary>
    /// Puts a generation at the end, if it is not on the page; gives its place on it, or -1 if the page is full.
    /// </summary>
    [Alias("Put")]
    Task<int> PutAsync(GenerationId id);

    /// <summary>Drops generations that are gone; the others keep their places.</summary>
    [Alias("Drop")]
    Task DropAsync(GenerationId[] ids);

    /// <summary>The generations on the page; those that were dropped are empty ids.</summary>
    [Alias("Read")]
    Task<GenerationId[]> ReadAsync();

    /// <summary>Empties the page.</summary>
    [Alias("Delete")]
    Task DeleteAsync();
}
