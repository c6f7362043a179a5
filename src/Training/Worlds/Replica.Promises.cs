// The part of a replica that promises worlds to the manager: from then on, it is frozen until such a world begins.
namespace Atelier.Training.Worlds;

public sealed partial class Replica<T>
{
    private int _promised;

    // A promise that the manager has asked for, and the position at which the replica makes it.
    private (int World, long From)? _promise;

    /// <summary>
    /// Highest world number that the trainer has promised. It sends and applies nothing of older worlds.
    /// </summary>
    public int Promised => _promised;

    private bool IsFrozen => _promised > (_world?.Number ?? 0);

    /// <summary>
    /// Notifies the replica that the manager does not answer. It makes no further promise then: nobody would form the
    /// world for which training stopped. The manager's next answer asks again.
    /// </summary>
    public void ManagerIsSilent() => _promise = null;

    private void TakePromise(ManagerAnswer answer)
    {
        _promise = answer.Promise > Math.Max(_promised, _world?.Number ?? 0)
            ? (answer.Promise, answer.PromiseFrom ?? 0) : null;
        PromiseIfDue();
    }

    // After the stage's last step, the replica promises at once: no later step ends.
    private void PromiseIfDue()
    {
        if (_promise is { } promise && (Position >= promise.From || Position >= steps || !IsMember))
        {
            (_promised, _promise) = (promise.World, null);
        }
    }
}
