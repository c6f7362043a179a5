// Goal: the simulation that compares ways to scale a pool counts waits and device-hours rightly, and loads depend on
// their seed alone. Method: days of a few requests whose outcome is known.
using Atelier.Cli.Bench.Elasticity;

namespace Atelier.Cli.Tests.Bench.Elasticity;

public sealed class ElasticPoolTests
{
    [Fact]
    public void ADay_IsAFunctionOfItsSeed_WithTidesBurstsAndAQuietNight()
    {
        ElasticDay day = ElasticDay.Of(1), same = ElasticDay.Of(1), other = ElasticDay.Of(2);
        Assert.Equal(day.Requests, same.Requests);
        Assert.NotEqual(day.Requests.Count, other.Requests.Count);
        Assert.Equal(day.Requests.OrderBy(one => one.At), day.Requests);
        Assert.InRange(day.Target - day.ColdStart, 30, 60);
        int[] hours = [.. day.Requests.GroupBy(one => (int)(one.At / 3600)).Select(hour => hour.Count())];
        Assert.InRange(hours.Min(), 0, 20);
        Assert.InRange(hours.Max(), 1000, 100_000);
    }

    // Speed 2: a request of 4 s takes 2 s. The third one waits for the first one to end.
    [Fact]
    public void RequestsWait_ForADevice()
    {
        ElasticFigures figures = ElasticPool.Run(Day([(10, 4), (10, 4), (11, 4)], target: 0.5), new FixedScaler(2));
        Assert.Equal(1, figures.WaitSeconds, 9);
        Assert.Equal(0, figures.MinutesWithin);
        Assert.Equal(2 * 24, figures.DeviceHours, 0.1);
        Assert.Equal(1, ElasticPool.Run(Day([(10, 4), (11, 4)], target: 0.5), new FixedScaler(2)).MinutesWithin);
    }

    [Fact]
    public void FromZero_TheFirstRequestWaitsForTheColdStart_AndTheDeviceEndsAfterFiveQuietMinutes()
    {
        ElasticFigures figures = ElasticPool.Run(
            Day([(1000, 4), (5000, 4)]) with { Minimum = 0 }, new InFlightScaler(1, 0));
        Assert.Equal(60, figures.WaitSeconds, 9);
        Assert.Equal(1, figures.MinutesWithin);
        Assert.InRange(
            3600 * figures.DeviceHours, 2 * (62 + 300 - ElasticPool.Period), 2 * (62 + 300 + ElasticPool.Period));
    }

    [Fact]
    public void AReleasedDevice_FinishesItsRequest()
    {
        var scaler = new Steps(at => at < 100 ? 1 : 0);
        ElasticFigures figures = ElasticPool.Run(Day([(90, 200)]) with { Minimum = 0 }, scaler);
        Assert.Equal(190, 3600 * figures.DeviceHours, 1e-6);
        Assert.Equal(0, figures.WaitSeconds);
    }

    [Fact]
    public void InFlight_FollowsTheRulesOfTheHorizontalAutoscaler()
    {
        var scaler = new InFlightScaler(2, 1);
        Assert.Equal(1, scaler.Wanted(Sample(0, inFlight: 0, devices: 1)));
        Assert.Equal(5, scaler.Wanted(Sample(15, inFlight: 40, devices: 1))); // Four more.
        Assert.Equal(10, scaler.Wanted(Sample(30, inFlight: 40, devices: 5))); // Twice as many.
        Assert.Equal(10, scaler.Wanted(Sample(45, inFlight: 21, devices: 10))); // Within the tolerance.
        Assert.Equal(10, scaler.Wanted(Sample(60, inFlight: 4, devices: 10))); // Not within five minutes.
        Assert.Equal(10, scaler.Wanted(Sample(345, inFlight: 4, devices: 10)));
        Assert.Equal(2, scaler.Wanted(Sample(361, inFlight: 4, devices: 10)));
    }

    [Fact]
    public void TheSmallestFixedPool_MeetsTheGoal_AndOneDeviceLessDoesNot()
    {
        ElasticityFigures figures = ElasticityBench.Measure(3);
        ElasticDay day = ElasticDay.Of(3);
        Assert.InRange(figures.Fixed.MinutesWithin, ElasticityBench.Goal, 1);
        Assert.InRange(
            ElasticPool.Run(day, new FixedScaler(figures.Devices - 1)).MinutesWithin, 0, ElasticityBench.Goal - 1e-9);
        Assert.Equal(ElasticityBench.Constants.Length, figures.InFlight.Count);

        // Less per device means more devices.
        Assert.True(figures.InFlight[0].DeviceHours > figures.InFlight[^1].DeviceHours);
    }

    private static ElasticDay Day((double At, double Work)[] requests, double target = 100) => new()
    {
        Requests = [.. requests.Select(one => new ElasticRequest(one.At, one.Work))], ColdStart = 60, Speed = 2,
        Minimum = 1, Target = target,
    };

    private static ElasticSample Sample(double now, int inFlight, int devices) => new()
    {
        Now = now, Waiting = 0, Running = inFlight, Backlog = 0, Arrived = 0, Ready = devices, Starting = 0,
    };

    private sealed class Steps(Func<double, int> wanted) : IPoolScaler
    {
        public int Wanted(in ElasticSample sample) => wanted(sample.Now);
    }
}
