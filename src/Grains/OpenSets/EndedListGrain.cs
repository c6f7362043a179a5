// What ended in one hour, so that it can be forgotten when its retention time is over without looking for it.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.Generations;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Sessions;
using Atelier.Grains.Hosting;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.OpenSets;

/// <summary>A page of ended generations as it is stored.</summary>
[GenerateSerializer, Alias("atelier.state.EndedList")]
internal sealed class EndedListState
{
    /// <summary>Keys of generations; those of sessions with a mark before them that no name has.</summary>
    [Id(0)]
    public HashSet<string> Generations { get; set; } = [];
}

/// <summary>A page of what ended in one hour.</summary>
[GrainType("endedlist")]
[ControlSilo]
internal sealed class EndedListGrain(
    [PersistentState("ended")] IPersistentState<EndedListState> state, IGrainFactory grains,
    OpenSetInstruments instruments, LogLimits limits, ILogger<EndedListGrain> logger) : Grain, IEndedListGrain
{
    // What is forgotten at a time.
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
        try
        {
            await state.WriteStateAsync();
        }
        catch (Exception)
        {
            DeactivateOnIdle();
            throw;
        }

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
            try
            {
                await (left == 0 ? state.ClearStateAsync() : state.WriteStateAsync());
            }
            catch (Exception)
            {
                DeactivateOnIdle();
                throw;
            }
        }

        DeactivateOnIdle();
        return left == 0;
    }

    // One that fails holds up no other; it stays on the page.
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
