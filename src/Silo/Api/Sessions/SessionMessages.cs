using Atelier.Contracts.Sessions;
using Atelier.Silo.Api.Generations;

namespace Atelier.Silo.Api.Sessions;

/// <summary>A request to begin a session.</summary>
internal sealed record OpenSessionRequest
{
    /// <summary>Id of the session; one that exists goes on.</summary>
    public string? Id { get; init; }
}

/// <summary>A session.</summary>
/// <param name="Id">Which one.</param>
/// <param name="CreatedAt">When it began.</param>
/// <param name="Generations">Generations that were submitted in it.</param>
internal sealed record SessionResponse(string Id, DateTimeOffset CreatedAt, int Generations)
{
    public static SessionResponse Of(SessionView view) => new(view.Key.Id.Value, view.CreatedAt, view.Generations);
}

/// <summary>A part of a session's history, oldest first.</summary>
/// <param name="Items">Generations; those that are deleted are left out.</param>
/// <param name="Next">Where the next part begins; null at the end.</param>
internal sealed record HistoryResponse(GenerationResponse[] Items, int? Next);
