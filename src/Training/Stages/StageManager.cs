// The manager of a stage, as a pure protocol: its membership, the commit of its checkpoints, and the members' numbers,
// which it compares. Everything is stored before it counts.
using System.Collections.Immutable;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;

namespace Atelier.Training.Stages;

/// <summary>A copy of the state that is to become a checkpoint.</summary>
/// <param name="Step">Its step.</param>
/// <param name="IsPlanned">Whether a rollback may return to it.</param>
/// <param name="World">The world in which its last step was added up.</param>
public sealed record HeldCheckpoint(long Step, bool IsPlanned, int World);

/// <summary>What a trainer reports about its state, beside its membership.</summary>
public sealed record StateReport
{
    /// <summary>The checkpoint of which it holds a copy that is not committed; null if none.</summary>
    public HeldCheckpoint? Holds { get; init; }

    /// <summary>What it has done for that checkpoint.</summary>
    public ImmutableArray<PartReport> Parts { get; init; } = [];

    /// <summary>Digests of its last audited states, the newest last.</summary>
    public ImmutableArray<StateDigest> Digests { get; init; } = [];
}

/// <summary>What is to be stored next.</summary>
/// <param name="World">Membership and the last committed checkpoint.</param>
/// <param name="Reason">Why, for people.</param>
public sealed record StageChange(WorldRecord World, string Reason)
{
    /// <summary>The checkpoint that is committed with it; null if none is.</summary>
    public CheckpointManifest? Checkpoint { get; init; }

    /// <summary>Whether the stage pauses, for the reason given, until a person resumes it.</summary>
    public bool Pauses { get; init; }
}

