// Goal: a pool knows its silos, its work and its speed, and remembers them at zero, where it tells clients when it will
// be there. Method: clusters with fake devices over one store, first with silos of the pool, then without.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Scaling;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.Scaling;

public sealed class PoolGrainTests
{
    private static readonly PoolBounds s_bounds = new()
    {
        Minimum = 0, Maximum = 4, TargetWait = TimeSpan.FromSeconds(90), ColdStart = TimeSpan.FromSeconds(60),
    };

    [Fact]
    public async Task APool_RemembersItsModelsAndItsSpeed_AtZero()
    {
        await using TestCluster first = await TestCluster.StartAsync(2, _ => new FakeDevice("d", 4));
        Assert.Equal(2, (await Pool(first).StatusAsync(s_bounds)).Ready);
        await first.SubmitAsync("one", new Submission { Spec = TestCluster.Spec(1) });
        await first.WatchAsync("one");
        await TestCluster.UntilAsync(async () => await Pool(first).StatusAsync(s_bounds) is { Backlog.Ticks: 0 });

        await using TestCluster none = await TestCluster.StartAsync(1, _ => null, twin: first);
        PoolStatus idle = await Pool(none).StatusAsync(s_bounds);
        Assert.Equal((0, 0), (idle.Wanted, idle.Ready));
        SubmitAnswer answer = await none.SubmitAsync("two", new Submission { Spec = TestCluster.Spec(2) });
        Assert.Equal(SubmitOutcome.Accepted, answer.Outcome);
        PoolStatus woken = await Pool(none).StatusAsync(s_bounds);
        Assert.Equal((1, 0), (woken.Wanted, woken.Ready));
        Assert.True(woken.Backlog > TimeSpan.Zero);
        QueuePlace place = (await none.Grains.WorkQueue().PlaceOfAsync(
            new GenerationKey(TestCluster.Tenant, new GenerationId("two"))))!.Value;
        Assert.Equal(0, place.Position);
        Assert.InRange(place.Wait!.Value.TotalSeconds, 50, 61);
    }

    // Its models are in no catalog yet, so no request could wake it.
    [Fact]
    public async Task APoolThatNobodyHasSeen_StartsOnce_AndABoundKeeps()
    {
        await using TestCluster none = await TestCluster.StartAsync(1, _ => null);
        Assert.Equal(1, (await Pool(none).StatusAsync(s_bounds)).Wanted);
        Assert.Equal(0, (await Pool(none).StatusAsync(s_bounds with { Serves = false, Trains = true })).Wanted);
        Assert.Equal(3, (await Pool(none).StatusAsync(s_bounds with { Minimum = 3 })).Wanted);
    }

    private static IPoolGrain Pool(TestCluster cluster) => cluster.Grains.GetGrain<IPoolGrain>("pool");
}
