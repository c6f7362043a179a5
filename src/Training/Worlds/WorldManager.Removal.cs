// The part of a world's manager that decides who is put out: members that others cannot reach, and members that compute
// wrong numbers.
namespace Atelier.Training.Worlds;

public sealed partial class WorldManager
{
    // Members that compute wrong numbers, and how it was found out.
    private readonly Dictionary<TrainerId, string> _wrong = [];
    private bool _isDoubted;

    /// <summary>Why all are about to return to the last checkpoint, for people; null if they are not.</summary>
    public string? ReturnReason { get; private set; }

    /// <summary>A member computes wrong numbers: the next world is formed without it.</summary>
    /// <param name="id">The member; anybody else is ignored.</param>
    /// <param name="reason">How it was found out, for people.</param>
    public void PutOut(TrainerId id, string reason)
    {
        if (IsMember(id))
        {
            _wrong[id] = reason;
        }
    }

    /// <summary>
    /// All members return to the last committed checkpoint, because their states are not to be trusted.
    /// </summary>
    /// <param name="reason">The reason, for people.</param>
    /// <param name="isDoubted">Whether it is not known which member was wrong.</param>
    public void ReturnAll(string reason, bool isDoubted) => (ReturnReason, _isDoubted) = (reason, isDoubted);

    // A world without members: its number makes everything from before it stale.
    private WorldRecord EndWorld() => _record with
    {
        World = new World(NextNumber(), _record.SafeStep, [], []), Returned = NextNumber(), IsDoubted = _isDoubted,
    };

    // Members to put out so that the others reach each other. A link counts after a while: it may come back, or one of
    // its ends may turn out to be dead.
    private IReadOnlySet<TrainerId> Cut(TimeSpan now)
    {
        (TrainerId, TrainerId)[] broken =
        [
            .. _broken.Where(link => now - link.Value >= options.LinkPatience
                && !IsLost(link.Key.One, now) && !IsLost(link.Key.Other, now)).Select(link => link.Key),
        ];
        return LinkCover.Of(broken, id => Find(id)?.Report.Speed ?? 0);
    }

    private void NoteLinks(TrainerReport report, TimeSpan now)
    {
        if (report.World != World?.Number)
        {
            return;
        }

        foreach (TrainerId other in report.Unreachable.Where(other => other != report.Id && IsMember(other)))
        {
            _broken.TryAdd(Link(report.Id, other), now);
        }

        // A link is whole again when neither end reports it.
        foreach ((TrainerId One, TrainerId Other) link in _broken.Keys
            .Where(link => link.One == report.Id || link.Other == report.Id).ToArray())
        {
            TrainerId other = link.One == report.Id ? link.Other : link.One;
            if (!report.Unreachable.Contains(other) && Find(other)?.Report.Unreachable.Contains(report.Id) != true)
            {
                _broken.Remove(link);
            }
        }
    }

    private static (TrainerId One, TrainerId Other) Link(TrainerId one, TrainerId other) =>
        TrainerId.Order.Compare(one, other) < 0 ? (one, other) : (other, one);

    private void BeginBackoff(TrainerId id, TimeSpan now)
    {
        int times = _backoffs.TryGetValue(id.Name, out Backoff known) && now - known.Until < options.BackoffMax
            ? known.Times + 1 : 0;
        TimeSpan time = _wrong.ContainsKey(id) ? options.BackoffMax
            : Find(id) is { Report.IsLeaving: false, IsGone: false } && !IsLost(id, now)
            ? TimeSpan.FromTicks(Math.Min(options.BackoffMax.Ticks, options.BackoffMin.Ticks << Math.Min(times, 20)))
            : TimeSpan.Zero;
        _backoffs[id.Name] = new Backoff(times, now + time);
    }

    private bool IsBackingOff(TrainerId id, TimeSpan now) =>
        _backoffs.TryGetValue(id.Name, out Backoff backoff) && now < backoff.Until;
}
