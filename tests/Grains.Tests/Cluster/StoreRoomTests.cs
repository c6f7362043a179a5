// Goal: a full store, or a tenant at its storage limit, rejects new work; work accepted before still ends. Method: a
// store's meter that reports what the test says.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Sessions;
using Atelier.Contracts.Tenants;
using Xunit;

namespace Atelier.Grains.Tests.Cluster;

public sealed class StoreRoomTests
{
    private static readonly Submission s_submission = new() { Spec = TestCluster.Spec(1) };

    [Fact]
    public async Task ATenantAtItsStorageLimit_IsRefused_AndItsOpenWorkEnds()
    {
        var device = new FakeDevice("d", 4) { Pace = TimeSpan.FromMilliseconds(50) };
        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => device);
        await cluster.Grains.Tenant(TestCluster.Tenant).PutAsync(new TenantSettings { StoredMegabytes = 5 });
        Assert.Equal(SubmitOutcome.Accepted, (await cluster.SubmitAsync("open", s_submission)).Outcome);
        cluster.Meter.Bytes = 5 << 20;
        SubmitAnswer refused = await cluster.SubmitAsync("more", s_submission);
        Assert.Equal(SubmitOutcome.TooMuchStored, refused.Outcome);
        Assert.Contains("stores 5 MiB, and its limit is 5 MiB", refused.Message);
        SessionAnswer session =
            await cluster.Grains.Session(new SessionKey(TestCluster.Tenant, new SessionId("s"))).BeginAsync();
        Assert.Equal(SubmitOutcome.TooMuchStored, session.Refusal!.Outcome);

        // The same request again is the accepted one, and its picture is drawn.
        Assert.Equal(SubmitOutcome.Exists, (await cluster.SubmitAsync("open", s_submission)).Outcome);
        Assert.Equal(GenerationPhase.Done, (await cluster.WatchAsync("open"))[^1].Phase);
        cluster.Meter.Bytes = (5 << 20) - 1;
        Assert.Equal(SubmitOutcome.Accepted, (await cluster.SubmitAsync("more", s_submission)).Outcome);
    }

    [Fact]
    public async Task AStoreWithoutRoom_RefusesWhatIsNew()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => null);
        cluster.Meter.HasRoom = false;
        Assert.Equal(SubmitOutcome.StoreFull, (await cluster.SubmitAsync("g", s_submission)).Outcome);
        SessionAnswer session =
            await cluster.Grains.Session(new SessionKey(TestCluster.Tenant, new SessionId("s"))).BeginAsync();
        Assert.Equal(SubmitOutcome.StoreFull, session.Refusal!.Outcome);
        cluster.Meter.HasRoom = true;
        Assert.Equal(SubmitOutcome.Accepted, (await cluster.SubmitAsync("g", s_submission)).Outcome);
    }
}
