// A partition of the open set as a grain, with the reminder that finds everything again when all else has failed, and
// that forgets what ended long ago.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Contracts.OpenSets;
using Atelier.Grains.Placement;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.OpenSets;

/// <summary>Remembers what was accepted and has not ended.</summary>
[GrainType("openset")]
[ControlSilo]
internal sealed partial class OpenSetGrain(
    [PersistentState("openset")] IPersistentState<OpenSetState> state, IOptions<OpenSetOptions> options,
    IOptions<RetentionOptions> retention, TimeProvider clock, IGrainFactory grains, ILogger<OpenSetGrain> logger)
    : Grain, IOpenSetGrain, IRemindable
{
    private const string Reminder = "walk";

    // Questions on their way at a time.
    private const int Fan = 16;

    // Hours that are forgotten in one round.
    private const int HoursAtATime = 48;

    // The clock is stored at least this often.
    private const long ClockSecondsMax = 300;

    // Pages that wait to be swept again; with more than these, retention waits for them.
    private const int UnfinishedMax = 64;

    private OpenSet _set = null!;
    private RetentionClock _retention = null!;
    private long _storedSeconds;
    private Task _forget = Task.CompletedTask;
    private long _forgetAt;
    private long _endedHour;
    private int _endedPage;
    private Task _walk = Task.CompletedTask;
    private bool _walkIsDue;
    private bool _reminded;
    private bool _removed;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        Begin();
        _forgetAt = clock.GetTimestamp();
        this.RegisterGrainTimer(TickAsync, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1));
        return Task.CompletedTask;
    }

    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken) =>
        TickAsync(cancellationToken);

    // Goes on from a stored state.
    private void Begin()
    {
        _set = new OpenSet(state.State, options.Value.SubmitTimeout);
        _set.Restart(clock.GetUtcNow());
        _storedSeconds = state.State.RetentionSeconds;
        _retention = new RetentionClock(state.State, retention.Value, clock);
    }

    public async Task<bool> AddAsync(GenerationKey generation) => await EnterAsync(generation) is not null;

    public async Task<long?> EnterAsync(GenerationKey generation)
    {
        await RemindAsync();
        if (!_set.Add(generation, clock.GetUtcNow()))
        {
            return null;
        }

        await StoreAsync();
        return _retention.Hour;
    }

    // First into the list of what ended, so that it is forgotten one day. What has ended does no harm here for a while,
    // so many removals share one write.
    public async Task RemoveAsync(GenerationKey generation)
    {
        await ListAsync(page => page.AddAsync(generation));
        _removed |= _set.Remove(generation);
    }

    public async Task FileAsync(SessionKey session)
    {
        await RemindAsync();
        await ListAsync(page => page.AddSessionAsync(session));
    }

    // The walk is not waited for: generations that are being submitted wait for this grain. One that is asked for while
    // another is under way comes after it: the other has spoken to a queue that may be dead.
    public async Task WalkAsync()
    {
        await GrainCalls.TryAsync(LookAsync);
        _walkIsDue = true;
        if (_walk.IsCompleted)
        {
            _walk = WalkAllAsync();
        }
    }

    public Task<GenerationId[]> OfAsync(TenantId tenant) => Task.FromResult(_set.Of(tenant));

    public Task ReceiveReminder(string reminderName, TickStatus status) => WalkAsync();

    // Hours whose last generation has had its retention time. A few at a time; the next round goes on.
    private async Task ForgetAsync()
    {
        foreach (string page in state.State.Unfinished.ToArray())
        {
            if (await SweepAsync(page))
            {
                _removed |= state.State.Unfinished.Remove(page);
            }
        }

        for (int i = 0; i < HoursAtATime && state.State.ForgottenHour < _retention.DueHour; i++)
        {
            if (state.State.Unfinished.Count > UnfinishedMax
                || !await GrainCalls.TryAsync(() => ForgetAsync(state.State.ForgottenHour + 1)))
            {
                return;
            }
        }
    }

    // From the last page to the first: those that are left after any death are the first ones, and are found by
    // counting.
    private async Task ForgetAsync(long hour)
    {
        int pages = 0;
        while (await EndedList(hour, pages).CountAsync() > 0)
        {
            pages++;
        }

        while (--pages >= 0)
        {
            string page = $"{hour}/{pages}";
            if (!await SweepAsync(page) && state.State.Unfinished.Add(page))
            {
                await StoreAsync();
            }
        }

        state.State.ForgottenHour = hour;
        _removed = true;
    }

    private Task<bool> SweepAsync(string page)
    {
        int[] numbers = [.. page.Split('/').Select(part => int.Parse(part, CultureInfo.InvariantCulture))];
        return GrainCalls.TryAsync(() => EndedList(numbers[0], numbers[1]).SweepAsync(_retention.Hour));
    }

    // Retention counts pages from the first, so a page is begun only when the one before it is full, also while calls
    // run concurrently and some fail.
    private async Task ListAsync(Func<IEndedListGrain, Task<bool>> add)
    {
        // The clock is stored before anything is listed by it: if two activations begin it at once, one write wins.
        if (!state.RecordExists)
        {
            await StoreAsync();
        }

        long hour = _retention.Hour;
        if (hour != _endedHour)
        {
            (_endedHour, _endedPage) = (hour, 0);
        }

        int page = _endedPage;
        while (!await add(EndedList(hour, page)))
        {
            page++;
        }

        if (hour == _endedHour)
        {
            _endedPage = Math.Max(_endedPage, page);
        }
    }

    private IEndedListGrain EndedList(long hour, int page) =>
        grains.GetGrain<IEndedListGrain>($"{hour}/{this.GetPrimaryKeyLong()}/{page}");

    // Once an activation: a reminder that was registered by a clock that was ahead would not fire until that time
    // comes.
    private async Task RemindAsync()
    {
        if (!_reminded)
        {
            await this.RegisterOrUpdateReminder(Reminder, options.Value.WalkPeriod, options.Value.WalkPeriod);
            _reminded = true;
        }
    }

    // While a cluster is parted there may be two activations. What the other one has entered, this one would not walk
    // through before it next writes; what it has removed and not stored, walks remove again.
    private async Task LookAsync()
    {
        (OpenSetState held, string? tag) = (state.State, state.Etag);
        await state.ReadStateAsync();
        if (state.Etag == tag)
        {
            state.State = held;
        }
        else
        {
            Begin();
        }
    }

    private async Task WalkAllAsync()
    {
        if (state.RecordExists)
        {
            await GrainCalls.TryAsync(RemindAsync);
        }

        while (_walkIsDue)
        {
            _walkIsDue = false;
            IReadOnlyList<WalkQuestion> questions = _set.Walk(clock.GetUtcNow());
            HashSet<TenantId> closed = await ClosedAsync(questions);
            foreach (WalkQuestion[] part in questions.Chunk(Fan))
            {
                await Task.WhenAll(part.Select(one => AskAsync(one, closed.Contains(one.Generation.Tenant))));
            }
        }
    }

    // Tenants that were closed. One that does not answer is asked in the next walk.
    private async Task<HashSet<TenantId>> ClosedAsync(IReadOnlyList<WalkQuestion> questions)
    {
        var closed = new HashSet<TenantId>();
        foreach (TenantId[] part in questions.Select(one => one.Generation.Tenant).Distinct().Chunk(Fan))
        {
            bool[] answers = await Task.WhenAll(part.Select(IsClosedAsync));
            closed.UnionWith(part.Where((_, i) => answers[i]));
        }

        return closed;
    }

    private async Task<bool> IsClosedAsync(TenantId tenant)
    {
        try
        {
            return await grains.Tenant(tenant).IsClosedAsync();
        }
        catch (Exception error)
        {
            LogUnanswered(GrainCalls.IsTransient(error) ? LogLevel.Information : LogLevel.Error, tenant, error);
            return false;
        }
    }

    private async Task AskAsync(WalkQuestion question, bool isClosed)
    {
        try
        {
            if (isClosed)
            {
                await grains.Generation(question.Generation).CancelAsync();
            }

            if (!await grains.Generation(question.Generation).EnsureQueuedAsync(question.Late))
            {
                await RemoveAsync(question.Generation);
            }
        }
        catch (Exception error)
        {
            // The next walk asks again. Whatever one generation meets, the others are asked.
            LogLevel level = GrainCalls.IsTransient(error) ? LogLevel.Information : LogLevel.Error;
            LogUnasked(level, question.Generation, error);
        }
    }

    private Task TickAsync(CancellationToken cancellation)
    {
        _retention.Advance();

        // The reminder keeps this grain alive; rounds do not wait for the wall clock, as reminders do.
        if (_forget.IsCompleted && clock.GetElapsedTime(_forgetAt) >= options.Value.WalkPeriod)
        {
            _forgetAt = clock.GetTimestamp();
            _forget = ForgetAsync();
        }

        return _removed || (state.RecordExists && state.State.RetentionSeconds - _storedSeconds >= ClockSecondsMax)
            ? StoreAsync()
            : Task.CompletedTask;
    }

    private Task StoreAsync()
    {
        _removed = false;
        _storedSeconds = state.State.RetentionSeconds;
        return state.WriteOrDeactivateAsync(this);
    }

    [LoggerMessage(Message = "Tenant {Tenant} did not say whether it is closed; the next walk asks it again")]
    private partial void LogUnanswered(LogLevel level, TenantId tenant, Exception error);

    [LoggerMessage(Message = "Generation {Generation} did not see to its work; the next walk asks it again")]
    private partial void LogUnasked(LogLevel level, GenerationKey generation, Exception error);
}
