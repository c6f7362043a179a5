// The clock by which a process measures leases, timeouts and retries. It never jumps: the wall clock may be set forward
// or backward at any moment, and what is due in five seconds is still due in five seconds.
namespace Atelier.ServiceDefaults;

/// <summary>UTC at the clock's creation, plus the time that has passed since.</summary>
public sealed class SteadyClock : TimeProvider
{
    private readonly TimeProvider _wall;
    private readonly DateTimeOffset _origin;
    private readonly long _start;

    /// <summary>Starts the clock at the wall clock's time.</summary>
    /// <param name="wall">The wall clock; its timestamps and timers are monotonic.</param>
    public SteadyClock(TimeProvider wall)
    {
        ArgumentNullException.ThrowIfNull(wall);
        (_wall, _origin, _start) = (wall, wall.GetUtcNow(), wall.GetTimestamp());
    }

    /// <inheritdoc/>
    public override long TimestampFrequency => _wall.TimestampFrequency;

    /// <inheritdoc/>
    public override TimeZoneInfo LocalTimeZone => _wall.LocalTimeZone;

    /// <summary>
    /// Gets the step of the wall clock since this clock was created; negative if it was set back.
    /// </summary>
    public TimeSpan WallStep => _wall.GetUtcNow() - GetUtcNow();

    /// <inheritdoc/>
    public override DateTimeOffset GetUtcNow() => _origin + _wall.GetElapsedTime(_start);

    /// <inheritdoc/>
    public override long GetTimestamp() => _wall.GetTimestamp();

    /// <inheritdoc/>
    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
        _wall.CreateTimer(callback, state, dueTime, period);
}
