// A session: a tenant's conversation with a model. It remembers which generations it led to, in order, in pages of
// fixed size; what each one was and became is the generation's own to tell.
namespace Atelier.Contracts;

/// <summary>A session as its tenant sees it.</summary>
/// <param name="Key">Which one.</param>
/// <param name="CreatedAt">When it began.</param>
/// <param name="Generations">Generations that were submitted in it.</param>
[GenerateSerializer, Immutable, Alias("atelier.SessionView")]
public sealed record SessionView(
    [property: Id(0)] SessionKey Key, [property: Id(1)] DateTimeOffset CreatedAt, [property: Id(2)] int Generations);

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

    /// <summary>Begins the session, if it has not begun.</summary>
    [Alias("Open")]
    Task<SessionView> OpenAsync();

    /// <summary>What is known of it; none if it never began or is deleted.</summary>
    [Alias("View")]
    Task<SessionView?> ViewAsync();

    /// <summary>Submits a generation and remembers it.</summary>
    /// <param name="id">The client's or the API's choice; the same twice is once.</param>
    /// <param name="submission">What to generate.</param>
    [Alias("Submit")]
    Task<SubmitAnswer> SubmitAsync(GenerationId id, Submission submission);

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
}

/// <summary>A page of a session's history; its key is the session's, a slash and the page's number.</summary>
[Alias("atelier.ISessionPageGrain")]
public interface ISessionPageGrain : IGrainWithStringKey
{
    /// <summary>Generations on a page: 256 names of 64 characters stay below 64 KiB.</summary>
    const int Size = 256;

    /// <summary>Puts a generation at the end, if it is not on the page; gives how many there are.</summary>
    [Alias("Append")]
    Task<int> AppendAsync(GenerationId id);

    /// <summary>The generations on the page.</summary>
    [Alias("Read")]
    Task<GenerationId[]> ReadAsync();

    /// <summary>Empties the page.</summary>
    [Alias("Delete")]
    Task DeleteAsync();
}
