// The part of a world's manager that decides which members are removed: those that other members cannot reach, and
// those that compute wrong numbers.
namespace Atelier.Training.Worlds;

public sealed partial class WorldManager
{
    // Members that compute wrong numbers, each with the evidence as text for people.
    private readonly Dictionary<TrainerId, string> _wrong = [];

    // Why all members must return to the last checkpoint; null if they need not.
    private (string Reason, bool IsDoubted)? _return;

    /// <summary>Whether all members are about to return to the last checkpoint.</summary>
    public bool IsReturning => _return is not null;

    /// <summary>Records that a member computes wrong numbers, so that the next world is formed without it.</summary>
    /// <param name="id">The member; a trainer that is not a member is ignored.</param>
    /// <param name="reason">How this was determined, as text for people.</param>
    public void Remove(TrainerId id, string reason)
    {
        if (IsMember(id))
        {
            _wrong[id] = reason;
        }
    }

    /// <summary>
    /// Makes all members return to the last committed checkpoint, because their states cannot be trusted.
    /// </summary>
    /// <param name="reason">The reason, as text for people.</param>
    /// <param name="isDoubted">Whether it is unknown which member was wrong.</param>
    public void ReturnAll(string reason, bool isDoubted) => _return = (reason, isDoubted);

    private WorldRecord EndWorld() => _record.Ended(NextNumber(), _return is { IsDoubted: true });

    // Members to remove so that the remaining ones can all reach each other. A broken link counts only after a while:
    // it may recover, or one of its ends may turn out to be dead.
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
        // A spectator with a dead link is not admitted, but does not disturb the members either.
        if (report.World != World?.Number || !IsMember(report.Id))
        {
            return;
        }

        foreach (TrainerId other in report.Unreachable.Where(other => other != report.Id && IsMember(other)))
        {
            _broken.TryAdd(Link(report.Id, other), now);
        }

        // A link counts as working again when neither end reports it as broken.
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
