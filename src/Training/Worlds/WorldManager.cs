// The manager of a stage's membership, as a pure protocol without I/O. It forms a new world when a member is lost,
// leaves or cannot reach another member, when newcomers have caught up, when a member's device begins or ceases to draw
// pictures, when no step is applied for a while, or when a trainer has promised a later world:
//
//   1. The members of the last stored world are asked to promise the next number. A member that has promised is
//      frozen: it applies no further step until the new world begins. If the new world can wait, because it only
//      admits newcomers or deals shards to a member without any, members promise after the step in progress.
//   2. The new world begins at the largest position that members of the last stored world report. Positions of other
//      trainers do not count. If none of these members is left, it begins at the last committed checkpoint.
//   3. The world is stored, then announced. The answer to every heartbeat announces it, so a lost answer does no harm.
//
// A restarted manager knows only the stored world; it learns the rest from the next heartbeats. While a cluster is
// partitioned, two managers may be active at once, but the store accepts the next world from only one of them.
using System.Collections.Immutable;

namespace Atelier.Training.Worlds;

/// <summary>Decides which trainers are members of the world.</summary>
/// <param name="options">Timeouts and limits.</param>
/// <param name="shards">Number of shards of a batch, V.</param>
/// <param name="record">The stored membership.</param>
/// <param name="started">
/// The time at which this manager started. Trainers get <see cref="WorldOptions.LostAfter"/> from then on to report.
/// </param>
public sealed partial class WorldManager(WorldOptions options, int shards, WorldRecord record, TimeSpan started)
{
    // A stall is at least as long as this number of steps at the members' measured speeds.
    private const int StepsPerStall = 4;

    private readonly Dictionary<TrainerId, Trainer> _trainers = [];
    private readonly Dictionary<string, Backoff> _backoffs = new(StringComparer.Ordinal);
    private readonly Dictionary<(TrainerId One, TrainerId Other), TimeSpan> _broken = [];
    private WorldRecord _record = record;
    private readonly TimeSpan _started = started;
    private (long Position, TimeSpan At) _progress = (-1, started);
    private TimeSpan? _grownAt;
    private TimeSpan? _candidatesSince;
    private int _forming;

    // The position at which members promise a world that can wait; null if they promise at once.
    private long? _promiseFrom;
    private TimeSpan? _promisedSince;
    private bool _isGrowth;

    /// <summary>The stored membership.</summary>
    public WorldRecord Record => _record;

    /// <summary>Number of the world that is being formed; 0 if there is none.</summary>
    public int Forming => _forming;

    /// <summary>Why the latest world is formed, as text for people; null before the first one.</summary>
    public string? Cause { get; private set; }

    /// <summary>
    /// 0 while no world is being formed, 1 while members are asked to promise it after their step, 2 while they are
    /// asked to promise it at once, 3 while newcomers are asked as well. When the value rises, and when a world is
    /// stored, the caller prompts the trainers to report at once.
    /// </summary>
    public int Asking => _forming == 0 ? 0 : _candidatesSince is not null ? 3 : _promiseFrom is null ? 2 : 1;

    /// <summary>
    /// Whether a trainer knows a later world than this manager, because another manager has stored it. The caller must
    /// then start a new manager from the stored state.
    /// </summary>
    public bool IsStale { get; private set; }

    private World? World => _record.World;

    private IEnumerable<TrainerId> Members => World is { } world ? world.Members.Select(member => member.Id) : [];

    /// <summary>Processes a trainer's report.</summary>
    /// <param name="report">The report.</param>
    /// <param name="now">The time, on the manager's clock.</param>
    public ManagerAnswer Receive(TrainerReport report, TimeSpan now)
    {
        if (!_trainers.TryGetValue(report.Id, out Trainer? trainer))
        {
            // A restarted process replaces the earlier process with the same name.
            foreach (TrainerId old in _trainers.Keys.Where(id => id.Name == report.Id.Name).ToArray())
            {
                if (old.Incarnation > report.Id.Incarnation)
                {
                    return new ManagerAnswer();
                }

                _trainers[old].IsGone = true;
            }

            _trainers.Add(report.Id, trainer = new Trainer());
        }

        if (trainer.IsGone)
        {
            return new ManagerAnswer(); // The report was sent before the process was replaced.
        }

        (trainer.Report, trainer.ReportedAt) = (report, now);
        IsStale |= report.World > (World?.Number ?? 0);
        NoteLinks(report, now);
        if (IsMember(report.Id) && report.HasState && report.Position > _progress.Position)
        {
            _progress = (report.Position, now);
        }
        else if (report.IsServing && World?.Members.Any(one => one.Id == report.Id && one.Shards.Count > 0) == true)
        {
            _progress = _progress with { At = now }; // The others wait for a device, not for lost frames.
        }

        bool isAsked = _forming > 0 && (IsMember(report.Id) || (IsCandidate(trainer) && HaveAllPromised(now)));
        return new ManagerAnswer
        {
            LastWorld = World?.Number ?? 0,
            World = World is { } world && report.World < world.Number ? world : null,
            Promise = isAsked ? _forming : 0,
            PromiseFrom = isAsked && IsMember(report.Id) ? _promiseFrom : null,
            Restore = IsFromCheckpoint(now) && !IsBackingOff(report.Id, now) ? _record.SafeStep : null,
        };
    }

