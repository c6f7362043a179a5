// Sessions as grains. A session stores how many generations it has; their ids are in pages of fixed size, and the
// generations themselves are asked for their state. A generation is put on a page before it is accepted, and the
// generation's own state records its index. Other entries of a page, left because an answer was lost, do not count.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Sessions;
using Atelier.Contracts.Tenants;
using Atelier.Grains.OpenSets;
using Atelier.Grains.Placement;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.Sessions;

/// <summary>The stored state of a session.</summary>
[GenerateSerializer, Alias("atelier.state.Session")]
internal sealed class SessionState
{
    /// <summary>When the session was opened; null if it was not.</summary>
    [Id(0)]
    public DateTimeOffset? CreatedAt { get; set; }

    /// <summary>Number of places in the session's history that are in use.</summary>
    [Id(1)]
    public int Count { get; set; }

    /// <summary>Whether the session was deleted.</summary>
    [Id(2)]
    public bool IsDeleted { get; set; }

    /// <summary>Whether the session counts against its tenant's limit and is listed for retention.</summary>
    [Id(3)]
    public bool IsListed { get; set; }

    /// <summary>Whether the session was used, or deleted, since retention last checked it.</summary>
    [Id(4)]
    public bool IsUsed { get; set; }

    /// <summary>The hour of the partition's retention clock at which the session was last found in use.</summary>
    [Id(5)]
    public long UsedHour { get; set; }

    /// <summary>
    /// The partition of the open set in which the session is listed and whose clock counts its hours; null if its id
    /// determines the partition.
    /// </summary>
    [Id(6)]
    public int? Partition { get; set; }
}

