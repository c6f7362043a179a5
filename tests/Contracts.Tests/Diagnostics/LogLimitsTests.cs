// Goal: a flood of events makes few log lines, and their counts add up. Method: a clock that the test sets.
using Atelier.Contracts.Diagnostics;
using Xunit;

namespace Atelier.Contracts.Tests.Diagnostics;

public sealed class LogLimitsTests
{
    [Fact]
    public void OfEachKind_OneEventInAPeriodPasses_WithTheNumberOfTheOthers()
    {
        var clock = new Clock();
        var limits = new LogLimits(clock);
        Assert.True(limits.Passes("refused", "busy", out int count));
        Assert.Equal(1, count);
        for (int i = 0; i < 1000; i++)
        {
            Assert.False(limits.Passes("refused", "busy", out _));
        }

        Assert.True(limits.Passes("refused", "gone", out count));
        Assert.Equal(1, count);
        clock.Ticks += (LogLimits.Period - TimeSpan.FromTicks(1)).Ticks;
        Assert.False(limits.Passes("refused", "busy", out _));
        clock.Ticks += 1;
        Assert.True(limits.Passes("refused", "busy", out count));
        Assert.Equal(1002, count);
        Assert.False(limits.Passes("refused", "busy", out _));
    }

    private sealed class Clock : TimeProvider
    {
        public long Ticks { get; set; } = 1;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Ticks;
    }
}