    /// <summary>
    /// Returns the next record to store; null if there is none. The caller stores it and calls <see cref="Stored"/>. If
    /// another manager has stored something else, the caller starts a new manager from the stored state.
    /// </summary>
    /// <param name="now">The time, on the manager's clock.</param>
    public WorldRecord? Tick(TimeSpan now)
    {
        ForgetSilent(now);
        if (IsReturning)
        {
            Cause = _return?.Reason;
            return EndWorld();
        }

        if (_forming == 0)
        {
            BeginForming(now);
        }
        else if (_promiseFrom is not null)
        {
            string? urgent = UrgentReason(now);
            _promiseFrom = urgent is null && !HavePromisesWaited(now) ? _promiseFrom : null;
            Cause = urgent ?? Cause;
        }

        if (_forming == 0 || !HaveAllPromised(now))
        {
            return null;
        }

        return Carriers(now) is { Length: > 0 } carriers ? FormOf(carriers, now)
            : _wrong.Count > 0 ? EndWorld() // The only members left compute wrong numbers.
            : FormFromCheckpoint(now);
    }

    /// <summary>Notifies the manager that a record is stored.</summary>
    public void Stored(WorldRecord stored, TimeSpan now)
    {
        if (stored.World?.Number != World?.Number)
        {
            bool isReturn = stored.World!.Members.IsEmpty;
            foreach (TrainerId gone in Members.Where(id => isReturn ? _wrong.ContainsKey(id) : !stored.World.Has(id)))
            {
                BeginBackoff(gone, now);
            }

            // A world for newcomers counts even if they were not in time: they need some steps to catch up.
            _grownAt = _isGrowth || Computing(stored.World) > Computing(World) ? now : _grownAt;
            (_forming, _candidatesSince, _promiseFrom, _promisedSince, _isGrowth) = (0, null, null, null, false);
            _progress = (stored.World.FirstStep, now);
            _broken.Clear();
            _wrong.Clear();
            _return = null;
        }

        _record = stored;
    }

    /// <summary>
    /// Decides whether a checkpoint may be committed: it must be of the stored world and newer than the last one, and
    /// no member may be known to be wrong.
    /// </summary>
    /// <param name="world">Number of the world whose members made the checkpoint.</param>
    /// <param name="step">Step of the checkpoint.</param>
    /// <returns>The record to store with the checkpoint; null if it must not be committed.</returns>
    public WorldRecord? Commit(int world, long step) =>
        world == World?.Number && step > _record.SafeStep && !IsReturning && _wrong.Count == 0
            ? _record with { SafeStep = step } : null;

    // Members whose positions count: they have reported, have the weights, have promised, and are not known to be
    // wrong.
    private Trainer[] Carriers(TimeSpan now) =>
    [
        .. Members.Where(id => !IsLost(id, now)).Select(Find).OfType<Trainer>()
            .Where(member => member.Report.HasState && member.Report.Promised >= _forming
                && !_wrong.ContainsKey(member.Report.Id)),
    ];

    private WorldRecord? FormOf(Trainer[] carriers, TimeSpan now)
    {
        IReadOnlySet<TrainerId> cut = Cut(now);
        bool Stays(Trainer trainer) => !trainer.Report.IsLeaving && !cut.Contains(trainer.Report.Id);
        Trainer[] staying = [.. carriers.Where(Stays)];
        if (staying.Length == 0)
        {
            // If all of them are leaving or cannot be reached, all stay for one more world: only they have the weights.
            staying = carriers;
        }

        long position = staying.Max(member => member.Report.Position);
        bool IsNear(Trainer trainer) => trainer.Report.Position == position || trainer.Report.Position == position - 1;
        Trainer[] candidates = [.. _trainers.Values.Where(one => IsCandidate(one) && IsLevel(one) && Stays(one))];
        _candidatesSince ??= now;
        if (candidates.Any(one => one.Report.Promised < _forming) && now - _candidatesSince < options.JoinPatience)
        {
            return null;
        }

        return Form(
            position,
            [
                .. staying.Where(IsNear),
                .. candidates.Where(one => one.Report.Promised >= _forming && IsNear(one)),
            ]);
    }