/// <summary>A session: submits and varies generations, keeps their history and deletes them together.</summary>
[GrainType("session")]
[ControlSilo]
internal sealed class SessionGrain(
    [PersistentState("session")] IPersistentState<SessionState> state, IOptions<RetentionOptions> retention,
    OpenSetMap openSets, TimeProvider clock, IGrainFactory grains, SessionInstruments instruments)
    : Grain, ISessionGrain
{
    private const int HistoryMax = 100;

    // Maximum number of pages that are cleared in one call.
    private const int PagesAtATime = 16;
    private const string DeletedMessage = "This session was deleted; open a new one under another id.";

    private SessionKey Key => SessionKey.TryParse(this.GetPrimaryKeyString(), out SessionKey key)
        ? key
        : throw new ArgumentException(
            $"'{this.GetPrimaryKeyString()}' is not a session's key; it must be tenant/session, each {Names.Rule}.");

    public async Task<SessionAnswer> BeginAsync() =>
        await RefusalAsync() is { } refusal ? new SessionAnswer(null, refusal) : new SessionAnswer(Shown());

    public Task<SessionView?> ViewAsync() =>
        Task.FromResult(state.State is { CreatedAt: not null, IsDeleted: false } ? Shown() : null);

    public async Task<SubmitAnswer> SubmitAsync(GenerationId id, Submission submission)
    {
        IGenerationGrain generation = grains.Generation(new GenerationKey(Key.Tenant, id));
        if (state.State.Count >= ISessionGrain.GenerationsMax && await generation.ViewAsync() is null)
        {
            return new SubmitAnswer(
                SubmitOutcome.Invalid,
                $"A session has at most {ISessionGrain.GenerationsMax} generations; open a new one.");
        }

        return await RefusalAsync() ?? await generation.SubmitAsync(submission with { Session = Key.Id });
    }

    // Called by a generation while the submission that this grain has forwarded to it is in progress.
    public async Task<int?> ListAsync(GenerationId id)
    {
        if (state.State.IsDeleted)
        {
            return null;
        }

        int page = state.State.Count / ISessionPageGrain.Size, place;
        while ((place = await Page(page).PutAsync(id)) < 0)
        {
            page++;
        }

        int index = (page * ISessionPageGrain.Size) + place;
        if (index >= state.State.Count && !state.State.IsDeleted)
        {
            state.State.Count = index + 1;
            await StoreAsync();
        }

        if (!state.State.IsDeleted)
        {
            return index;
        }

        // The session was deleted meanwhile, and the deletion does not reach a page beyond the count.
        if (index >= state.State.Count)
        {
            await Page(page).DropAsync([id]);
        }

        return null;
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
            Spec = spec with { Seed = seed ?? unchecked(spec.Seed + 1) },
            VariationOf = of,
        });
    }

    public async Task<HistoryPage> HistoryAsync(int start, int count)
    {
        if (start < 0 || count is < 1 or > HistoryMax)
        {
            throw new ArgumentOutOfRangeException(
                nameof(count), $"The history is read from index 0 on, 1 to {HistoryMax} generations at a time.");
        }

        int end = state.State.IsDeleted ? 0 : Math.Min(state.State.Count, start + count);
        var shown = new List<GenerationView>();
        for (int page = start / ISessionPageGrain.Size; page * ISessionPageGrain.Size < end; page++)
        {
            int first = page * ISessionPageGrain.Size;
            (GenerationId Id, int Index)[] part =
            [
                .. (await Page(page).ReadAsync()).Select((id, i) => (id, first + i))
                    .Where(one => one.id.Value is { Length: > 0 } && one.Item2 >= start && one.Item2 < end),
            ];
            GenerationView?[] views = await Task.WhenAll(
                part.Select(one => grains.Generation(new GenerationKey(Key.Tenant, one.Id)).ViewAsync()));
            shown.AddRange(part.Zip(views)
                .Where(one => one.Second?.Submission.Session == Key.Id
                    && (one.Second.SessionIndex ?? one.First.Index) == one.First.Index)
                .Select(one => one.Second!));

            // The last pages are not changed, because they may have generations that are about to be accepted.
            GenerationId[] gone = [.. part.Zip(views).Where(one => one.Second is null).Select(one => one.First.Id)];
            if (gone.Length > 0 && page + 1 < state.State.Count / ISessionPageGrain.Size)
            {
                await GrainCalls.TryAsync(() => Page(page).DropAsync(gone));
            }
        }

        return new HistoryPage([.. shown], end < state.State.Count ? end : null);
    }

    public async Task<bool> DeleteAsync()
    {
        // During a network partition there may be two activations, and the other one may have opened the session.
        if (!IsKnown())
        {
            await state.ReadStateAsync();
        }

        if (!IsKnown())
        {
            return true;
        }

        if (!state.State.IsDeleted)
        {
            if (!state.State.IsListed)
            {
                await FileAsync();
            }

            (state.State.IsDeleted, state.State.IsListed, state.State.IsUsed) = (true, true, true);
            await StoreAsync();
            instruments.Deleted();
        }

        await grains.Tenant(Key.Tenant).EndSessionAsync(Key.Id);
        await DropUncountedAsync();
        if (state.State.Count == 0)
        {
            return true;
        }

        int last = (state.State.Count - 1) / ISessionPageGrain.Size;
        GenerationId[] all = await Page(last).ReadAsync();
        foreach (GenerationId[] part in all.Where(id => id.Value is { Length: > 0 }).Chunk(16))
        {
            await Task.WhenAll(
                part.Select(id => grains.Generation(new GenerationKey(Key.Tenant, id)).DeleteInAsync(Key.Id)));
        }

        await DropPageAsync(last);
        return state.State.Count == 0;
    }

    public async Task<bool> ForgetAsync(long hour)
    {
        SessionState session = state.State;
        if (session.IsUsed)
        {
            await FileAsync();
            (session.IsUsed, session.UsedHour) = (false, hour);
            await StoreAsync();
            return true;
        }

        TimeSpan kept = session.IsDeleted ? retention.Value.Generations : retention.Value.Sessions;
        if (session.IsListed && hour - session.UsedHour < kept.TotalHours)
        {
            await FileAsync();
            return true;
        }

        // Resumes an interrupted deletion, or deletes the pages of an unused session, whose generations have retention
        // times of their own.
        for (int i = 0; i < PagesAtATime && session.Count > 0; i++)
        {
            await (session.IsDeleted ? DeleteAsync() : DropPageAsync((session.Count - 1) / ISessionPageGrain.Size));
        }

        if (session.Count > 0)
        {
            return false;
        }

        await DropUncountedAsync();
        await grains.Tenant(Key.Tenant).EndSessionAsync(Key.Id);
        await state.ClearStateAsync();
        DeactivateOnIdle();
        return true;
    }

    // Opens the session for use, and returns null; or returns why it may not be used. A session of format 0 is counted
    // at its first use.
    private async Task<SubmitAnswer?> RefusalAsync()
    {
        if (state.State.IsDeleted)
        {
            return new SubmitAnswer(SubmitOutcome.Gone, DeletedMessage);
        }

        if (state.State is { IsListed: true, IsUsed: true })
        {
            return null;
        }

        if (!state.State.IsListed)
        {
            bool begun = state.State.CreatedAt is not null;
            Admission admission = await grains.Tenant(Key.Tenant).AdmitSessionAsync(Key.Id, begun);
            if (admission.Outcome != AdmissionOutcome.Admitted)
            {
                SubmitOutcome outcome = admission.Outcome switch
                {
                    AdmissionOutcome.RateLimited => SubmitOutcome.RateLimited,
                    AdmissionOutcome.TooManySessions => SubmitOutcome.TooManySessions,
                    AdmissionOutcome.TooMuchStored => SubmitOutcome.TooMuchStored,
                    AdmissionOutcome.StoreFull => SubmitOutcome.StoreFull,
                    _ => SubmitOutcome.UnknownTenant,
                };
                return new SubmitAnswer(outcome, admission.Message, admission.RetryAfter);
            }
        }

        // The tenant has listed the session in this partition.
        state.State.Partition ??= state.State.IsListed ? null : (await openSets.PartitionsOfAsync(Key.ToString()))[0];
        bool isNew = state.State.CreatedAt is null;
        state.State.CreatedAt ??= clock.GetUtcNow();
        (state.State.IsListed, state.State.IsUsed) = (true, true);
        await StoreAsync();
        if (isNew)
        {
            instruments.Opened();
        }

        return null;
    }

    private async Task FileAsync()
    {
        state.State.Partition ??= state.State.IsListed
            ? StableParts.Of(Key.ToString(), OpenSet.PartitionsOfFormat0)
            : (await openSets.PartitionsOfAsync(Key.ToString()))[0];
        await grains.GetGrain<IOpenSetGrain>(state.State.Partition.Value).FileAsync(Key);
    }

    // Deletes a page that a submission began but that was never counted, because the write failed or came too late.
    private Task DropUncountedAsync() => state.State.Count % ISessionPageGrain.Size == 0
        ? Page(state.State.Count / ISessionPageGrain.Size).DeleteAsync()
        : Task.CompletedTask;

    private async Task DropPageAsync(int page)
    {
        await Page(page).DeleteAsync();
        state.State.Count = page * ISessionPageGrain.Size;
        await StoreAsync();
    }

    private bool IsKnown() => state.State.CreatedAt is not null || state.State.IsDeleted;

    private SessionView Shown() => new(Key, state.State.CreatedAt ?? default, state.State.Count);

    private ISessionPageGrain Page(int number) =>
        grains.GetGrain<ISessionPageGrain>($"{this.GetPrimaryKeyString()}/{number}");

    private Task StoreAsync() => state.WriteOrDeactivateAsync(this);
}

