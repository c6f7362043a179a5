// The part of a replica that gives and takes copies of the state.
namespace Atelier.Training.Worlds;

public sealed partial class Replica<T>
{
    private void ServeCopies()
    {
        foreach ((TrainerId from, long step) in _copies.Where(one => one.Step <= Position).ToArray())
        {
            host.Send(from, new StateFrame(_world!.Number, step, step == Position ? host.Copy() : null));
        }

        _copies.RemoveAll(one => one.Step <= Position);
    }

    // All owners send their totals from some step on: the copy must be of that step or a later one.
    private void BeginCopy()
    {
        long first = _followed.Values.Max();
        if (HasState)
        {
            if (first <= _totals.FirstMissing(Position))
            {
                return;
            }

            Forget();
        }

        long later = Math.Max(first, _totals.Last) + 1;
        _totals.DropBefore(first);

        _copyOf = later;
        WorldMember source = _world!.Members[(int)((uint)id.GetHashCode() % (uint)_world.Members.Length)];
        host.Send(source.Id, new CopyFrame(_world.Number, later));
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
        Position = 0;
        _totals.Clear();
        ForgetReview();
    }
}
