// Sessions as grains. A session knows how many generations it led to; their ids lie in pages of fixed size, and what
// each one was and became is asked of the generations themselves.
using Atelier.Contracts;
using Atelier.Grains.Hosting;

namespace Atelier.Grains.Sessions;

/// <summary>A session as it is stored.</summary>
[GenerateSerializer, Alias("atelier.state.Session")]
internal sealed class SessionState
{
    /// <summary>When it began; none if it has not.</summary>
    [Id(0)]
    public DateTimeOffset? CreatedAt { get; set; }

    /// <summary>Generations in it.</summary>
    [Id(1)]
    public int Count { get; set; }

    /// <summary>Whether it was deleted.</summary>
    [Id(2)]
    public bool IsDeleted { get; set; }
}

/// <summary>A tenant's conversation with a model.</summary>
[GrainType("session")]
[ControlSilo]
internal sealed class SessionGrain(
    [PersistentState("session")] IPersistentState<SessionState> state, TimeProvider clock, IGrainFactory grains) : Grain, ISessionGrain
{
    private const int HistoryMax = 100;
    private const string DeletedMessage = "This session was deleted; begin a new one under another id.";

    private SessionKey Key => SessionKey.TryParse(this.GetPrimaryKeyString(), out SessionKey key)
        ? key
        : throw new ArgumentException($"'{this.GetPrimaryKeyString()}' names no session: a tenant and a session do, each {Names.Rule}.");

    public async Task<SessionView> OpenAsync()
    {
        if (state.State is { CreatedAt: null, IsDeleted: false })
        {
            _ = Key;
            state.State.CreatedAt = clock.GetUtcNow();
            await StoreAsync();
        }

        return Shown();
    }

    public Task<SessionView?> ViewAsync() =>
        Task.FromResult(state.State is { CreatedAt: not null, IsDeleted: false } ? Shown() : null);

    public async Task<SubmitAnswer> SubmitAsync(GenerationId id, Submission submission)
    {
        if (state.State.IsDeleted)
        {
            return new SubmitAnswer(SubmitOutcome.Gone, DeletedMessage);
        }

        if (state.State.Count >= ISessionGrain.GenerationsMax)
        {
            return new SubmitAnswer(
                SubmitOutcome.Invalid, $"A session holds at most {ISessionGrain.GenerationsMax} generations; begin a new one.");
        }

        SubmitAnswer answer = await grains.Generation(new GenerationKey(Key.Tenant, id))
            .SubmitAsync(submission with { Session = Key.Id });

        // What was accepted and is not yet remembered, because the answer was lost on the way, is so when it is asked
        // again.
        if (answer.IsAccepted && !await RememberedAsync(id))
        {
            await OpenAsync();
            int last = state.State.Count / ISessionPageGrain.Size;
            state.State.Count = (last * ISessionPageGrain.Size) + await Page(last).AppendAsync(id);
            await StoreAsync();
        }

        return answer;
    }

    public async Task<SubmitAnswer> VaryAsync(GenerationId id, GenerationId of, ulong? seed)
    {
        GenerationView? earlier = await grains.Generation(new GenerationKey(Key.Tenant, of)).ViewAsync();
        if (earlier is null)
        {
            return new SubmitAnswer(SubmitOutcome.Invalid, $"There is no generation '{of}' to vary.");
        }

        GenerationSpec spec = earlier.Submission.Spec;
        return await SubmitAsync(id, earlier.Submission with
        {
            Spec = spec with { Seed = seed ?? unchecked(spec.Seed + 1) }, VariationOf = of,
        });
    }

    public async Task<HistoryPage> HistoryAsync(int start, int count)
    {
        if (start < 0 || count is < 1 or > HistoryMax)
        {
            throw new ArgumentOutOfRangeException(nameof(count), $"History is read from 0 on, 1 to {HistoryMax} at a time.");
        }

        int end = state.State.IsDeleted ? 0 : Math.Min(state.State.Count, start + count);
        var ids = new List<GenerationId>();
        for (int page = start / ISessionPageGrain.Size; page * ISessionPageGrain.Size < end; page++)
        {
            GenerationId[] all = await Page(page).ReadAsync();
            int first = page * ISessionPageGrain.Size;
            ids.AddRange(all.Where((_, i) => first + i >= start && first + i < end));
        }

        GenerationView?[] views = await Task.WhenAll(
            ids.Select(id => grains.Generation(new GenerationKey(Key.Tenant, id)).ViewAsync()));
        return new HistoryPage([.. views.OfType<GenerationView>()], end < state.State.Count ? end : null);
    }

    public async Task<bool> DeleteAsync()
    {
        if (state.State is { CreatedAt: null, IsDeleted: false })
        {
            return true;
        }

        if (!state.State.IsDeleted)
        {
            state.State.IsDeleted = true;
            await StoreAsync();
        }

        if (state.State.Count == 0)
        {
            return true;
        }

        int last = (state.State.Count - 1) / ISessionPageGrain.Size;
        foreach (GenerationId[] part in (await Page(last).ReadAsync()).Chunk(16))
        {
            await Task.WhenAll(part.Select(id => grains.Generation(new GenerationKey(Key.Tenant, id)).DeleteAsync()));
        }

        await Page(last).DeleteAsync();
        state.State.Count = last * ISessionPageGrain.Size;
        await StoreAsync();
        return state.State.Count == 0;
    }

    private async Task<bool> RememberedAsync(GenerationId id)
    {
        int last = state.State.Count / ISessionPageGrain.Size;
        for (int page = last; page >= Math.Max(0, last - 1); page--)
        {
            GenerationId[] all = await Page(page).ReadAsync();
            int counted = state.State.Count - (page * ISessionPageGrain.Size);
            if (all.Take(counted).Contains(id))
            {
                return true;
            }
        }

        return false;
    }

    private SessionView Shown() => new(Key, state.State.CreatedAt ?? default, state.State.Count);

    private ISessionPageGrain Page(int number) => grains.GetGrain<ISessionPageGrain>($"{this.GetPrimaryKeyString()}/{number}");

    private async Task StoreAsync()
    {
        try
        {
            await state.WriteStateAsync();
        }
        catch (Exception)
        {
            DeactivateOnIdle();
            throw;
        }
    }
}

/// <summary>A page as it is stored.</summary>
[GenerateSerializer, Alias("atelier.state.SessionPage")]
internal sealed class SessionPageState
{
    /// <summary>Ids in order.</summary>
    [Id(0)]
    public List<GenerationId> Ids { get; set; } = [];
}

/// <summary>A page of a session's history.</summary>
[GrainType("sessionpage")]
[ControlSilo]
internal sealed class SessionPageGrain([PersistentState("page")] IPersistentState<SessionPageState> state) : Grain, ISessionPageGrain
{
    public async Task<int> AppendAsync(GenerationId id)
    {
        if (!state.State.Ids.Contains(id) && state.State.Ids.Count < ISessionPageGrain.Size)
        {
            state.State.Ids.Add(id);
            try
            {
                await state.WriteStateAsync();
            }
            catch (Exception)
            {
                DeactivateOnIdle();
                throw;
            }
        }

        return state.State.Ids.Count;
    }

    public Task<GenerationId[]> ReadAsync() => Task.FromResult<GenerationId[]>([.. state.State.Ids]);

    public Task DeleteAsync() => state.ClearStateAsync();
}
