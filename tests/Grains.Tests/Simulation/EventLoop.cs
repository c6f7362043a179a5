// Simulated time. One thread runs everything; actions due at the same time run in the order in which they were
// scheduled, so a run is a pure function of its seed.
using System.Reflection;

namespace Atelier.Grains.Tests.Simulation;

/// <summary>A queue of actions ordered by time.</summary>
internal sealed class EventLoop
{
    private readonly PriorityQueue<Action, (long At, long Order)> _events = new();
    private readonly Queue<Action> _ready = new();
    private long _order;

    /// <summary>Time since the start.</summary>
    public TimeSpan Now { get; private set; }

    /// <summary>Runs an action now, after those that are already due.</summary>
    public void Post(Action action) => _ready.Enqueue(action);

    /// <summary>Runs an action after a delay.</summary>
    public void After(TimeSpan time, Action action) => _events.Enqueue(action, ((Now + time).Ticks, ++_order));

    /// <summary>Advances time without running anything, as on a machine that sleeps.</summary>
    public void Stall(TimeSpan time) => Now += time;

    /// <summary>Runs until a condition holds; false if that takes longer than the limit.</summary>
    public bool Run(Func<bool> isOver, TimeSpan limit)
    {
        TimeSpan end = Now + limit;
        while (true)
        {
            while (_ready.TryDequeue(out Action? ready))
            {
                ready();
            }

            if (isOver())
            {
                return true;
            }

            if (!_events.TryDequeue(out Action? next, out (long At, long Order) due) || due.At > end.Ticks)
            {
                if (next is not null)
                {
                    _events.Enqueue(next, due);
                }

                // If every process is dead, nothing happens until then.
                Now = end;
                return isOver();
            }

            Now = TimeSpan.FromTicks(Math.Max(Now.Ticks, due.At));
            next();
        }
    }
}

/// <summary>Runs the code of one activation or of one loop, for as long as its process lives.</summary>
/// <param name="loop">Time.</param>
/// <param name="silo">The process; null for a client, which never dies.</param>
/// <param name="grain">The activation; null for other code.</param>
internal sealed class SimulatedContext(EventLoop loop, SimulatedSilo? silo, IGrainContext? grain)
    : SynchronizationContext
{
    // Orleans calls this for each turn, so that a grain knows whose constructor runs.
    private static readonly Action<IGrainContext?> s_enter = typeof(IGrainContext).Assembly
        .GetType("Orleans.Runtime.RuntimeContext", throwOnError: true)!
        .GetMethod("ResetExecutionContext", BindingFlags.NonPublic | BindingFlags.Static)!
        .CreateDelegate<Action<IGrainContext?>>();

    public override void Post(SendOrPostCallback d, object? state) => Post(() => d(state));

    public override void Send(SendOrPostCallback d, object? state) => throw new NotSupportedException();

    public override SynchronizationContext CreateCopy() => this;

    public void Post(Action action) => loop.Post(() =>
    {
        if (silo is null)
        {
            Run(action);
        }
        else
        {
            silo.Run(() => Run(action));
        }
    });

    private void Run(Action action)
    {
        SynchronizationContext? before = Current;
        SetSynchronizationContext(this);
        s_enter(grain);
        try
        {
            action();
        }
        finally
        {
            s_enter(null);
            SetSynchronizationContext(before);
        }
    }
}

/// <summary>
/// A process's clock: its wall clock is off by an offset, and its timers run only while the process does.
/// </summary>
internal sealed class SimulatedClock(EventLoop loop, Action<Action> run, DateTimeOffset origin) : TimeProvider
{
    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override DateTimeOffset GetUtcNow() => origin + loop.Now;

    public override long GetTimestamp() => loop.Now.Ticks;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new Timer(loop, run, () => callback(state));
        timer.Change(dueTime, period);
        return timer;
    }

    private sealed class Timer(EventLoop loop, Action<Action> run, Action callback) : ITimer
    {
        private volatile int _version;

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            Schedule(++_version, dueTime, period);
            return true;
        }

        public void Dispose() => _version++;

        public ValueTask DisposeAsync()
        {
            Dispose();
            return default;
        }

        private void Schedule(int version, TimeSpan dueTime, TimeSpan period)
        {
            if (dueTime != Timeout.InfiniteTimeSpan)
            {
                loop.After(dueTime, () => run(() =>
                {
                    if (version == _version)
                    {
                        callback();
                        if (version == _version && period != Timeout.InfiniteTimeSpan)
                        {
                            Schedule(version, period, period);
                        }
                    }
                }));
            }
        }
    }
}
