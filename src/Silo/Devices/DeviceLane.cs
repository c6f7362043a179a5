// The one thread that uses a device, and the right to use it: libtorch's scopes belong to threads, and running one
// piece of work at a time makes a device's timing predictable. The lane has one owner at a time, so that pictures and
// training take turns. Work that exceeds its time limit ends the process, because a kernel cannot be stopped.
using System.Collections.Concurrent;
using Atelier.Contracts.Queueing;
using Atelier.Model.Runtime;
using static TorchSharp.torch;

namespace Atelier.Silo.Devices;

/// <summary>
/// A thread that belongs to one owner at a time. Others wait for it in order of arrival.
/// </summary>
public sealed class DeviceLane : IDisposable
{
    /// <summary>Default maximum number of waiters: several for each work item that a worker may hold.</summary>
    public const int WaitersStandard = 4 * WorkerTurn.HeldMax;

    private readonly BlockingCollection<Action> _items = [];
    private readonly Thread _thread;
    private readonly TimeProvider _clock;
    private readonly Action<Exception> _onFault;
    private readonly int _waitersMax;
    private readonly DeviceInstruments? _instruments;
    private readonly Lock _lock = new();

    // Guarded by the lock.
    private readonly LinkedList<DeviceLoan> _waiting = new();
    private DeviceLoan? _owner;
    private bool _isBusy;
    private bool _isClosed;
    private Exception? _fault;

    /// <summary>Starts the thread.</summary>
    /// <param name="name">Name of the thread.</param>
    /// <param name="onStart">Runs first on the thread.</param>
    /// <param name="clock">Measures the duration of work.</param>
    /// <param name="onFault">Called once, when the device is lost; it should end the process.</param>
    /// <param name="waitersMax">Maximum number of waiters.</param>
    /// <param name="instruments">Measures the lane's use; null if nothing measures it.</param>
    public DeviceLane(
        string name, Action onStart, TimeProvider clock, Action<Exception> onFault, int waitersMax = WaitersStandard,
        DeviceInstruments? instruments = null)
    {
        (_clock, _onFault, _waitersMax, _instruments) = (clock, onFault, waitersMax, instruments);
        _thread = new Thread(() =>
        {
            onStart();
            foreach (Action item in _items.GetConsumingEnumerable())
            {
                item();
            }
        })
        {
            Name = name, IsBackground = true,
        };
        _thread.Start();
    }

    /// <summary>Whether the caller runs on the lane's thread.</summary>
    public bool IsCurrent => ReferenceEquals(Thread.CurrentThread, _thread);

    /// <summary>Creates the lane of a libtorch device.</summary>
    /// <param name="options">Options of the device.</param>
    /// <param name="clock">Measures the duration of work.</param>
    /// <param name="instruments">Measures the lane's use; null if nothing measures it.</param>
    /// <exception cref="LibtorchException">There is no libtorch for this machine.</exception>
    public static DeviceLane Of(TorchDeviceOptions options, TimeProvider clock, DeviceInstruments? instruments = null)
    {
        Libtorch.Load();
        return new DeviceLane(
            $"device {options.Name}", () => set_num_threads(options.Threads), clock, options.OnFault,
            instruments: instruments);
    }

    /// <summary>Acquires the lane; waits while it has another owner.</summary>
    /// <param name="owner">
    /// The owner's name, for errors and as an attribute of metrics: one of a few constants, such as "pictures".
    /// </param>
    /// <param name="cancellation">
    /// Cancels the wait. Once the lane is acquired, cancels the loan, which has the same effect as disposing the loan.
    /// </param>
    /// <exception cref="DeviceBusyException">Too many callers are waiting.</exception>
    /// <exception cref="InvalidOperationException">The device is lost.</exception>
    /// <exception cref="ObjectDisposedException">The lane was closed before or during the wait.</exception>
    public Task<DeviceLoan> AcquireAsync(string owner, CancellationToken cancellation)
    {
        if (cancellation.IsCancellationRequested)
        {
            return Task.FromCanceled<DeviceLoan>(cancellation);
        }

        var granted = new TaskCompletionSource<DeviceLoan>(TaskCreationOptions.RunContinuationsAsynchronously);
        var loan = new DeviceLoan(this, owner, granted, cancellation)
        {
            RequestedAt = _clock.GetTimestamp(),
        };
        lock (_lock)
        {
            if (WhyOver() is { } reason)
            {
                return Task.FromException<DeviceLoan>(reason);
            }

            if (_owner is null)
            {
                Grant(loan);
            }
            else if (_waiting.Count < _waitersMax)
            {
                _waiting.AddLast(loan);
                _instruments?.AddWaiting(1);
            }
            else
            {
                _instruments?.Refused();
                return Task.FromException<DeviceLoan>(new DeviceBusyException(
                    $"The device is in use for {_owner.Owner}, and {_waiting.Count} callers are waiting for it."));
            }
        }

        loan.EndWhenCancelled();
        return granted.Task;
    }

