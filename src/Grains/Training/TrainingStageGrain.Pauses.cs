// The part of a stage's manager that pauses and resumes the stage, and counts the time of its devices.
using System.Globalization;
using Atelier.Contracts.Training;

namespace Atelier.Grains.Training;

internal sealed partial class TrainingStageGrain
{
    private Task? _telling;
    private double _uncounted;
    private TimeSpan _countedAt;

    public async Task PauseAsync(string reason, bool isImmediate)
    {
        if (_record is not { IsOpen: true } open)
        {
            return;
        }

        // Without trainers there is nobody to reach the next checkpoint.
        if (isImmediate || open.World.World is null || _reports.Count == 0)
        {
            await PauseAsync(open with { Paused = reason, PausesBecause = null });
        }
        else if (open.PausesBecause is null)
        {
            await StoreAsync(open with { PausesBecause = reason });
        }
    }

    public async Task ResumeAsync(double? budgetSeconds)
    {
        if (_record is { IsOver: false } record && (record.Paused ?? record.PausesBecause) is not null)
        {
            // A trainer that missed the pause must not continue from a state that is in doubt.
            int next = (record.World.World?.Number ?? 0) + 1;
            bool wasPaused = record.Paused is not null;
            await StoreAsync(record with
            {
                Paused = null,
                PausesBecause = null,
                BudgetSeconds = budgetSeconds,
                World = wasPaused ? record.World.Ended(next, isDoubted: false) : record.World,
            });
            if (wasPaused)
            {
                _isTold = false;
                StartManager();
            }
        }
        else if (_record is { IsOver: false } running && running.BudgetSeconds != budgetSeconds)
        {
            await StoreAsync(running with { BudgetSeconds = budgetSeconds });
        }
    }

    public Task EarlierResumeAsync() => ResumeAsync(_record?.BudgetSeconds);

    // Not awaited by the timer, because the run may be calling this grain.
    private async Task TellAsync(StageRecord record)
    {
        ITrainingRunGrain run = grains.GetGrain<ITrainingRunGrain>(Run);
        bool isTold = await GrainCalls.TryAsync(() => record.IsOver
            ? run.StageEndedAsync(Stage, record.Failure, record.DeviceSeconds) : run.StagePausedAsync(Stage));
        _isTold = isTold && _record == record;
    }

    // Counts the time of devices that compute shards. What was not stored with a change is lost if the manager dies.
    private void Count()
    {
        (TimeSpan before, _countedAt) = (_countedAt, Now);
        if (_record?.World.World is { } world)
        {
            TimeSpan used = (Now - before) * world.Members.Count(member => member.Shards.Count > 0
                && _reports.TryGetValue(member.Id, out (StageReport Report, TimeSpan At) one)
                && !one.Report.Trainer.IsServing);
            _uncounted += used.TotalSeconds;
            instruments.Used(used);
        }
    }

    // The stage pauses at a checkpoint if the next interval would exceed the budget, so that no step is lost; if
    // the budget is used up before that, it pauses at once.
    private async Task CheckBudgetAsync()
    {
        if (_record is { IsOpen: true, BudgetSeconds: { } budget } open && open.DeviceSeconds + _uncounted >= budget)
        {
            await PauseAsync(open with { Paused = BudgetText(budget, open.DeviceSeconds + _uncounted) });
        }
    }

    private static string BudgetText(double budget, double used) => string.Create(
        CultureInfo.InvariantCulture,
        $"the budget of {budget:f0} device-seconds does not suffice for another checkpoint interval ({used:f0} are "
        + $"used); resume the run with a larger budget");

    private async Task PauseAsync(StageRecord paused)
    {
        _isTold = false;
        await StoreAsync(paused);
        logger.StagePaused(_key, paused.Paused!);
        WakeAll();
        StartManager();
    }

    private string? PauseAtCheckpoint(double interval)
    {
        double used = _record!.DeviceSeconds + _uncounted;
        return _record.World.SafeStep >= _record.Steps ? null
            : _record.PausesBecause
            ?? (_record.BudgetSeconds is { } budget && used + interval > budget
                ? BudgetText(budget, used) : null);
    }
}
