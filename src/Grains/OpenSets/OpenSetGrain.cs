// A partition of the open set as a grain, with the reminder that finds everything again when all else has failed.
using Atelier.Contracts;
using Atelier.Grains.Hosting;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.OpenSets;

/// <summary>Remembers what was accepted and has not ended.</summary>
[GrainType("openset")]
[ControlSilo]
internal sealed partial class OpenSetGrain(
    [PersistentState("openset")] IPersistentState<OpenSetState> state, GrainsOptions options, TimeProvider clock,
    IGrainFactory grains, ILogger<OpenSetGrain> logger)
    : Grain, IOpenSetGrain, IRemindable
{
    private const string Reminder = "walk";

    // Questions on their way at a time.
    private const int Fan = 16;

    // Hours that are forgotten after one reminder.
    private const int HoursAtATime = 48;

    private OpenSet _set = null!;
    private Task _forget = Task.CompletedTask;
    private long _endedHour;
    private int _endedPage;
    private Task _walk = Task.CompletedTask;
    private bool _walkIsDue;
    private bool _reminded;
    private bool _removed;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _set = new OpenSet(state.State, options.Generation.SubmitTimeout);
        this.RegisterGrainTimer(StoreRemovalsAsync, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1));
        return Task.CompletedTask;
    }

    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken) =>
        StoreRemovalsAsync(cancellationToken);

    public async Task<bool> AddAsync(GenerationKey generation)
    {
        if (!_reminded)
        {
            if (state.State.ForgottenHour == 0)
            {
                state.State.ForgottenHour = HourOf(clock.GetUtcNow()) - 1;
            }

            await this.RegisterOrUpdateReminder(Reminder, options.WalkPeriod, options.WalkPeriod);
            _reminded = true;
        }

        if (!_set.Add(generation, clock.GetUtcNow()))
        {
            return false;
        }

        await StoreAsync();
        return true;
    }

    // First into the list of what ended, so that it is forgotten one day. What has ended does no harm here for a while,
    // so many removals share one write.
    public async Task RemoveAsync(GenerationKey generation)
    {
        long hour = HourOf(clock.GetUtcNow());
        if (hour != _endedHour)
        {
            (_endedHour, _endedPage) = (hour, 0);
        }

        while (!await EndedList(hour, _endedPage).AddAsync(generation))
        {
            _endedPage++;
        }

        _removed |= _set.Remove(generation);
    }

    // The walk is not waited for: generations that are being submitted wait for this grain. One that is asked for while
    // another is under way comes after it: the other has spoken to a queue that may be dead.
    public Task WalkAsync()
    {
        _walkIsDue = true;
        if (_walk.IsCompleted)
        {
            _walk = WalkAllAsync();
        }

        return Task.CompletedTask;
    }

    public Task<int> CountAsync() => Task.FromResult(_set.Count);

    public async Task ReceiveReminder(string reminderName, TickStatus status)
    {
        await WalkAsync();
        if (_forget.IsCompleted)
        {
            _forget = ForgetAsync();
        }
    }

    // Hours whose last generation has had its retention time. A few at a time; the next reminder goes on.
    private async Task ForgetAsync()
    {
        long last = HourOf(clock.GetUtcNow() - options.Generation.Retention) - 1;
        for (int i = 0; i < HoursAtATime && state.State.ForgottenHour < last; i++)
        {
            long hour = state.State.ForgottenHour + 1;
            try
            {
                for (int page = 0; await EndedList(hour, page).ForgetAsync(); page++)
                {
                }
            }
            catch (Exception error) when (GrainCalls.IsTransient(error))
            {
                return;
            }

            state.State.ForgottenHour = hour;
            _removed = true;
        }
    }

    private static long HourOf(DateTimeOffset time) => time.ToUnixTimeSeconds() / 3600;

    private IEndedListGrain EndedList(long hour, int page) =>
        grains.GetGrain<IEndedListGrain>($"{hour}/{this.GetPrimaryKeyLong()}/{page}");

    private async Task WalkAllAsync()
    {
        while (_walkIsDue)
        {
            _walkIsDue = false;
            foreach (WalkQuestion[] part in _set.Walk(clock.GetUtcNow()).Chunk(Fan))
            {
                await Task.WhenAll(part.Select(AskAsync));
            }
        }
    }

    private async Task AskAsync(WalkQuestion question)
    {
        try
        {
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

    private Task StoreRemovalsAsync(CancellationToken cancellation) => _removed ? StoreAsync() : Task.CompletedTask;

    private async Task StoreAsync()
    {
        try
        {
            _removed = false;
            await state.WriteStateAsync();
        }
        catch (Exception)
        {
            // What is in memory may not be what is stored: start again from the store.
            DeactivateOnIdle();
            throw;
        }
    }

    [LoggerMessage(Message = "Generation {Generation} did not see to its work; the next walk asks it again")]
    private partial void LogUnasked(LogLevel level, GenerationKey generation, Exception error);
}
