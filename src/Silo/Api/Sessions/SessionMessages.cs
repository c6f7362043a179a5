using Atelier.Contracts.Sessions;
using Atelier.Silo.Api.Generations;

namespace Atelier.Silo.Api.Sessions;

/// <summary>A request to open a session.</summary>
internal sealed record OpenSessionRequest
{
    /// <summary>Id of the session; an existing one is returned. Without it, the server chooses one.</summary>
    public string? Id { get; init; }
}

/// <summary>A session.</summary>
/// <param name="Id">Id of the session.</param>
/// <param name="CreatedAt">When it was opened.</param>
/// <param name="Generations">Number of generations that were submitted in it.</param>
internal sealed record SessionResponse(string Id, DateTimeOffset CreatedAt, int Generations)
{
    public static SessionResponse Of(SessionView view) => new(view.Key.Id.Value, view.CreatedAt, view.Generations);
}

/// <summary>A page of a session's history, oldest first.</summary>
/// <param name="Items">Generations, without those that were deleted.</param>
/// <param name="Next">The value of start for the next page; null on the last page.</param>
internal sealed record HistoryResponse(GenerationResponse[] Items, int? Next);
