// Time that passes when the test says so; timers fire in order while it does.
using Atelier.Grains.Tests;

namespace Atelier.Silo.Tests.Hosting;

internal sealed class FakeTime : TimeProvider
{
    private readonly Lock _gate = new();
    private readonly List<FakeTimer> _timers = [];
    private TimeSpan _now = TimeSpan.FromDays(1);

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => Now.Ticks;

    /// <summary>How far the wall clock was set; timestamps and timers do not notice it.</summary>
    public TimeSpan Set { get; set; }

    public override DateTimeOffset GetUtcNow() => DateTimeOffset.UnixEpoch.AddYears(60) + Set + Now;

    private TimeSpan Now
    {
        get
        {
            lock (_gate)
            {
                return _now;
            }
        }
    }

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new FakeTimer(this, callback, state);
        timer.Change(dueTime, period);
        return timer;
    }

    /// <summary>Waits until so many timers are set, that is until code that waits has come to its wait.</summary>
    public Task TimersAsync(int count) => Eventually.TrueAsync(() =>
    {
        lock (_gate)
        {
            return _timers.Count == count;
        }
    });

    public void Advance(TimeSpan by)
    {
        TimeSpan end = Now + by;
        while (Next(end) is { } timer)
        {
            timer.Fire();
        }
    }

    // The first timer that is due by then, with the time set to its moment.
    private FakeTimer? Next(TimeSpan end)
    {
        lock (_gate)
        {
            FakeTimer? first = _timers.Where(timer => timer.DueAt <= end).MinBy(timer => timer.DueAt);
            _now = first?.DueAt ?? end;
            if (first is not null && first.Period > TimeSpan.Zero)
            {
                first.DueAt += first.Period;
            }
            else if (first is not null)
            {
                _timers.Remove(first);
            }

            return first;
        }
    }

    private sealed class FakeTimer(FakeTime time, TimerCallback callback, object? state) : ITimer
    {
        public TimeSpan DueAt { get; set; }

        public TimeSpan Period { get; private set; }

        public void Fire() => callback(state);

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            lock (time._gate)
            {
                time._timers.Remove(this);
                (DueAt, Period) = (time._now + dueTime, period);
                if (dueTime >= TimeSpan.Zero)
                {
                    time._timers.Add(this);
                }

                return true;
            }
        }

        public void Dispose()
        {
            lock (time._gate)
            {
                time._timers.Remove(this);
            }
        }

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
