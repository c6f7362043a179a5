// The one thread that touches a device: libtorch's scopes belong to threads, and one piece of work at a time is what
// makes a device's time plannable. Work that takes longer than it may ends the process, since nobody can stop a kernel.
using System.Collections.Concurrent;

namespace Atelier.Silo.Devices;

/// <summary>Runs pieces of work one after the other on a thread of its own.</summary>
internal sealed class DeviceThread : IDisposable
{
    private readonly BlockingCollection<Action> _items = [];
    private readonly SemaphoreSlim _turn = new(1);
    private readonly Thread _thread;
    private readonly TimeProvider _clock;
    private readonly Action<Exception> _onFault;
    private volatile Exception? _fault;

    /// <summary>Starts the thread.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="onStart">Its first act.</param>
    /// <param name="onEnd">Its last act.</param>
    /// <param name="clock">Measures how long work takes.</param>
    /// <param name="onFault">Told once that the device is lost; it is to end the process.</param>
    public DeviceThread(string name, Action onStart, Action onEnd, TimeProvider clock, Action<Exception> onFault)
    {
        (_clock, _onFault) = (clock, onFault);
        _thread = new Thread(() =>
        {
            onStart();
            foreach (Action item in _items.GetConsumingEnumerable())
            {
                item();
            }

            onEnd();
        })
        {
            Name = name, IsBackground = true,
        };
        _thread.Start();
    }

    /// <summary>Does a piece of work; who comes meanwhile waits.</summary>
    /// <param name="what">What it is, for the error if it takes too long.</param>
    /// <param name="limit">How long it may take.</param>
    /// <param name="work">The work.</param>
    /// <param name="cancellation">Cancels waiting; work that has begun is finished.</param>
    public async Task<T> RunAsync<T>(string what, TimeSpan limit, Func<T> work, CancellationToken cancellation)
    {
        await _turn.WaitAsync(cancellation);
        try
        {
            if (_fault is { } fault)
            {
                throw new InvalidOperationException("The device is lost, and the process is about to end.", fault);
            }

            var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
            int answered = 0;
            using ITimer overdue = _clock.CreateTimer(
                _ =>
                {
                    if (Interlocked.Exchange(ref answered, 1) == 0)
                    {
                        done.SetException(Lose(new DeviceLostException(
                            $"{what} took longer than {limit.TotalSeconds:0.###} s; its kernel may never come back.")));
                    }
                },
                state: null, limit, Timeout.InfiniteTimeSpan);
            _items.Add(
                () =>
                {
                    (T? result, Exception? error) = Try(work);
                    if (Interlocked.Exchange(ref answered, 1) != 0)
                    {
                        return;
                    }

                    if (error is null)
                    {
                        done.SetResult(result!);
                    }
                    else
                    {
                        done.SetException(error is DeviceLostException ? Lose(error) : error);
                    }
                },
                CancellationToken.None);
            return await done.Task;
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Lets the thread finish what it does, and end.</summary>
    public void Dispose()
    {
        _items.CompleteAdding();
        if (_fault is null)
        {
            _thread.Join();
            _items.Dispose();
        }

        _turn.Dispose();
    }

    private static (T? Result, Exception? Error) Try<T>(Func<T> work)
    {
        try
        {
            return (work(), null);
        }
        catch (Exception error)
        {
            return (default, DeviceErrors.Of(error));
        }
    }

    private Exception Lose(Exception error)
    {
        _fault = error;
        _onFault(error);
        return error;
    }
}
