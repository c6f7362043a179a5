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

/// <summary>The stored state of a stage.</summary>
[GenerateSerializer, Alias("atelier.state.TrainingStage")]
internal sealed class TrainingStageState
{
    /// <summary>A <see cref="StageRecord"/> as JSON; null before the stage begins.</summary>
    [Id(0)]
    public string? Record { get; set; }
}

/// <summary>The stored record of a stage.</summary>
/// <param name="Plan">The stage's plan.</param>
/// <param name="World">The stage's membership.</param>
internal sealed record StageRecord(StagePlan Plan, WorldRecord World)
{
    /// <summary>
    /// Everything on which the stage's bits depend, as the first trainer resolved it; null before the first report.
    /// </summary>
    public string? Identity { get; init; }

    /// <summary>Number of weights.</summary>
    public long Parameters { get; init; }

    /// <summary>Number of shards of a batch, V.</summary>
    public int Shards { get; init; }

    /// <summary>Number of steps of the stage.</summary>
    public long Steps { get; init; }

    /// <summary>Number of planned checkpoints to keep.</summary>
    public int CheckpointsKept { get; init; } = 1;

    /// <summary>Checkpoints that are being read, by step, each with the time until which it is kept for that.</summary>
    public ImmutableDictionary<long, DateTimeOffset> Pins { get; init; } =
        ImmutableDictionary<long, DateTimeOffset>.Empty;

    /// <summary>Committed checkpoints that are kept, oldest first.</summary>
    public ImmutableArray<CheckpointManifest> Checkpoints { get; init; } = [];

    /// <summary>Digests of the final state; null before the stage is complete.</summary>
    public StageEnd? End { get; init; }

    /// <summary>Why the stage cannot continue; null if it can.</summary>
    public string? Failure { get; init; }

    /// <summary>Names of the vectors of the stage's state.</summary>
    public ImmutableArray<string> Vectors { get; init; } = [];

    /// <summary>Why the stage is paused until a person resumes it; null if it is not paused.</summary>
    public string? Paused { get; init; }

    /// <summary>Whether the run of the stage was cancelled.</summary>
    public bool IsCancelled { get; init; }

    /// <summary>Whether the stage can be trained: it is neither over nor paused.</summary>
    public bool IsOpen => !IsOver && Paused is null;

    /// <summary>Whether the stage is over, so that trainers leave it.</summary>
    public bool IsOver => End is not null || Failure is not null || IsCancelled;
}

