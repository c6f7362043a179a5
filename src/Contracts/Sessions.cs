// A session: a tenant's conversation with a model. It remembers which generations it led to, in order, in pages of
// fixed size; what each one was and became is the generation's own to tell.
using Orleans.Concurrency;

namespace Atelier.Contracts;

/// <summary>A session as its tenant sees it.</summary>
/// <param name="Key">Which one.</param>
/// <param name="CreatedAt">When it began.</param>
/// <param name="Generations">Generations that were submitted in it.</param>
[GenerateSerializer, Immutable, Alias("atelier.SessionView")]
public sealed record SessionView(
    [property: Id(0)] SessionKey Key, [property: Id(1)] DateTimeOffset CreatedAt, [property: Id(2)] int Generations);

/// <summary>Answer to the wish to begin a session.</summary>
/// <param name="View">The session; none if it was refused.</param>
/// <param name="Refusal">Why it was refused, if it was.</param>
[GenerateSerializer, Immutable, Alias("atelier.SessionAnswer")]
public sealed record SessionAnswer([property: Id(0)] SessionView? View, [property: Id(1)] SubmitAnswer? Refusal = null);

/// <summary>A part of a session's history, oldest first.</summary>
/// <param name="Items">Generations, those that are deleted left out.</param>
/// <param name="Next">Where the next part begins; none at the end.</param>
[GenerateSerializer, Immutable, Alias("atelier.HistoryPage")]
public sealed record HistoryPage(
    [property: Id(0)] GenerationView[] Items, [property: Id(1)] int? Next);

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

/// <summary>
/// A part of a tenant's sessions, by the hash of their ids; its key is the tenant, a slash and the part's number.
/// </summary>
[Alias("atelier.ISessionListGrain")]
public interface ISessionListGrain : IGrainWithStringKey
{
    /// <summary>Parts of a tenant's list.</summary>
    const int Parts = 32;

    /// <summary>Most sessions in a part: names of 64 characters stay below 64 KiB.</summary>
    const int SizeMax = 800;

    /// <summary>Adds a session; gives how many the part has then, or none if that would be more than it may.</summary>
    [Alias("Add")]
    Task<int?> AddAsync(SessionId session, int max);

    /// <summary>Removes a session, if it is there; gives how many the part has then.</summary>
    [Alias("Remove")]
    Task<int> RemoveAsync(SessionId session);

    /// <summary>The sessions in the part.</summary>
    [Alias("Read")]
    Task<SessionId[]> ReadAsync();
}
