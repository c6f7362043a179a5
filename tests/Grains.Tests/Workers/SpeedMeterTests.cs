// Goal: a worker's speed is that of its last minute of evaluations. Method: the meter alone.
using Atelier.Grains.Workers;
using Xunit;

namespace Atelier.Grains.Tests.Workers;

public sealed class SpeedMeterTests
{
    [Fact]
    public void Speed_IsTheLastMinutesOperationsPerSecondOfEvaluating()
    {
        var meter = new SpeedMeter();
        Assert.Null(meter.Speed);
        meter.Count(30, TimeSpan.FromSeconds(3));
        Assert.Equal(10, meter.Speed!.Value, 9);
        for (int i = 0; i < 60; i++)
        {
            meter.Count(20, TimeSpan.FromSeconds(1));
        }

        // After a time constant of another speed, a share of e^-1 of three seconds is left.
        Assert.InRange(meter.Speed!.Value, 19, 20);
        meter.Count(0, TimeSpan.Zero);
        Assert.InRange(meter.Speed!.Value, 19, 20);
    }
}
