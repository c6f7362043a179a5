// The manager of a stage, as a pure protocol without I/O. It manages the stage's membership, commits checkpoints, and
// compares the members' results in order to detect wrong numbers. A change takes effect only after it is stored.
using System.Collections.Immutable;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;

namespace Atelier.Training.Stages;

/// <summary>A checkpoint of which a trainer keeps a copy until it is committed.</summary>
/// <param name="Step">Step of the checkpoint.</param>
/// <param name="IsPlanned">Whether a rollback may return to the checkpoint.</param>
/// <param name="World">Number of the world in which the checkpoint's last step was summed.</param>
public sealed record HeldCheckpoint(long Step, bool IsPlanned, int World)
{
    /// <inheritdoc cref="CheckpointManifest.UndoneFrom"/>
    public long? UndoneFrom { get; init; }
}

/// <summary>The part of a trainer's report that concerns its state; its membership is reported separately.</summary>
public sealed record StateReport
{
    /// <summary>The uncommitted checkpoint of which the trainer keeps a copy; null if there is none.</summary>
    public HeldCheckpoint? Holds { get; init; }

    /// <summary>The trainer's reports about the parts of that checkpoint.</summary>
    public ImmutableArray<PartReport> Parts { get; init; } = [];

    /// <summary>Digests of the trainer's last audited states, newest last.</summary>
    public ImmutableArray<StateDigest> Digests { get; init; } = [];

    /// <summary>
    /// Number of steps that the state included when the trainer loaded it; the trainer has applied all later steps
    /// itself. <see cref="long.MaxValue"/> while it is loading a state.
    /// </summary>
    public long Since { get; init; } = long.MaxValue;

    /// <summary>Why the trainer could not store a part at its last attempt; null if it could.</summary>
    public string? StoreFault { get; init; }

    /// <summary>
    /// Why the stage cannot continue, according to the trainer, which has stopped; null if it can. The rules are
    /// deterministic, so all replicas report the same.
    /// </summary>
    public string? Failure { get; init; }
}

/// <summary>A change that the caller must store.</summary>
/// <param name="World">The new membership, with the step of the last committed checkpoint.</param>
/// <param name="Reason">Why the change is made, as text for people.</param>
public sealed record StageChange(WorldRecord World, string Reason)
{
    /// <summary>The checkpoint that is committed with this change; null if there is none.</summary>
    public CheckpointManifest? Checkpoint { get; init; }

    /// <summary>Whether the stage pauses, for the given reason, until a person resumes it.</summary>
    public bool Pauses { get; init; }

    /// <summary>Whether the stage has failed, for the given reason.</summary>
    public bool Fails { get; init; }
}