/// <summary>Manages a stage.</summary>
[GrainType("trainingstage")]
[ControlSilo]
internal sealed partial class TrainingStageGrain(
    [PersistentState("stage")] IPersistentState<TrainingStageState> state, IOptions<TrainerOptions> options,
    IBlobStore blobs, IGrainFactory grains, TimeProvider clock, TrainingInstruments instruments,
    ILogger<TrainingStageGrain> logger)
    : Grain, ITrainingStageGrain
{
    private readonly long _startedAt = clock.GetTimestamp();
    private readonly Dictionary<TrainerId, (StageReport Report, TimeSpan At)> _reports = [];
    private StageRecord? _record;
    private StageManager? _manager;
    private bool _isTold;

    private string _key = "";

    private TimeSpan Now => clock.GetElapsedTime(_startedAt);

    private string Run => _key.Split('/')[0];

    private int Stage => int.Parse(_key.Split('/')[1], System.Globalization.CultureInfo.InvariantCulture);

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

    public async Task BeginJsonAsync(string plan)
    {
        if (_record is null)
        {
            await StoreAsync(new StageRecord(TrainingJson.Read<StagePlan>(plan)!, new WorldRecord(null, 0)));
        }
    }

    public Task<string?> PlanJsonAsync() =>
        Task.FromResult(_record is { IsOpen: true } record ? TrainingJson.Write(record.Plan) : null);

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
                World = _record.World with { SafeStep = report.BeginsAt },
            });
            StartManager();
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

    public async Task<string?> PinLastJsonAsync(TimeSpan time)
    {
        if (_record?.Checkpoints.LastOrDefault() is not { } last)
        {
            return null;
        }

        DateTimeOffset now = clock.GetUtcNow();
        await StoreAsync(_record with
        {
            Pins = _record.Pins.RemoveRange(_record.Pins.Where(pin => pin.Value <= now).Select(pin => pin.Key))
                .SetItem(last.Step, now + time),
        });
        return TextOf(last);
    }

    public async Task EndAsync()
    {
        if (_record is { IsOver: false })
        {
            await StoreAsync(_record with { IsCancelled = true });
            WakeAll();
        }
    }

    public async Task ResumeAsync()
    {
        if (_record is { IsOver: false, Paused: not null } paused)
        {
            // A trainer that missed the pause must not continue from a state that is in doubt.
            int next = (paused.World.World?.Number ?? 0) + 1;
            await StoreAsync(paused with { Paused = null, World = paused.World.Ended(next, isDoubted: false) });
            StartManager();
        }
    }

    private void StartManager() => _manager = _record is not { IsOpen: true, Shards: > 0 } record ? null
        : new StageManager(
            options.Value.Worlds(), record.Shards, record.Vectors, new CheckpointLayout(record.Parameters).Parts,
            record.World, Now);

    private async Task EndAsync(StageRecord ended)
    {
        await StoreAsync(ended);
        WakeAll();
        logger.StageEnded(_key, ended.Failure ?? "complete");
    }

    // An ended stage notifies its run until the run has confirmed it.
    private async Task TickAsync(CancellationToken cancellation)
    {
        RemoveLost();
        if (_record is { IsOpen: true } && _manager is not null)
        {
            await AdvanceAsync();
        }
        else if (_record is { IsOver: true, IsCancelled: false } && !_isTold)
        {
            _isTold = await GrainCalls.TryAsync(() => grains.GetGrain<ITrainingRunGrain>(Run).StageEndedAsync(
                Stage, _record.Failure));
        }
    }

    private async Task AdvanceAsync()
    {
        int asking = _manager!.Asking;
        if (_manager.Tick(Now) is { } change)
        {
            await StoreAsync(change);
        }
        else if (_manager.Asking > asking)
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
        ImmutableArray<CheckpointManifest> all = change.Checkpoint is { } committed ? before.Add(committed) : before;
        CheckpointManifest[] kept =
        [
            .. all.Where(one => one.IsPlanned).TakeLast(_record.CheckpointsKept).Union(all.TakeLast(1))
                .Union(all.Where(one => _record.Pins.TryGetValue(one.Step, out DateTimeOffset until)
                    && until > clock.GetUtcNow()))
                .OrderBy(one => one.Step),
        ];
        int number = _record.World.World?.Number ?? 0;
        await StoreAsync(_record with
        {
            World = change.World,
            Checkpoints = [.. kept],
            Paused = change.Pauses ? change.Reason : null,
        });
        if (change.Pauses)
        {
            logger.StagePaused(_key, change.Reason);
            WakeAll();
            StartManager();
            return;
        }

        _manager!.Stored(change, Now);
        if (change.Checkpoint is not null)
        {
            instruments.Committed();
        }

        if (change.World.World is { } world && world.Number > number)
        {
            instruments.WorldFormed();
            logger.WorldFormed(_key, world.Number, world.FirstStep, world.Members.Length, change.Reason);
            WakeAll();
        }

        ReleaseAsync([.. all.Except(kept)], kept).Ignore();
    }

    private async Task ReleaseAsync(CheckpointManifest[] dropped, CheckpointManifest[] kept)
    {
        // The last part of each checkpoint is a file of step records that refers to the previous file. All of these
        // files are kept.
        HashSet<string> named = [.. kept.SelectMany(one => one.Parts).Select(part => part.Digest)];
        foreach (CheckpointPart part in dropped.SelectMany(one => one.Parts.SkipLast(1))
            .Where(part => !named.Contains(part.Digest)))
        {
            // If the release fails, the blob stays in the store: sweeps do not ask runs what they need.
            await GrainCalls.TryAsync(() => blobs.ReleaseAsync(
                CheckpointBlobs.NameOf(part), Owner, CancellationToken.None));
        }
    }

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
        state.State.Record = TrainingJson.Write(record);
        await state.WriteOrDeactivateAsync(this);
        _record = record;
    }
}
