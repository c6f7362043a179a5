// The limit on bytes that are received but not processed yet. A reader without a credit does not read, so TCP makes the
// sender wait.
namespace Atelier.Silo.Training;

/// <summary>A budget of bytes. Readers get their share in the order of their requests.</summary>
/// <param name="bytes">The whole budget.</param>
internal sealed class ReceiveCredits(long bytes)
{
    private readonly Lock _gate = new();
    private readonly LinkedList<(long Bytes, TaskCompletionSource Granted)> _waiting = [];
    private readonly long _all = bytes;
    private long _free = bytes;

    /// <summary>
    /// Waits until the wanted bytes are free. A reader that wants more than the whole budget gets the whole budget.
    /// </summary>
    /// <returns>A credit, which returns the bytes when it is disposed.</returns>
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
                taken = 0; // The bytes were not granted.
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
