// The list of generations and sessions that ended in one hour, so that retention finds them without a search.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.Generations;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Sessions;
using Atelier.Grains.Placement;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.OpenSets;

/// <summary>The stored state of a page.</summary>
[GenerateSerializer, Alias("atelier.state.EndedList")]
internal sealed class EndedListState
{
    /// <summary>
    /// Keys of generations, and keys of sessions. The latter have a prefix with which no generation's key begins.
    /// </summary>
    [Id(0)]
    public HashSet<string> Generations { get; set; } = [];
}

/// <summary>A page of the generations and sessions that ended in one hour.</summary>
[GrainType("endedlist")]
[ControlSilo]
internal sealed class EndedListGrain(
    [PersistentState("ended")] IPersistentState<EndedListState> state, IGrainFactory grains,
    OpenSetInstruments instruments, LogLimits limits, ILogger<EndedListGrain> logger) : Grain, IEndedListGrain
{
    // Maximum number of concurrent deletions.
    private const int Fan = 16;

    private const char SessionMark = '~';

    private long Hour => long.Parse(this.GetPrimaryKeyString().Split('/')[0], CultureInfo.InvariantCulture);

    public Task<bool> AddAsync(GenerationKey generation) => AddAsync(generation.ToString());

    public Task<bool> AddSessionAsync(SessionKey session) => AddAsync($"{SessionMark}{session}");

    private async Task<bool> AddAsync(string key)
    {
        if (state.State.Generations.Contains(key))
        {
            return true;
        }

        if (state.State.Generations.Count >= IEndedListGrain.SizeMax)
        {
            return false;
        }

        state.State.Generations.Add(key);
        await state.WriteOrDeactivateAsync(this);

        return true;
    }

    public Task<int> CountAsync() => Task.FromResult(state.State.Generations.Count);

    public async Task<bool> SweepAsync(long now)
    {
        int count = state.State.Generations.Count;
        foreach (string[] part in state.State.Generations.ToArray().Chunk(Fan))
        {
            string?[] done = await Task.WhenAll(part.Select(key => ForgetAsync(key, now)));
            state.State.Generations.ExceptWith(done.OfType<string>());
        }

        int left = state.State.Generations.Count;
        string list = this.GetPrimaryKeyString();
        if (count > 0)
        {
            instruments.Forgot(count - left);
            logger.Swept(list, count - left, left);
            await (left == 0 ? state.ClearOrDeactivateAsync(this) : state.WriteOrDeactivateAsync(this));
        }

        DeactivateOnIdle();
        return left == 0;
    }

    // An item whose deletion fails does not block the others; it stays on the page.
    private async Task<string?> ForgetAsync(string key, long now)
    {
        try
        {
            if (key[0] == SessionMark)
            {
                return await grains.GetGrain<ISessionGrain>(key[1..]).ForgetAsync(now) ? key : null;
            }

            await grains.GetGrain<IGenerationGrain>(key).ForgetAsync(Hour);
            return key;
        }
        catch (Exception error)
        {
            instruments.Unanswered();
            if (limits.Passes(nameof(OpenSetLog.Kept), "", out int kept))
            {
                logger.Kept(kept, key, error);
            }

            return null;
        }
    }
}
