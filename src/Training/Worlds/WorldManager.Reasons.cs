// The part of a world's manager that decides whether a new world is needed, and whether it can wait for the end of the
// step in progress.
namespace Atelier.Training.Worlds;

public sealed partial class WorldManager
{
    /// <summary>Why a new world is needed, as text for people; null if it is not.</summary>
    public string? Reason(TimeSpan now) => UrgentReason(now) ?? ReasonThatCanWait(now);

    private void BeginForming(TimeSpan now)
    {
        string? urgent = UrgentReason(now);
        if ((urgent ?? ReasonThatCanWait(now)) is { } reason)
        {
            (_forming, Cause, _isGrowth) = (NextNumber(), reason, urgent is null);
            _promiseFrom = _isGrowth ? EndOfStep(now) : null;
        }
    }

    private string? UrgentReason(TimeSpan now)
    {
        if (World is null)
        {
            return "the stage begins";
        }

        if (_return is { Reason: var reason })
        {
            return reason;
        }

        if (World.Members.IsEmpty)
        {
            return "all trainers return to the last checkpoint";
        }

        if (_wrong.Count > 0)
        {
            return string.Join("; ", _wrong.Values);
        }

        TrainerId[] lost = [.. Members.Where(id => IsLost(id, now))];
        if (lost.Length > 0)
        {
            return $"trainers were lost: {string.Join(", ", lost)}";
        }

        if (Members.FirstOrDefault(id => Find(id) is { Report.IsLeaving: true }) is { Name: not null } leaving
            && IsAnyStaying(now))
        {
            return $"{leaving} is leaving";
        }

        if (Members.FirstOrDefault(id => Find(id) is { } member && member.Report.World == World.Number
            && !member.Report.HasState) is { Name: not null } empty)
        {
            return $"{empty} has no weights";
        }

        if (Cut(now) is { Count: > 0 } cut)
        {
            return $"{string.Join(", ", cut)} cannot be reached by other members";
        }

        int known = Math.Max(World.Number, _forming);
        if (_trainers.Values.Any(trainer => !trainer.IsGone && trainer.Report.Promised > known))
        {
            return "a trainer has promised a later world";
        }

        if (now - _progress.At > StallAfter(World))
        {
            return $"no step was applied for {StallAfter(World).TotalSeconds:f0} s";
        }

        return ShardsToTake(now);
    }

    private string? ReasonThatCanWait(TimeSpan now)
    {
        // A manager that has just started does not know the position yet.
        bool isKnown = Members.All(id => Find(id) is not null);
        bool isFull = World!.Members.Length >= shards && !World.Members.Any(member => IsServing(member.Id));
        return !MayGrow(now) || !isKnown ? null
            : ShardsToGive() ?? (!isFull && IsAnyNewcomerFree ? "newcomers have caught up" : null);
    }

    // A world that has lost most of its members needs more time for a step.
    private TimeSpan StallAfter(World world)
    {
        TimeSpan expected = StepsPerStall * StepTime(world);
        return expected > options.StallAfter ? expected : options.StallAfter;
    }

    // The time of a step at the members' measured speeds, without the exchange of gradients.
    private TimeSpan StepTime(World world)
    {
        double seconds = world.Members.Max(member =>
            member.Shards.Count / Math.Max(Find(member.Id)?.Report.Speed ?? 1, 1e-6));
        return TimeSpan.FromSeconds(Math.Min(seconds, TimeSpan.MaxValue.TotalSeconds / 2 / StepsPerStall));
    }

    // The position at which members can make a promise without interrupting a step. If the step in progress may have
    // ended since the last reports, it is the end of the next one.
    private long EndOfStep(TimeSpan now) =>
        _progress.Position + (now - _progress.At > StepTime(World!) - options.DoubtedLostAfter ? 2 : 1);

    // After a step, members promise at almost the same time. One that is late may need what the others no longer send.
    private bool HavePromisesWaited(TimeSpan now)
    {
        if (_promisedSince is null && Members.Any(id => Find(id) is { } member && member.Report.Promised >= _forming))
        {
            _promisedSince = now;
        }

        return now - _promisedSince > options.JoinPatience;
    }
}