/// <summary>Manages a stage.</summary>
/// <param name="options">Timeouts and periods of the membership.</param>
/// <param name="shards">Number of shards of a batch, V.</param>
/// <param name="vectors">Names of the vectors of the stage's state.</param>
/// <param name="parts">Number of parts of a checkpoint.</param>
/// <param name="record">The stored membership.</param>
/// <param name="started">The time at which this manager started, on its own clock.</param>
public sealed class StageManager(
    WorldOptions options, int shards, ImmutableArray<string> vectors, int parts, WorldRecord record, TimeSpan started)
{
    private readonly WorldManager _worlds = new(options, shards, record, started);
    private readonly StateAudit _audit = new();
    private readonly Dictionary<TrainerId, (HeldCheckpoint? Holds, long Position, TimeSpan At)> _holders = [];
    private readonly Dictionary<TrainerId, (string Failure, long Position)> _failures = [];
    private PendingCheckpoint? _pending;
    private ShardTrial? _trial;
    private string? _pause;

    /// <inheritdoc cref="WorldManager.Record"/>
    public WorldRecord Record => _worlds.Record;

    /// <inheritdoc cref="WorldManager.Asking"/>
    public int Asking => _worlds.Asking;

    /// <inheritdoc cref="WorldManager.IsStale"/>
    public bool IsStale => _worlds.IsStale;

    /// <inheritdoc cref="WorldManager.Reason"/>
    public string? Reason(TimeSpan now) => _worlds.Reason(now);

    private World? World => Record.World;

    // All members of the stored world. A member that seems lost may only be unreachable, so it counts until it is
    // removed.
    private IReadOnlyCollection<TrainerId> Members =>
        World is { } world ? [.. world.Members.Select(member => member.Id)] : [];

    /// <summary>Processes a trainer's report.</summary>
    /// <param name="report">The part of the report about membership.</param>
    /// <param name="state">The part of the report about the trainer's state.</param>
    /// <param name="now">The time, on the manager's clock.</param>
    /// <returns>The answer, and the trainer's tasks for the pending checkpoint.</returns>
    public (ManagerAnswer Answer, IReadOnlyList<PartTask> Tasks) Receive(
        TrainerReport report, StateReport state, TimeSpan now)
    {
        ManagerAnswer answer = _worlds.Receive(report, now);
        if (World?.Has(report.Id) != true || report.World != World.Number)
        {
            return (answer, []);
        }

        RecordState(report, state, now);
        RecordTrial(report);
        if (state.Failure is { } failure)
        {
            _failures[report.Id] = (failure, report.Position);
        }

        return (
            answer with { Trial = _trial?.Request }, [.. _pending?.TasksOf(report.Id, Holders(now)) ?? []]);
    }

    /// <summary>
    /// Returns the next change to store; null if there is none. The caller stores the change and calls
    /// <see cref="Stored"/>. If another manager has stored something else, the caller starts a new manager from the
    /// stored state.
    /// </summary>
    /// <param name="now">The time, on the manager's clock.</param>
    public StageChange? Tick(TimeSpan now)
    {
        JudgeTrial();
        CompareStates(now);
        if (JudgeFailures(now) is { } failure)
        {
            return new StageChange(Record, failure) { Fails = true };
        }

        if (_pause is { } pause)
        {
            return new StageChange(Record with { IsDoubted = false }, pause) { Pauses = true };
        }

        if (_worlds.Tick(now) is { } next)
        {
            return new StageChange(next, _worlds.Cause!);
        }

        return Commit(now);
    }

    /// <summary>Notifies the manager that a change is stored.</summary>
    public void Stored(StageChange change, TimeSpan now)
    {
        if (change.World.World?.Number != World?.Number)
        {
            _trial = null;
            _failures.Clear();
            bool isReturn = change.World.World!.Members.IsEmpty;
            _audit.Keep(id => !isReturn && change.World.World.Has(id));
            foreach (TrainerId gone in _holders.Keys.Where(id => isReturn || !change.World.World.Has(id)).ToArray())
            {
                _holders.Remove(gone);
            }

            _pending = isReturn ? null : _pending;
        }

        if (change.Checkpoint is not null)
        {
            _pending = null;
        }

        _worlds.Stored(change.World, now);
    }

    private void RecordState(TrainerReport report, StateReport state, TimeSpan now)
    {
        int returned = Record.Returned;
        _audit.Record(report.Id, report.Position, state.Since, [.. state.Digests.Where(one => one.World > returned)]);
        HeldCheckpoint? holds = state.Holds is { } held && held.World > returned ? held : null;
        _holders[report.Id] = (holds, report.Position, now);

        // The oldest checkpoint is committed first: its holders keep no copy of a later one before that.
        HeldCheckpoint? oldest = Living(now).Select(one => one.Holds).OfType<HeldCheckpoint>().MinBy(one => one.Step);
        if (oldest?.Step != _pending?.Step)
        {
            _pending = oldest is null ? null : new PendingCheckpoint(oldest.Step, oldest.IsPlanned, vectors, parts)
            {
                UndoneFrom = oldest.UndoneFrom,
            };
        }

        _pending?.Record(report.Id, state.Parts);
        _pending?.RecordStore(report.Id, state.StoreFault is null);
    }

    private void RecordTrial(TrainerReport report)
    {
        if (report.Dispute is { } dispute && dispute.World == World!.Number)
        {
            _trial ??= new ShardTrial(dispute);
        }

        if (report.HasState)
        {
            _trial?.RecordPosition(report.Id, report.Position);
        }

        if (report.Trial is { } claim)
        {
            _trial?.Record(report.Id, claim);
        }

        // All shards of the first step after the return were verified, and all members got the same results.
        if (World!.VerifiesAll && World.Members.Length > 1 && report.HasState && report.Position > World.FirstStep)
        {
            _pause = "members had different states, but have computed the same results since they returned to the last "
                + "checkpoint; it cannot be determined which of them was wrong";
        }
    }

    private void JudgeTrial()
    {
        if (_trial?.Judge(Members) is not { } verdict)
        {
            return;
        }

        _trial = null;
        if (verdict.MustReturn)
        {
            _worlds.ReturnAll(verdict.Reason, isDoubted: verdict.Wrong.IsEmpty);
        }
        else if (verdict.Wrong.IsEmpty)
        {
            _pause = verdict.Reason;
        }

        foreach (TrainerId wrong in verdict.Wrong)
        {
            _worlds.Remove(wrong, verdict.Reason);
        }
    }

    // A failure counts if all living members report one. If a member has applied the step at which others have failed,
    // their states or measures differ.
    private string? JudgeFailures(TimeSpan now)
    {
        if (_failures.Count == 0 || _worlds.IsReturning)
        {
            return null;
        }

        TrainerId[] living = [.. Living(now).Select(one => one.Id)];
        TrainerId[] failed = [.. living.Where(_failures.ContainsKey)];
        if (failed.Length == 0)
        {
            return null;
        }

        (string text, long step) = _failures[failed[0]];
        if (failed.Length == living.Length)
        {
            return text;
        }

        if (living.Any(id => !_failures.ContainsKey(id) && _holders[id].Position > step))
        {
            bool isKnown = 2 * failed.Length < living.Length;
            string reason = $"{string.Join(", ", failed)} cannot continue, but other members have applied step "
                + $"{step}: {text}";
            foreach (TrainerId wrong in isKnown ? failed : [])
            {
                _worlds.Remove(wrong, reason);
            }

            _worlds.ReturnAll(reason, isDoubted: !isKnown);
        }

        return null;
    }

    private void CompareStates(TimeSpan now)
    {
        if (_worlds.IsReturning || Difference(now) is not { } found)
        {
            return;
        }

        string reason = $"the members' states differ at step {found.Step}";
        foreach (TrainerId wrong in found.Wrong)
        {
            _worlds.Remove(wrong, $"the state of {wrong} at step {found.Step} differed from the other members'");
        }

        string who = found.Wrong.IsEmpty
            ? "" : $"; the state of {string.Join(", ", found.Wrong)} differs from the majority's";
        _worlds.ReturnAll(reason + who, isDoubted: found.Wrong.IsEmpty);
    }

    // Digests of a checkpoint's parts may differ although the digests of the states agree: a copy of the state was
    // damaged, or the step records were.
    private StateDifference? Difference(TimeSpan now) =>
        _audit.Find(Members) ?? Missing()
        ?? (_pending?.Disagreement(Holders(now)) is null ? null : new StateDifference(_pending.Step, []));

    // All replicas end the same steps with checkpoints.
    private StateDifference? Missing() => _pending is { } pending ? _audit.FindMissing(pending.Step, Members) : null;

    private StageChange? Commit(TimeSpan now)
    {
        if (World is not { } world || _pending is not { } pending || !_audit.IsAgreed(pending.Step, Members)
            || pending.Commit(world.Number, Holders(now)) is not { } manifest
            || _worlds.Commit(world.Number, manifest.Step) is not { } committed)
        {
            return null;
        }

        return new StageChange(committed, $"the checkpoint of step {manifest.Step} is stored")
        {
            Checkpoint = manifest,
        };
    }

    private IReadOnlyCollection<TrainerId> Holders(TimeSpan now) =>
    [
        .. Living(now).Where(one => _pending is not null && one.Holds?.Step == _pending.Step).Select(one => one.Id),
    ];

    private IEnumerable<(TrainerId Id, HeldCheckpoint? Holds)> Living(TimeSpan now) => _holders
        .Where(one => now - one.Value.At <= options.LostAfter && World!.Has(one.Key))
        .Select(one => (one.Key, one.Value.Holds is { } holds && holds.Step > Record.SafeStep ? holds : null));
}