/// <summary>Manages a stage.</summary>
/// <param name="options">Times.</param>
/// <param name="shards">Shards of a batch, V.</param>
/// <param name="vectors">Names of the vectors of its state.</param>
/// <param name="parts">Parts of a checkpoint.</param>
/// <param name="record">What is stored.</param>
/// <param name="started">When this manager started.</param>
public sealed class StageManager(
    WorldOptions options, int shards, ImmutableArray<string> vectors, int parts, WorldRecord record, TimeSpan started)
{
    private readonly WorldManager _worlds = new(options, shards, record, started);
    private readonly StateAudit _audit = new();
    private readonly Dictionary<TrainerId, (HeldCheckpoint? Holds, TimeSpan At)> _holders = [];
    private PendingCheckpoint? _pending;
    private ShardTrial? _trial;
    private string? _pause;
    private int _doubtedWorld;

    /// <inheritdoc cref="WorldManager.Record"/>
    public WorldRecord Record => _worlds.Record;

    /// <inheritdoc cref="WorldManager.Asking"/>
    public int Asking => _worlds.Asking;

    /// <inheritdoc cref="WorldManager.IsStale"/>
    public bool IsStale => _worlds.IsStale;

    /// <inheritdoc cref="WorldManager.Reason"/>
    public string? Reason(TimeSpan now) => _worlds.Reason(now);

    private World? World => Record.World;

    // All of the stored world: one that seems lost may only be unheard, and has a say until it is put out.
    private IReadOnlyCollection<TrainerId> Members =>
        World is { } world ? [.. world.Members.Select(member => member.Id)] : [];

    /// <summary>A trainer reports.</summary>
    /// <param name="report">Its membership.</param>
    /// <param name="state">Its state.</param>
    /// <param name="now">The time, on the manager's clock.</param>
    /// <returns>The answer, and what to do for the pending checkpoint.</returns>
    public (ManagerAnswer Answer, IReadOnlyList<PartTask> Tasks) Hear(
        TrainerReport report, StateReport state, TimeSpan now)
    {
        ManagerAnswer answer = _worlds.Hear(report, now);
        if (World?.Has(report.Id) != true || report.World != World.Number)
        {
            return (answer, []);
        }

        HearState(report, state, now);
        HearTrial(report);
        return (
            answer with { Trial = _trial?.Request }, [.. _pending?.TasksOf(report.Id, Holders(now)) ?? []]);
    }

    /// <summary>
    /// What to store next, or null. The caller stores it and calls <see cref="Stored"/>; if another manager has stored
    /// something, it starts again from what is stored.
    /// </summary>
    /// <param name="now">The time.</param>
    public StageChange? Tick(TimeSpan now)
    {
        JudgeTrial();
        CompareStates();
        if (_pause is { } pause)
        {
            return new StageChange(Record with { IsDoubted = false }, pause) { Pauses = true };
        }

        string reason = _worlds.Reason(now) ?? "a later world was promised";
        if (_worlds.Tick(now) is { } next)
        {
            return new StageChange(next, next.World!.Members.IsEmpty ? _worlds.ReturnReason ?? reason : reason);
        }

        return Commit(now);
    }

    /// <summary>The change is stored.</summary>
    public void Stored(StageChange change, TimeSpan now)
    {
        if (change.World.World?.Number != World?.Number)
        {
            _trial = null;
            if (change.World.World!.Members.IsEmpty)
            {
                _audit.Clear();
                _holders.Clear();
                _pending = null;
            }
        }

        if (change.Checkpoint is not null)
        {
            _pending = null;
        }

        _worlds.Stored(change.World, now);
    }

    private void HearState(TrainerReport report, StateReport state, TimeSpan now)
    {
        int returned = Record.Returned;
        _audit.Hear(report.Id, report.Position, [.. state.Digests.Where(one => one.World > returned)]);
        HeldCheckpoint? holds = state.Holds is { } held && held.World > returned ? held : null;
        _holders[report.Id] = (holds, now);

        // The oldest one first: its holders do not continue to a later one before it is committed.
        HeldCheckpoint? oldest = Living(now).Select(one => one.Holds).OfType<HeldCheckpoint>().MinBy(one => one.Step);
        if (oldest?.Step != _pending?.Step)
        {
            _pending = oldest is null ? null : new PendingCheckpoint(oldest.Step, oldest.IsPlanned, vectors, parts);
        }

        _pending?.Hear(report.Id, state.Parts);
    }

    private void HearTrial(TrainerReport report)
    {
        if (report.Dispute is { } dispute && dispute.World == World!.Number)
        {
            _trial ??= new ShardTrial(dispute);
        }

        if (report.Trial is { } claim)
        {
            _trial?.Hear(report.Id, claim);
        }

        // The first step after a return was verified whole, and all members got the same.
        if (World!.VerifiesAll && World.Members.Length > 1 && report.HasState && report.Position > World.FirstStep
            && _doubtedWorld != World.Number)
        {
            _doubtedWorld = World.Number;
            _pause = "members had different states, and since they returned to the last checkpoint they compute the "
                + "same: which of them was wrong cannot be found out";
        }
    }

    private void JudgeTrial()
    {
        if (_trial?.Judge(Members) is not { } verdict)
        {
            return;
        }

        _trial = null;
        if (verdict.Wrong.IsEmpty)
        {
            _pause = verdict.Reason;
        }

        foreach (TrainerId wrong in verdict.Wrong)
        {
            _worlds.PutOut(wrong, verdict.Reason);
        }
    }

    private void CompareStates()
    {
        if (_worlds.ReturnReason is not null || Difference() is not { } found)
        {
            return;
        }

        string reason = $"the members' states differ at step {found.Step}";
        foreach (TrainerId wrong in found.Wrong)
        {
            _worlds.PutOut(wrong, $"{wrong} had another state than the other members at step {found.Step}");
        }

        string who = found.Wrong.IsEmpty
            ? "" : $": {string.Join(", ", found.Wrong)} had another one than the others";
        _worlds.ReturnAll(reason + who, isDoubted: found.Wrong.IsEmpty);
    }

    // Parts of a checkpoint that differ although the states do not: a copy was damaged, or the records of steps were.
    private StateDifference? Difference() =>
        _audit.Find(Members) ?? (_pending?.Disagreement() is null ? null : new StateDifference(_pending.Step, []));

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
