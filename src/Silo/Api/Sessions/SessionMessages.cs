using Atelier.Contracts.Sessions;
using Atelier.Silo.Api.Generations;

namespace Atelier.Silo.Api.Sessions;

/// <summary>A request to open a session.</summary>
internal sealed record OpenSessionRequest
{
    /// <summary>
    /// Id of the session. If a session with this id exists, it is returned. If the id is left out, the server chooses
    /// one.
    /// </summary>
    public string? Id { get; init; }
}

/// <summary>A session.</summary>
/// <param name="Id">Id of the session.</param>
/// <param name="CreatedAt">When the session was opened.</param>
/// <param name="Generations">Number of generations that were submitted in the session.</param>
internal sealed record SessionResponse(string Id, DateTimeOffset CreatedAt, int Generations)
{
    public static SessionResponse Of(SessionView view) => new(view.Key.Id.Value, view.CreatedAt, view.Generations);
}

/// <summary>A page of a session's history, oldest first.</summary>
/// <param name="Items">The generations, without those that were deleted.</param>
/// <param name="Next">Value of the query parameter 'start' for the next page; null on the last page.</param>
internal sealed record HistoryResponse(GenerationResponse[] Items, int? Next);