    private WorldRecord? FormFromCheckpoint(TimeSpan now)
    {
        Trainer[] restored = [.. _trainers.Values.Where(one =>
            !one.IsGone && !IsLost(one.Report.Id, now) && !one.Report.IsLeaving && !IsBackingOff(one.Report.Id, now)
            && one.Report.HasState && one.Report.Position == _record.SafeStep
            && one.Report.World == (World?.Number ?? 0))];
        if (restored.Length == 0)
        {
            _candidatesSince = null;
            return null;
        }

        // Waits for other trainers that are starting, too: another change of world would cost more than the wait.
        _candidatesSince ??= now;
        return now - _candidatesSince < options.GatherTime ? null : Form(_record.SafeStep, restored);
    }

    private int NextNumber() => Math.Max(
        (World?.Number ?? 0) + 1,
        _trainers.Values.Where(trainer => !trainer.IsGone).Select(trainer => trainer.Report.Promised)
            .DefaultIfEmpty().Max());

    private bool HaveAllPromised(TimeSpan now) => Members.All(id =>
        IsLost(id, now) || (Find(id) is { } member && member.Report.Promised >= _forming));

    // A newcomer has caught up when its weights lack no more steps than those that are in transit to it.
    private bool IsLevel(Trainer trainer) =>
        trainer.Report.HasState && trainer.Report.Position >= _progress.Position - options.LevelSteps;

    private bool IsCandidate(Trainer trainer) =>
        !trainer.IsGone && !trainer.Report.IsLeaving && !IsMember(trainer.Report.Id)
        && trainer.Report.World == (World?.Number ?? 0) && !IsBackingOff(trainer.Report.Id, trainer.ReportedAt)
        && !trainer.Report.Unreachable.Any(IsMember);

    // Whether the next world must start from a checkpoint, because no living member has the weights.
    private bool IsFromCheckpoint(TimeSpan now) => Members.All(id =>
        IsLost(id, now) || Find(id) is { Report: { HasState: false } report } && report.World >= World!.Number);

    // While all trainers with the weights are leaving, a new world would consist of the same members.
    private bool IsAnyStaying(TimeSpan now) => _trainers.Values.Any(trainer =>
        trainer.Report is { IsLeaving: false, HasState: true } && !IsLost(trainer.Report.Id, now)
        && (IsMember(trainer.Report.Id) || (IsCandidate(trainer) && IsLevel(trainer))));

    private bool IsMember(TrainerId id) => World?.Has(id) == true;

    private Trainer? Find(TrainerId id) => _trainers.GetValueOrDefault(id);

    private bool IsLost(TrainerId id, TimeSpan now)
    {
        if (Find(id) is not { } trainer)
        {
            return _trainers.Keys.Any(other => other.Name == id.Name && other.Incarnation > id.Incarnation)
                || now - _started > options.LostAfter;
        }

        TimeSpan silent = now - trainer.ReportedAt;
        bool isDoubted = _broken.Keys.Any(link => link.One == id || link.Other == id);
        return trainer.IsGone || silent > (isDoubted ? options.DoubtedLostAfter : options.LostAfter);
    }

    private void ForgetSilent(TimeSpan now)
    {
        foreach ((TrainerId id, Trainer trainer) in _trainers.ToArray())
        {
            if (!IsMember(id) && (trainer.IsGone || now - trainer.ReportedAt > options.LostAfter))
            {
                _trainers.Remove(id);
            }
        }

        foreach ((string name, Backoff backoff) in _backoffs.ToArray())
        {
            if (now - backoff.Until > options.BackoffMax)
            {
                _backoffs.Remove(name);
            }
        }
    }

    private readonly record struct Backoff(int Times, TimeSpan Until);

    private sealed class Trainer
    {
        public TrainerReport Report { get; set; } = null!;

        public TimeSpan ReportedAt { get; set; }

        public bool IsGone { get; set; }
    }
}
