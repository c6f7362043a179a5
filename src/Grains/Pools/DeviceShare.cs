// One device that pictures and training share. The worker reports when it holds pictures; the trainer waits before each
// of its shards until the device has drawn none for a while. So a picture waits for at most the shard in flight.
namespace Atelier.Grains.Pools;

/// <summary>The two users of a device: pictures come first. Thread-safe.</summary>
/// <param name="lendAfter">How long the device must have drawn no picture before training continues.</param>
/// <param name="clock">Measures that time.</param>
internal sealed class DeviceShare(TimeSpan lendAfter, TimeProvider clock)
{
    private readonly Lock _lock = new();

    // Guarded by the lock.
    private bool _holdsPictures;
    private bool _isKept;
    private long _servingSince;
    private long _idleSince = clock.GetTimestamp();
    private bool _hasServed;
    private TaskCompletionSource _changed = NewSignal();

    /// <summary>
    /// Whether the device trains without interruption. Its worker then takes no pictures; those that it holds are
    /// finished first.
    /// </summary>
    public bool IsKept
    {
        get
        {
            lock (_lock)
            {
                return _isKept;
            }
        }

        set
        {
            lock (_lock)
            {
                _isKept = value;
            }
        }
    }

    /// <summary>
    /// How long the device has been drawing pictures, short pauses included; zero if training may use it.
    /// </summary>
    public TimeSpan Serving
    {
        get
        {
            lock (_lock)
            {
                return TimeLeft() <= TimeSpan.Zero ? TimeSpan.Zero : clock.GetElapsedTime(_servingSince);
            }
        }
    }

    /// <summary>How long the device has drawn no picture; zero while it draws one.</summary>
    public TimeSpan Idle
    {
        get
        {
            lock (_lock)
            {
                return _holdsPictures ? TimeSpan.Zero : clock.GetElapsedTime(_idleSince);
            }
        }
    }

    /// <summary>Records whether the device's worker holds pictures.</summary>
    public void SetServing(bool holdsPictures)
    {
        TaskCompletionSource changed;
        lock (_lock)
        {
            if (holdsPictures == _holdsPictures)
            {
                return;
            }

            if (holdsPictures && TimeLeft() <= TimeSpan.Zero)
            {
                _servingSince = clock.GetTimestamp();
            }

            (_holdsPictures, _hasServed, _idleSince) = (holdsPictures, true, clock.GetTimestamp());
            (changed, _changed) = (_changed, NewSignal());
        }

        changed.SetResult();
    }

    /// <summary>Waits until training may use the device.</summary>
    public async Task WhenFreeAsync(CancellationToken cancellation)
    {
        while (true)
        {
            Task changed;
            TimeSpan left;
            lock (_lock)
            {
                (changed, left) = (_changed.Task, TimeLeft());
            }

            if (left <= TimeSpan.Zero)
            {
                return;
            }

            using var pause = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
            await Task.WhenAny(changed, Task.Delay(left, clock, pause.Token));
            await pause.CancelAsync();
            cancellation.ThrowIfCancellationRequested();
        }
    }

    // Time until training may use the device, if no further picture comes.
    private TimeSpan TimeLeft() =>
        _holdsPictures ? TimeSpan.FromHours(1)
        : _hasServed ? lendAfter - clock.GetElapsedTime(_idleSince)
        : TimeSpan.Zero;

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}

/// <summary>The devices of a silo that pictures and training share.</summary>
internal sealed class DeviceShares(Microsoft.Extensions.Options.IOptions<PoolOptions> options, TimeProvider clock)
{
    private readonly System.Collections.Concurrent.ConcurrentDictionary<string, DeviceShare> _shares =
        new(StringComparer.Ordinal);

    /// <summary>The share of a device.</summary>
    /// <param name="device">The device's name within its silo.</param>
    public DeviceShare Of(string device) =>
        _shares.GetOrAdd(device, _ => new DeviceShare(options.Value.LendAfter, clock));
}
