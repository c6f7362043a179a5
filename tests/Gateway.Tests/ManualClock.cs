// A clock that stands still until it is advanced; timers run by the real one.
namespace Atelier.Gateway.Tests;

/// <summary>A clock for tests.</summary>
internal sealed class ManualClock : TimeProvider
{
    private TimeSpan _passed = TimeSpan.FromDays(1);

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override DateTimeOffset GetUtcNow() => new DateTimeOffset(2030, 1, 1, 0, 0, 0, TimeSpan.Zero) + _passed;

    public override long GetTimestamp() => _passed.Ticks;

    public void Advance(TimeSpan time) => _passed += time;
}