    /// <summary>
    /// Frees resources on the thread on which they were created, between two pieces of work and without a loan. After
    /// the lane is closed, the end of the process frees them.
    /// </summary>
    public void Free(Action free)
    {
        lock (_lock)
        {
            if (!_isClosed)
            {
                _items.Add(() =>
                {
                    if (Try(free).Error is { } error)
                    {
                        Lose(new DeviceLostException($"The device could not free memory: {error.Message}", error));
                    }
                });
            }
        }
    }

    /// <summary>
    /// Finishes the current work and ends the thread. Waiters get an <see cref="ObjectDisposedException"/>.
    /// </summary>
    public void Dispose()
    {
        DeviceLoan[] waiting;
        bool isLost;
        lock (_lock)
        {
            if (_isClosed)
            {
                return;
            }

            (_isClosed, isLost, waiting) = (true, _fault is not null, TakeWaiting());
            _items.CompleteAdding();
        }

        Array.ForEach(waiting, Refuse);
        if (!isLost)
        {
            _thread.Join();
            _items.Dispose();
        }
    }

    internal bool IsWanted()
    {
        lock (_lock)
        {
            return _waiting.Count > 0;
        }
    }

    internal async Task<T> RunAsync<T>(DeviceLoan loan, string what, TimeSpan limit, Func<T> work)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        int answered = 0;
        using ITimer overdue = _clock.CreateTimer(
            _ =>
            {
                if (Interlocked.Exchange(ref answered, 1) == 0)
                {
                    done.SetException(Lose(new DeviceLostException(
                        $"{what} took longer than {limit.TotalSeconds:0.###} s; its kernel may never return.")));
                }
            },
            state: null, limit, Timeout.InfiniteTimeSpan);
        Begin(loan, () =>
        {
            long began = _clock.GetTimestamp();
            (T? result, Exception? error) = Try(work);
            _instruments?.Worked(loan.Owner, _clock.GetElapsedTime(began));
            if (Interlocked.Exchange(ref answered, 1) != 0)
            {
                return;
            }

            if (error is DeviceLostException)
            {
                done.SetException(Lose(error));
                return;
            }

            Finish();
            if (error is null)
            {
                done.SetResult(result!);
            }
            else
            {
                done.SetException(error);
            }
        });
        return await done.Task;
    }

    internal void Release(DeviceLoan loan)
    {
        lock (_lock)
        {
            loan.IsOver = true;
            if (ReferenceEquals(_owner, loan) && !_isBusy)
            {
                PassOn();
            }
        }
    }

    internal void Cancel(DeviceLoan loan, CancellationToken cancellation)
    {
        bool waited;
        lock (_lock)
        {
            waited = _waiting.Remove(loan);
        }

        if (waited)
        {
            _instruments?.AddWaiting(-1);
            loan.Granted.SetCanceled(cancellation);
        }
        else
        {
            Release(loan);
        }
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

    private static (bool Result, Exception? Error) Try(Action work) => Try(() =>
    {
        work();
        return true;
    });

    private void Begin(DeviceLoan loan, Action item)
    {
        lock (_lock)
        {
            if (WhyOver() is { } reason)
            {
                throw reason;
            }

            if (!ReferenceEquals(_owner, loan) || loan.IsOver)
            {
                loan.Cancellation.ThrowIfCancellationRequested();
                throw new InvalidOperationException($"The loan of the device for {loan.Owner} has ended.");
            }

            if (_isBusy)
            {
                throw new InvalidOperationException($"The previous piece of work for {loan.Owner} is not finished.");
            }

            _isBusy = true;
            _items.Add(item, CancellationToken.None);
        }
    }

    private void Finish()
    {
        lock (_lock)
        {
            _isBusy = false;
            if (_owner!.IsOver)
            {
                PassOn();
            }
        }
    }

    private void PassOn()
    {
        _owner = null;
        if (_waiting.First is { } first)
        {
            _waiting.RemoveFirst();
            _instruments?.AddWaiting(-1);
            Grant(first.Value);
        }
    }

    private void Grant(DeviceLoan loan)
    {
        _owner = loan;
        _instruments?.Waited(loan.Owner, _clock.GetElapsedTime(loan.RequestedAt));
        loan.Granted.SetResult(loan);
    }

    private Exception Lose(Exception error)
    {
        DeviceLoan[] waiting;
        lock (_lock)
        {
            if (_fault is not null)
            {
                return error;
            }

            (_fault, waiting) = (error, TakeWaiting());
        }

        _onFault(error);
        Array.ForEach(waiting, Refuse);
        return error;
    }

    private void Refuse(DeviceLoan loan)
    {
        Exception reason;
        lock (_lock)
        {
            reason = WhyOver()!;
        }

        loan.Granted.SetException(reason);
    }

    private DeviceLoan[] TakeWaiting()
    {
        DeviceLoan[] waiting = [.. _waiting];
        _instruments?.AddWaiting(-waiting.Length);
        _waiting.Clear();
        return waiting;
    }

    private Exception? WhyOver() =>
        _fault is { } fault
            ? new InvalidOperationException("The device is lost, and the process is about to exit.", fault)
        : _isClosed ? new ObjectDisposedException(_thread.Name, "The device is closed.")
        : null;
}

/// <summary>Thrown when too many callers are already waiting for a device.</summary>
/// <param name="message">The owner, and the number of waiters.</param>
public sealed class DeviceBusyException(string message) : Exception(message);