/// <summary>The stored state of a page.</summary>
[GenerateSerializer, Alias("atelier.state.SessionPage")]
internal sealed class SessionPageState
{
    /// <summary>Ids of generations, in order.</summary>
    [Id(0)]
    public List<GenerationId> Ids { get; set; } = [];
}

/// <summary>A page of a session's history.</summary>
[GrainType("sessionpage")]
[ControlSilo]
internal sealed class SessionPageGrain(
    [PersistentState("page")] IPersistentState<SessionPageState> state, SessionInstruments instruments)
    : Grain, ISessionPageGrain
{
    public async Task<int> PutAsync(GenerationId id)
    {
        int place = state.State.Ids.IndexOf(id);
        if (place < 0 && state.State.Ids.Count < ISessionPageGrain.Size)
        {
            place = state.State.Ids.Count;
            state.State.Ids.Add(id);
            await StoreAsync();
            if (place == 0)
            {
                instruments.PageBegun();
            }
        }

        return place;
    }

    public async Task DropAsync(GenerationId[] ids)
    {
        state.State.Ids = [.. state.State.Ids.Select(id => ids.Contains(id) ? default : id)];
        if (state.State.Ids.TrueForAll(id => id == default))
        {
            await DeleteAsync();
        }
        else
        {
            await StoreAsync();
        }
    }

    public Task<GenerationId[]> ReadAsync() => Task.FromResult<GenerationId[]>([.. state.State.Ids]);

    public Task DeleteAsync() => state.ClearOrDeactivateAsync(this);

    private Task StoreAsync() => state.WriteOrDeactivateAsync(this);
}
