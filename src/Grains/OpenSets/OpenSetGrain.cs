// A partition of the open set as a grain. Its reminder drives walks through the set, which recover open work when
// everything else has failed, and retention, which deletes generations and sessions that ended long ago.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.OpenSets;
using Atelier.Grains.Placement;
using Atelier.Grains.Telemetry;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.OpenSets;

/// <summary>Stores the ids of a partition, walks them and applies retention.</summary>
[GrainType("openset")]
[ControlSilo]
internal sealed class OpenSetGrain(
    [PersistentState("openset")] IPersistentState<OpenSetState> state, IOptions<OpenSetOptions> options,
    IOptions<RetentionOptions> retention, TimeProvider clock, IGrainFactory grains, OpenSetInstruments instruments,
    LogLimits limits, ILogger<OpenSetGrain> logger)
    : Grain, IOpenSetGrain, IRemindable
{
    private const string Reminder = "walk";

    // Maximum number of concurrent questions of a walk.
    private const int Fan = 16;

    // Maximum number of hours that retention processes in one round.
    private const int HoursAtATime = 48;

    // Maximum time between two writes of the retention clock, in seconds.
    private const long ClockSecondsMax = 300;

    // Maximum number of pages that wait to be swept again; beyond it, retention pauses.
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
    private int _measured;
    private bool _isGone;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        Begin();
        _forgetAt = clock.GetTimestamp();
        this.RegisterGrainTimer(TickAsync, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1));
        return Task.CompletedTask;
    }

    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        _isGone = true;
        Measure();
        return TickAsync(cancellationToken);
    }

    // Starts from the stored state.
    private void Begin()
    {
        _set = new OpenSet(state.State, options.Value.SubmitTimeout);
        _set.Restart(clock.GetUtcNow());
        _storedSeconds = state.State.RetentionSeconds;
        _retention = new RetentionClock(state.State, retention.Value, clock);
        Measure();
    }

    public async Task<bool> AddAsync(GenerationKey generation) => await EnterAsync(generation) is not null;

    public async Task<long?> EnterAsync(GenerationKey generation)
    {
        await RemindAsync();
        if (!_set.Add(generation, clock.GetUtcNow()))
        {
            return null;
        }

        Measure();
        await StoreAsync();
        return _retention.Hour;
    }

    // The generation is first added to the list of ended ones, so that retention finds it. An ended generation may stay
    // in the stored set for a while, so many removals share one write.
    public async Task RemoveAsync(GenerationKey generation)
    {
        await ListAsync(page => page.AddAsync(generation));
        _removed |= _set.Remove(generation);
        Measure();
    }

    public async Task FileAsync(SessionKey session)
    {
        await RemindAsync();
        await ListAsync(page => page.AddSessionAsync(session));
    }

    // The walk is not awaited, because generations that are being submitted wait for this grain. A walk that is
    // requested during another one runs after it, because the running walk may have offered work to a queue that has
    // died since.
    public async Task WalkAsync()
    {
        await GrainCalls.TryAsync(RefreshAsync);
        _walkIsDue = true;
        if (_walk.IsCompleted)
        {
            _walk = LogFaultsAsync(WalkAllAsync);
        }
    }

    public Task<GenerationId[]> OfAsync(TenantId tenant) => Task.FromResult(_set.Of(tenant));

    public Task ReceiveReminder(string reminderName, TickStatus status) => WalkAsync();

    // Deletes generations and sessions that ended in hours whose retention time is over: a few hours at a time, and the
    // next round continues.
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

    // Sweeps from the last page to the first: after a crash the first pages are left, and retention finds those when it
    // counts pages.
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

    // Retention counts pages from the first, so a page is begun only when the one before it is full, even if calls run
    // concurrently and some fail.
    private async Task ListAsync(Func<IEndedListGrain, Task<bool>> add)
    {
        // The retention clock is stored before anything is listed under its hours: if two activations start it at once,
        // one write wins.
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

    // Registers the reminder once per activation, because one that was registered while the wall clock was ahead would
    // not fire until that time comes.
    private async Task RemindAsync()
    {
        if (!_reminded)
        {
            await this.RegisterOrUpdateReminder(Reminder, options.Value.WalkPeriod, options.Value.WalkPeriod);
            _reminded = true;
        }
    }

    // During a network partition there may be two activations. Without this re-read, ids that the other one added would
    // not be walked before this one writes again. The walk repeats removals that were not stored.
    private async Task RefreshAsync()
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
            instruments.Walked();
            IReadOnlyList<WalkQuestion> questions = _set.Walk(clock.GetUtcNow());
            HashSet<TenantId> closed = await ClosedAsync(questions);
            foreach (WalkQuestion[] part in questions.Chunk(Fan))
            {
                await Task.WhenAll(part.Select(one => AskAsync(one, closed.Contains(one.Generation.Tenant))));
            }
        }
    }

    // The closed tenants among those whose generations are asked. A tenant that does not answer is asked again in the
    // next walk.
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
            instruments.Unanswered();
            LogLevel level = LevelOf(error);
            if (limits.Passes(nameof(OpenSetLog.TenantUnanswered), Labels<LogLevel>.Of(level), out int count))
            {
                logger.TenantUnanswered(level, count, tenant, error);
            }

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
            // The next walk asks again; a failure of one generation does not stop the walk.
            instruments.Unanswered();
            LogLevel level = LevelOf(error);
            if (limits.Passes(nameof(OpenSetLog.GenerationUnanswered), Labels<LogLevel>.Of(level), out int count))
            {
                logger.GenerationUnanswered(level, count, question.Generation, error);
            }
        }
    }

    private static LogLevel LevelOf(Exception error) =>
        GrainCalls.IsTransient(error) ? LogLevel.Information : LogLevel.Error;

    // Rounds are not awaited by the grain's calls, so their failures are logged here.
    private async Task LogFaultsAsync(Func<Task> round)
    {
        try
        {
            await round();
        }
        catch (Exception error)
        {
            logger.RoundFailed(this.GetPrimaryKeyLong(), error);
        }
    }

    private void Measure() => instruments.Size.Move(ref _measured, _isGone ? 0 : _set.Count);

    private Task TickAsync(CancellationToken cancellation)
    {
        _retention.Advance();

        // The reminder keeps this grain active; rounds follow the monotonic clock, reminders the wall clock.
        if (_forget.IsCompleted && clock.GetElapsedTime(_forgetAt) >= options.Value.WalkPeriod)
        {
            _forgetAt = clock.GetTimestamp();
            _forget = LogFaultsAsync(ForgetAsync);
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
}
