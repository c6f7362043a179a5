// The list of a tenant's sessions, which count against the tenant's limit.
using Atelier.Contracts;
using Atelier.Contracts.Sessions;
using Atelier.Grains.Placement;

namespace Atelier.Grains.Sessions;

/// <summary>The stored state of a partition of a tenant's list of sessions.</summary>
[GenerateSerializer, Alias("atelier.state.SessionList")]
internal sealed class SessionListState
{
    /// <summary>Ids of the sessions.</summary>
    [Id(0)]
    public HashSet<string> Sessions { get; set; } = [];
}

/// <summary>A partition of a tenant's list of sessions.</summary>
[GrainType("sessionlist")]
[ControlSilo]
internal sealed class SessionListGrain([PersistentState("sessions")] IPersistentState<SessionListState> state)
    : Grain, ISessionListGrain
{
    public async Task<int?> AddAsync(SessionId session, int max)
    {
        if (!state.State.Sessions.Contains(session.Value))
        {
            if (state.State.Sessions.Count >= Math.Min(max, ISessionListGrain.SizeMax))
            {
                return null;
            }

            state.State.Sessions.Add(session.Value);
            await state.WriteOrDeactivateAsync(this);
        }

        return state.State.Sessions.Count;
    }

    public async Task<int> RemoveAsync(SessionId session)
    {
        if (state.State.Sessions.Remove(session.Value))
        {
            await (state.State.Sessions.Count == 0
                ? state.ClearOrDeactivateAsync(this) : state.WriteOrDeactivateAsync(this));
        }

        return state.State.Sessions.Count;
    }

    public Task<SessionId[]> ReadAsync() => Task.FromResult<SessionId[]>(
        [.. state.State.Sessions.Order(StringComparer.Ordinal).Select(id => new SessionId(id))]);
}
