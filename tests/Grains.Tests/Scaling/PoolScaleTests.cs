// Goal: a pool has the devices that keep waits within the target, and no more; it follows a burst at once and a lull
// after a while. Method: the rule alone, with loads by hand on a manual clock.
using Atelier.Grains.Scaling;
using Xunit;

namespace Atelier.Grains.Tests.Scaling;

public sealed class PoolScaleTests
{
    private readonly PoolScaleOptions _options = new()
    {
        Minimum = 0, Maximum = 50, TargetWait = TimeSpan.FromSeconds(120), ColdStart = TimeSpan.FromSeconds(60),
    };

    private double _arrived;

    [Fact]
    public void WithoutWork_ThereIsNoDevice_AndTheFirstRequestWakesThePool()
    {
        var scale = new PoolScale(_options);
        Assert.Equal(0, Wanted(scale, 0, backlog: 0));
        Assert.Equal(1, Wanted(scale, 1, backlog: 5, arrived: 5));
        Assert.Equal(1, Wanted(scale, 16, backlog: 5)); // It is starting: no second one is ordered.
        Assert.Equal(1, new PoolScale(_options with { Minimum = 1 }).Wanted(Load(0, 0), TimeSpan.Zero));
    }

    // 2,000 s of work must be done within 96 s, of which a new device has 36.
    [Fact]
    public void ABacklog_OrdersWhatItNeeds_Once()
    {
        var scale = new PoolScale(_options with { Maximum = 500 });
        int wanted = Wanted(scale, 0, backlog: 2000, ready: 4);
        Assert.InRange(wanted, 4 + ((2000 - (4 * 96)) / 36), 4 + ((2000 - (4 * 96)) / 36) + 4);
        Assert.Equal(wanted, Wanted(scale, 1, backlog: 1996, ready: 4));
        Assert.Equal(wanted, Wanted(scale, 59, backlog: 1764, ready: 4));
        Assert.Equal(wanted, Wanted(scale, 61, backlog: 1756, ready: wanted));
        Assert.Equal(50, new PoolScale(_options).Wanted(Load(4000, 4), TimeSpan.Zero));
    }

    [Fact]
    public void AFasterDevice_CountsForMore()
    {
        int Ordered(double speed) =>
            new PoolScale(_options).Wanted(Load(1000, 0) with { Speed = speed }, TimeSpan.Zero);

        Assert.InRange(Ordered(1) / (double)Ordered(2.5), 2, 3);
    }

    [Fact]
    public void WorkThatArrives_IsFollowed_BeforeItWaitsTooLong()
    {
        var scale = new PoolScale(_options);
        int ready = 2;
        double backlog = 0;
        var wanted = new Queue<int>([2, 2, 2, 2]); // A device takes work a minute after its order.
        for (int at = 0; at <= 1800; at += 15)
        {
            backlog = Math.Max(0, backlog + ((10 - ready) * 15)); // Ten devices' work arrives.
            wanted.Enqueue(Wanted(scale, at, backlog, arrived: 10 * 15, ready, leased: ready));
            ready = wanted.Dequeue();
        }

        Assert.InRange(ready, 10, 12);
        Assert.InRange(backlog / ready, 0, 96);
    }

    [Fact]
    public void DevicesAreReleased_OnlyAfterFewerHaveSufficedForAWhile_AndNeverThoseThatHoldLeases()
    {
        var scale = new PoolScale(_options);
        Assert.Equal(8, Wanted(scale, 0, backlog: 560, ready: 8));
        Assert.Equal(8, Wanted(scale, 30, backlog: 0, ready: 8));
        Assert.Equal(8, Wanted(scale, 60, backlog: 0, ready: 8));
        Assert.Equal(3, Wanted(scale, 61, backlog: 0, ready: 8, leased: 3));
        Assert.Equal(0, Wanted(scale, 76, backlog: 0, ready: 3));
    }

    [Fact]
    public void Training_GetsWhatItWishes_WithinTheMaximum()
    {
        PoolLoad load = Load(0, 2) with { TrainingWish = 6 };
        Assert.Equal(8, new PoolScale(_options with { Minimum = 2 }).Wanted(load, TimeSpan.Zero));
        Assert.Equal(5, new PoolScale(_options with { Minimum = 2, Maximum = 5 }).Wanted(load, TimeSpan.Zero));
    }

    private int Wanted(
        PoolScale scale, double at, double backlog, double arrived = 0, int ready = 0, int leased = 0)
    {
        _arrived += arrived;
        return scale.Wanted(
            Load(backlog, ready) with { Arrived = _arrived, Leased = leased }, TimeSpan.FromSeconds(at));
    }

    private static PoolLoad Load(double backlog, int ready) => new()
    {
        Backlog = backlog, Arrived = 0, Speed = 1, Ready = ready, Leased = 0,
    };
}
