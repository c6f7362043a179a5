// The time by which a process counts leases, timeouts and retries: it never jumps. The wall clock may be set, forwards
// and backwards, at any moment; what is due in five seconds is due in five seconds all the same.
namespace Atelier.ServiceDefaults;

/// <summary>UTC when the clock was made, plus the time that has passed since.</summary>
public sealed class SteadyClock : TimeProvider
{
    private readonly TimeProvider _wall;
    private readonly DateTimeOffset _origin;
    private readonly long _start;

    /// <summary>Starts at the wall clock's time.</summary>
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
    /// Gets by how much the wall clock was set since this clock was made; negative if it was set back.
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
