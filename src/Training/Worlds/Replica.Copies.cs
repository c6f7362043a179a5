// The part of a replica that sends copies of the state to spectators, and receives one as a spectator.
namespace Atelier.Training.Worlds;

public sealed partial class Replica<T>
{
    /// <summary>
    /// Processes the loss of a connection to a peer, with all frames in flight. If this trainer is a member, the
    /// manager decides what follows. A spectator starts over, because it may have missed totals.
    /// </summary>
    public void Disconnected(TrainerId peer)
    {
        _followers.Remove(peer);
        _copies.RemoveAll(copy => copy.From == peer);
        if (_isFollowing && _world?.Has(peer) == true)
        {
            StartOver();
        }
    }

    private void ServeCopies()
    {
        foreach ((TrainerId from, CopyFrame ask) in _copies.Where(one => one.Ask.Step <= Position).ToArray())
        {
            object? part = ask.Step == Position ? host.Copy(ask.Part, ask.Parts) : null;
            host.Send(from, new StateFrame(_world!.Number, ask.Step, ask.Part, ask.Parts, part));
        }

        _copies.RemoveAll(one => one.Ask.Step <= Position);
    }

    // Each owner sends its totals only from some step on. All totals will arrive from the latest of these steps on, so
    // the copy must be of that step or a later one.
    private void BeginCopy()
    {
        long firstTotal = _followed.Values.Max();
        if (HasState)
        {
            if (firstTotal <= _totals.FirstMissing(Position))
            {
                return;
            }

            Forget();
        }

        long later = Math.Max(firstTotal, _totals.Last) + 1;
        _totals.DropBefore(firstTotal);

        _copyOf = later;
        int parts = Math.Min(_world!.Members.Length, StateParts.Max);
        _parts = new object?[parts];
        int first = (int)((uint)id.GetHashCode() % (uint)_world.Members.Length);
        for (int part = 0; part < parts; part++)
        {
            host.Send(
                _world.Members[(first + part) % _world.Members.Length].Id,
                new CopyFrame(_world.Number, later, part, parts));
        }
    }

    private void Take(StateFrame state)
    {
        if (state.State is not { } part)
        {
            BeginCopy(); // The member is already past that step.
            return;
        }

        if (state.Parts != _parts.Length)
        {
            return;
        }

        _parts[state.Part] = part;
        object[] all = [.. _parts.OfType<object>()];
        if (all.Length < _parts.Length)
        {
            return;
        }

        _parts = [];
        if (!host.LoadParts(all))
        {
            StartOver();
            return;
        }

        (HasState, Position, Since, _copyOf) = (true, state.Step, state.Step, null);
        _totals.DropBefore(Position);
        Advance();
    }

    private void StartOver()
    {
        Forget();
        if (_world is { } world && !IsMember)
        {
            _followed.Clear();
            foreach (WorldMember member in world.Members)
            {
                host.Send(member.Id, new FollowFrame(world.Number));
            }
        }
    }

    private void Forget()
    {
        (HasState, _last, _current, _next, _copyOf, _restoring) = (false, null, null, null, null, null);
        (Position, Since) = (0, long.MaxValue);
        _parts = [];
        _totals.Clear();
        ForgetReview();
    }

    // Requests the totals of the step that the world's level members have already applied. A member of the previous
    // world that has advanced since then has applied the step itself; others may have copied their state after it. If
    // the replica knows no such member, it asks all of them.
    private void CatchUp(World world, World? before)
    {
        TrainerId[] sure = before?.FirstStep < world.FirstStep ? [.. world.Level.Where(before.Has)] : [];
        foreach (TrainerId level in sure.Length > 0 ? [sure[_self % sure.Length]] : world.Level)
        {
            host.Send(level, new CatchUpFrame(world.Number, Position));
        }
    }
}
