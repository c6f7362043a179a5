// The bound on what is received and not yet taken. A reader without a credit does not read, and TCP makes its sender
// wait.
namespace Atelier.Silo.Training;

/// <summary>Bytes that may be held, dealt to readers in the order in which they ask.</summary>
/// <param name="bytes">All of them.</param>
internal sealed class ReceiveCredits(long bytes)
{
    private readonly Lock _gate = new();
    private readonly LinkedList<(long Bytes, TaskCompletionSource Granted)> _waiting = [];
    private readonly long _all = bytes;
    private long _free = bytes;

    /// <summary>Waits for bytes; for all of them if more are asked for than there are.</summary>
    /// <returns>Gives the bytes back when it is disposed.</returns>
    public async ValueTask<IDisposable> TakeAsync(long wanted, CancellationToken cancellation)
    {
        long taken = Math.Min(wanted, _all);
        LinkedListNode<(long, TaskCompletionSource Granted)>? node = null;
        lock (_gate)
        {
            if (_waiting.Count == 0 && _free >= taken)
            {
                _free -= taken;
            }
            else
            {
                node = _waiting.AddLast(
                    (taken, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)));
            }
        }

        if (node is not null)
        {
            try
            {
                await node.Value.Granted.Task.WaitAsync(cancellation);
            }
            catch (OperationCanceledException)
            {
                GiveUp(node, taken);
                throw;
            }
        }

        return new Credit(this, taken);
    }

    private void GiveUp(LinkedListNode<(long, TaskCompletionSource)> node, long taken)
    {
        lock (_gate)
        {
            if (node.List is not null)
            {
                _waiting.Remove(node);
                taken = 0; // It was not granted.
            }
        }

        Return(taken);
    }

    private void Return(long returned)
    {
        lock (_gate)
        {
            _free += returned;
            while (_waiting.First is { Value: var first } && _free >= first.Bytes)
            {
                _free -= first.Bytes;
                _waiting.RemoveFirst();
                first.Granted.SetResult();
            }
        }
    }

    private sealed class Credit(ReceiveCredits credits, long taken) : IDisposable
    {
        private long _taken = taken;

        public void Dispose() => credits.Return(Interlocked.Exchange(ref _taken, 0));
    }
}
