// The manager of a stage: the pure protocol (StageManager) with a clock and a store. Everything is stored before
// trainers are notified. Training continues while the grain is unavailable; only changes of membership and commits
// wait.
using System.Collections.Immutable;
using Atelier.Contracts.Training;
using Atelier.Grains.Placement;
using Atelier.Grains.Ports;
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Atelier.Training.Stages;
using Atelier.Training.Worlds;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.Training;

/// <summary>Manages a stage.</summary>
[GrainType("trainingstage")]
[ControlSilo]
internal sealed partial class TrainingStageGrain(
    [PersistentState("stage")] IPersistentState<TrainingStageState> state, IOptions<TrainerOptions> options,
    IBlobStore blobs, IGrainFactory grains, TimeProvider clock, TrainingInstruments instruments,
    ILogger<TrainingStageGrain> logger)
    : Grain, ITrainingStageGrain, IRemindable
{
    private readonly long _startedAt = clock.GetTimestamp();
    private readonly Dictionary<TrainerId, (StageReport Report, TimeSpan At)> _reports = [];
    private StageRecord? _record;
    private StageManager? _manager;
    private bool _isTold;

    // Number of notes that are kept.
    private const int NotesMax = 32;

    private string _key = "";

    private TimeSpan Now => clock.GetElapsedTime(_startedAt);

    private string Run => OpenRun.Parse(_key).Run.Value;

    private int Stage => OpenRun.Parse(_key).Stage;

    private BlobOwner Owner => new(BlobOwnerType.Run, Run);

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _key = this.GetPrimaryKeyString();
        _record = TrainingJson.Read<StageRecord>(state.State.Record);
        StartManager();

        TimeSpan period = options.Value.HeartbeatPeriod / 4;
        this.RegisterGrainTimer(TickAsync, period, period);
        return Task.CompletedTask;
    }

    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        _level.Remove();
        return Task.CompletedTask;
    }

    public async Task BeginJsonAsync(string plan, double? budgetSeconds)
    {
        if (_record is null)
        {
            await StoreAsync(new StageRecord(TrainingJson.Read<StagePlan>(plan)!, new WorldRecord(null, 0))
            {
                BudgetSeconds = budgetSeconds,
            });
        }
    }

    public Task EarlierBeginJsonAsync(string plan) => BeginJsonAsync(plan, null);

    public Task<string?> PlanJsonAsync() =>
        Task.FromResult(_record is not { IsOpen: true } record ? null : TrainingJson.Write(record.Plan with
        {
            OrderVersion = record.Identity is { } identity ? RunIdentity.Parse(identity).OrderVersion : null,
        }));

    public async Task<string> ReportJsonAsync(string report) =>
        TrainingJson.Write(await ReportAsync(TrainingJson.Read<StageReport>(report)!));

    private async Task<StageAnswer> ReportAsync(StageReport report)
    {
        if (_record is not { IsOpen: true })
        {
            return new StageAnswer { IsOver = true, SafeStep = _record?.World.SafeStep ?? 0 };
        }

        if (report.Identity != (_record.Identity ?? report.Identity))
        {
            RunIdentity own = RunIdentity.Parse(report.Identity), begun = RunIdentity.Parse(_record.Identity!);
            string reason = $"{report.Trainer.Id} would not compute the same bits as the first trainer of this stage: "
                + string.Join("; ", own.Differences(begun)) + ".";
            NoteRefusal(report.Worker, reason);
            return new StageAnswer { Refusal = reason };
        }

        if (_manager is null)
        {
            await StoreAsync(_record with
            {
                Identity = report.Identity,
                Parameters = report.Parameters,
                Shards = report.Shards,
                Steps = report.Steps,
                Vectors = report.Vectors,
                CheckpointsKept = report.CheckpointsKept,
                Panels = new StagePanels { Interval = report.PanelInterval, Last = report.BeginsAt },
                World = _record.World with { SafeStep = report.BeginsAt },
            });
            StartManager();
        }

        if (_record.Panels.Interval == 0 && report.PanelInterval > 0)
        {
            // A trainer of an earlier release has begun the stage.
            await StoreAsync(_record with
            {
                Panels = _record.Panels with { Interval = report.PanelInterval, Last = _record.World.SafeStep },
            });
        }

        _refusals.Remove(report.Worker);
        _reports[report.Trainer.Id] = (report, Now);
        (ManagerAnswer answer, IReadOnlyList<PartTask> tasks) = _manager!.Receive(report.Trainer, report.State, Now);
        if (_manager.IsStale)
        {
            DeactivateOnIdle(); // Another activation has stored a later world; the next one starts from the store.
            throw new InvalidOperationException("The manager's state is stale; report again.");
        }

        await AdvanceAsync();
        if (report.End is { } end && IsMember(report) && _record is { IsOpen: true } open
            && open.World.SafeStep == open.Steps)
        {
            await EndAsync(_record with { End = end });
        }

        return new StageAnswer
        {
            Manager = _record.IsOpen ? answer : null,
            SafeStep = _record.World.SafeStep,
            Returned = _record.World.Returned,
            Tasks = [.. tasks],
            IsOver = !_record.IsOpen,
        };
    }

    public Task<string?> CheckpointJsonAsync(long step) =>
        Task.FromResult(TextOf(_record?.Checkpoints.LastOrDefault(checkpoint => checkpoint.Step == step)));

    public Task<string?> LastJsonAsync() => Task.FromResult(TextOf(_record?.Checkpoints.LastOrDefault()));

    public async Task EndAsync()
    {
        if (_record is { IsOver: false })
        {
            await StoreAsync(_record with { IsCancelled = true });
            WakeAll();
        }
    }

    private void StartManager() => _manager = _record is not { IsOpen: true, Shards: > 0 } record ? null
        : new StageManager(
            options.Value.Worlds(), record.Shards, record.Vectors, new CheckpointLayout(record.Parameters).Parts,
            record.World, Now);

    private async Task EndAsync(StageRecord ended)
    {
        await RemindOfPanelsAsync(ended);
        await StoreAsync(ended);
        WakeAll();
        logger.StageEnded(_key, ended.Failure ?? "complete");
    }

    // A stage that has ended or is paused notifies its run until the run has confirmed it.
    private async Task TickAsync(CancellationToken cancellation)
    {
        RemoveLost();
        Count();
        Measure();
        if (_record is { IsOpen: true } && _manager is not null)
        {
            await AdvanceAsync();
            await CheckBudgetAsync();
        }
        else if (_record is { IsOpen: false, IsCancelled: false } && !_isTold && _telling is not { IsCompleted: false })
        {
            _telling = TellAsync(_record);
        }

        await AskForPanelAsync();
    }

    private async Task AdvanceAsync()
    {
        int asking = _manager!.Asking;
        StageManager manager = _manager;
        if (manager.Tick(Now) is { } change)
        {
            await StoreAsync(change);
        }

        if (manager == _manager && manager.Asking > asking)
        {
            WakeAll();
        }
    }

    private async Task StoreAsync(StageChange change)
    {
        if (change.Fails)
        {
            await EndAsync(_record! with { Failure = change.Reason });
            return;
        }

        ImmutableArray<CheckpointManifest> before = _record!.Checkpoints;
        StageRecord noted = Noted(change);
        if (change.Checkpoint is { } committed)
        {
            noted = noted with { Checkpoints = before.Add(committed) };
            if (committed.IsPlanned || committed.Step == noted.Steps)
            {
                (StagePanels panels, long? skipped) = noted.Panels.Committed(
                    committed.Step, committed.Step == noted.Steps);
                noted = noted with { Panels = panels };
                noted = skipped is { } step ? Noted(noted, step, "panel skipped: earlier ones took too long") : noted;
            }
        }

        noted = Kept(noted);
        int number = _record.World.World?.Number ?? 0;
        long safe = _record.World.SafeStep;
        StageRecord next = noted with { World = change.World };
        double interval = _record.DeviceSeconds + _uncounted - _record.SafeDeviceSeconds;
        if (change.Checkpoint is not null)
        {
            next = next with { SafeDeviceSeconds = _record.SafeDeviceSeconds + interval };
        }

        if (change.Checkpoint is { UndoneFrom: { } from } back)
        {
            next = next with { Undone = next.Undone.Add(new UndoneSteps(from, back.Step)) };
        }

        if (change.Pauses)
        {
            await PauseAsync(next with { Paused = change.Reason });
            return;
        }

        await StoreAsync(next);
        _manager!.Stored(change, Now);
        if (change.Checkpoint is not null)
        {
            instruments.Committed(change.World.SafeStep - safe);
            grains.GetGrain<ITrainingBoardGrain>(0)
                .ProgressAsync(new RunId(Run), Stage, change.World.SafeStep, _record.Steps).Ignore();
            if (PauseAtCheckpoint(interval) is { } reason)
            {
                await PauseAsync(_record with { Paused = reason, PausesBecause = null });
            }
        }

        if (change.World.World is { } world && world.Number > number)
        {
            instruments.WorldFormed();
            logger.WorldFormed(_key, world.Number, world.FirstStep, world.Members.Length, change.Reason);
            WakeAll();
        }

        ReleaseAsync(before).Ignore();
    }

    // The checkpoints that are kept: the last planned ones, the last one, and those that somebody reads.
    private StageRecord Kept(StageRecord record)
    {
        ImmutableArray<CheckpointManifest> all = record.Checkpoints;
        DateTimeOffset now = clock.GetUtcNow();
        return record with
        {
            Checkpoints =
            [
                .. all.Where(one => one.IsPlanned).TakeLast(record.CheckpointsKept).Union(all.TakeLast(1))
                    .Union(all.Where(one => record.Panels.Due.Contains(one.Step)
                        || (record.Pins.TryGetValue(one.Step, out DateTimeOffset until) && until > now)))
                    .OrderBy(one => one.Step),
            ],
        };
    }

    private StageRecord Noted(StageChange change) => Noted(
        _record!, Math.Max(change.World.World?.FirstStep ?? 0, change.World.SafeStep),
        change.World.World is { } world && world.Number > (_record!.World.World?.Number ?? 0)
            ? $"world {world.Number} with {world.Members.Length} trainers: {change.Reason}" : change.Reason);

    private StageRecord Noted(StageRecord record, long step, string text) => record with
    {
        Notes =
        [
            .. record.Notes.TakeLast(NotesMax - 1),
            new StageNote((record.Notes.LastOrDefault()?.Number ?? 0) + 1, step, clock.GetUtcNow(), text),
        ],
    };

    private bool IsMember(StageReport report) => _record!.World.World?.Has(report.Trainer.Id) == true;

    private void WakeAll()
    {
        foreach (string worker in _reports.Values.Select(one => one.Report.Worker).Distinct(StringComparer.Ordinal))
        {
            grains.GetGrain<ITrainerGrain>(worker).WakeAsync().Ignore();
        }
    }

    private static string? TextOf(CheckpointManifest? manifest) =>
        manifest is null ? null : TrainingJson.Write(manifest);

    private async Task StoreAsync(StageRecord record)
    {
        double counted = _uncounted;
        record = record with { DeviceSeconds = record.DeviceSeconds + counted };
        state.State.Record = TrainingJson.Write(record);
        await state.WriteOrDeactivateAsync(this);
        _record = record;
        _uncounted -= counted;
    }
}
