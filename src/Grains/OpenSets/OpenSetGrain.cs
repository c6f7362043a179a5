// A partition of the open set as a grain, with the reminder that finds everything again when all else has failed, and
// that forgets what ended long ago.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.OpenSets;
using Atelier.Grains.Hosting;
using Atelier.Grains.Telemetry;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.OpenSets;

/// <summary>Remembers what was accepted and has not ended.</summary>
[GrainType("openset")]
[ControlSilo]
internal sealed class OpenSetGrain(
    [PersistentState("openset")] IPersistentState<OpenSetState> state, GrainsOptions options, TimeProvider clock,
    IGrainFactory grains, OpenSetInstruments instruments, LogLimits limits, ILogger<OpenSetGrain> logger)
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

    // Goes on from a stored state.
    private void Begin()
    {
        _set = new OpenSet(state.State, options.Generation.SubmitTimeout);
        _set.Restart(clock.GetUtcNow());
        _storedSeconds = state.State.RetentionSeconds;
        _retention = new RetentionClock(state.State, options.Generation, clock);
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

    // First into the list of what ended, so that it is forgotten one day. What has ended does no harm here for a while,
    // so many removals share one write.
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

    // The walk is not waited for: generations that are being submitted wait for this grain. One that is asked for while
    // another is under way comes after it: the other has spoken to a queue that may be dead.
    public async Task WalkAsync()
    {
        await GrainCalls.TryAsync(LookAsync);
        _walkIsDue = true;
        if (_walk.IsCompleted)
        {
            _walk = LogFaultsAsync(WalkAllAsync);
        }
    }

    public Task<int> CountAsync() => Task.FromResult(_set.Count);

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
            await this.RegisterOrUpdateReminder(Reminder, options.WalkPeriod, options.WalkPeriod);
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
            instruments.Walked();
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
            // The next walk asks again. Whatever one generation meets, the others are asked.
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

    // Rounds run beside the grain's calls and nobody waits for them.
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

        // The reminder keeps this grain alive; rounds do not wait for the wall clock, as reminders do.
        if (_forget.IsCompleted && clock.GetElapsedTime(_forgetAt) >= options.WalkPeriod)
        {
            _forgetAt = clock.GetTimestamp();
            _forget = LogFaultsAsync(ForgetAsync);
        }

        return _removed || (state.RecordExists && state.State.RetentionSeconds - _storedSeconds >= ClockSecondsMax)
            ? StoreAsync()
            : Task.CompletedTask;
    }

    private async Task StoreAsync()
    {
        try
        {
            _removed = false;
            _storedSeconds = state.State.RetentionSeconds;
            await state.WriteStateAsync();
        }
        catch (Exception)
        {
            // What is in memory may not be what is stored: start again from the store.
            DeactivateOnIdle();
            throw;
        }
    }
}
