using Atelier.Contracts.Generations;

namespace Atelier.Contracts.Sessions;

/// <summary>A session as its tenant sees it.</summary>
/// <param name="Key">The session's tenant and id.</param>
/// <param name="CreatedAt">When the session began.</param>
/// <param name="Generations">Number of generations submitted in the session.</param>
[GenerateSerializer, Immutable, Alias("atelier.SessionView")]
public sealed record SessionView(
    [property: Id(0)] SessionKey Key, [property: Id(1)] DateTimeOffset CreatedAt, [property: Id(2)] int Generations);

/// <summary>Answer to a request to begin a session.</summary>
/// <param name="View">The session; null if it was refused.</param>
/// <param name="Refusal">Why it was refused; null if it was not.</param>
[GenerateSerializer, Immutable, Alias("atelier.SessionAnswer")]
public sealed record SessionAnswer([property: Id(0)] SessionView? View, [property: Id(1)] SubmitAnswer? Refusal = null);

/// <summary>A part of a session's history, oldest first.</summary>
/// <param name="Items">Generations, without deleted ones.</param>
/// <param name="Next">Index at which the next part begins; null at the end.</param>
[GenerateSerializer, Immutable, Alias("atelier.HistoryPage")]
public sealed record HistoryPage(
    [property: Id(0)] GenerationView[] Items, [property: Id(1)] int? Next);
