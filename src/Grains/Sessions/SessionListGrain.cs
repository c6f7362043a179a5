// The list of a tenant's sessions, which counts against its limit.
using Atelier.Contracts;
using Atelier.Contracts.Sessions;
using Atelier.Grains.Hosting;

namespace Atelier.Grains.Sessions;

/// <summary>The stored state of a part of a tenant's sessions.</summary>
[GenerateSerializer, Alias("atelier.state.SessionList")]
internal sealed class SessionListState
{
    /// <summary>Ids of the sessions.</summary>
    [Id(0)]
    public HashSet<string> Sessions { get; set; } = [];
}

/// <summary>A part of a tenant's sessions.</summary>
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
            await StoreAsync(state.WriteStateAsync);
        }

        return state.State.Sessions.Count;
    }

    public async Task<int> RemoveAsync(SessionId session)
    {
        if (state.State.Sessions.Remove(session.Value))
        {
            await StoreAsync(state.State.Sessions.Count == 0 ? state.ClearStateAsync : state.WriteStateAsync);
        }

        return state.State.Sessions.Count;
    }

    public Task<SessionId[]> ReadAsync() => Task.FromResult<SessionId[]>(
        [.. state.State.Sessions.Order(StringComparer.Ordinal).Select(id => new SessionId(id))]);

    private async Task StoreAsync(Func<Task> write)
    {
        try
        {
            await write();
        }
        catch (Exception)
        {
            DeactivateOnIdle();
            throw;
        }
    }
}
