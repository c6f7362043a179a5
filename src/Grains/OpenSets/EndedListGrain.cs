// What ended in one hour, so that it can be forgotten when its retention time is over without looking for it.
using Atelier.Contracts;
using Atelier.Grains.Hosting;

namespace Atelier.Grains.OpenSets;

/// <summary>A page of ended generations as it is stored.</summary>
[GenerateSerializer, Alias("atelier.state.EndedList")]
internal sealed class EndedListState
{
    /// <summary>Keys of generations.</summary>
    [Id(0)]
    public HashSet<string> Generations { get; set; } = [];
}

/// <summary>A page of what ended in one hour.</summary>
[GrainType("endedlist")]
[ControlSilo]
internal sealed class EndedListGrain(
    [PersistentState("ended")] IPersistentState<EndedListState> state, IGrainFactory grains) : Grain, IEndedListGrain
{
    // Generations that are forgotten at a time.
    private const int Fan = 16;

    public async Task<bool> AddAsync(GenerationKey generation)
    {
        if (state.State.Generations.Contains(generation.ToString()))
        {
            return true;
        }

        if (state.State.Generations.Count >= IEndedListGrain.SizeMax)
        {
            return false;
        }

        state.State.Generations.Add(generation.ToString());
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

    public async Task<bool> ForgetAsync()
    {
        if (state.State.Generations.Count == 0)
        {
            DeactivateOnIdle();
            return false;
        }

        foreach (string[] part in state.State.Generations.Chunk(Fan))
        {
            await Task.WhenAll(part.Select(key => grains.GetGrain<IGenerationGrain>(key).ForgetAsync()));
        }

        await state.ClearStateAsync();
        DeactivateOnIdle();
        return true;
    }
}
