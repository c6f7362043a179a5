// Goal: closing a tenant ends all its open work, whatever fails meanwhile, and the next tenant of the same name finds
// none of its data. Method: walks that fail, a restart over the same store, and the same ids under a reopened name.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.Tenants;

public sealed class ClosedTenantTests
{
    private const int Open = 40;

    private static readonly TenantId s_other = new("other");

    [Fact]
    public async Task ClosingATenant_CancelsItsOpenWork_AndNothingElse()
    {
        await using TestCluster cluster = await StartAsync();
        await cluster.Grains.Tenant(TestCluster.Tenant).CloseAsync();
        Assert.True(await cluster.Grains.Tenant(TestCluster.Tenant).IsClosedAsync());
        await TestCluster.UntilAsync(() => AllAreCancelledAsync(cluster));
        Assert.Equal(GenerationPhase.QueuedEncode, (await Others(cluster).ViewAsync())!.Phase);
        SubmitAnswer late = await cluster.SubmitAsync("late", new Submission { Spec = TestCluster.Spec(1) });
        Assert.Equal(SubmitOutcome.UnknownTenant, late.Outcome);
    }

    // The activation that closed the tenant dies before anything is cancelled, and some cancellations fail at first.
    [Fact]
    public async Task ATenantThatWasClosed_LosesItsWork_AfterARestart_AndAfterFailures()
    {
        await using TestCluster first = await StartAsync();
        first.Calling = (method, _, _) =>
            method == nameof(IOpenSetGrain.WalkAsync) ? throw new TimeoutException() : Task.CompletedTask;
        await first.Grains.Tenant(TestCluster.Tenant).CloseAsync();
        Assert.False(await AllAreCancelledAsync(first));

        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => null, configure: Rarely, twin: first);
        int failures = 0;
        cluster.Calling = (method, _, _) =>
            method == nameof(IGenerationGrain.CancelAsync) && Interlocked.Increment(ref failures) <= 10
                ? throw new TimeoutException()
                : Task.CompletedTask;
        await WalkAsync(cluster);
        await TestCluster.UntilAsync(() => Task.FromResult(Volatile.Read(ref failures) >= 10));
        await TestCluster.UntilAsync(async () =>
        {
            await WalkAsync(cluster);
            return await AllAreCancelledAsync(cluster);
        });
        Assert.Equal(GenerationPhase.QueuedEncode, (await Others(cluster).ViewAsync())!.Phase);
    }

    [Fact]
    public async Task AReopenedName_FindsNothingOfTheEarlierTenant()
    {
        await using TestCluster cluster = await StartAsync();
        ITenantGrain named = cluster.Grains.Tenant(TestCluster.Tenant);
        await named.AddKeyAsync("old", ApiKey.HashOf("old"));
        Assert.NotNull((await cluster.Grains.Session(new(TestCluster.Tenant, new("s"))).BeginAsync()).View);
        await named.CloseAsync();
        Assert.Null(await named.ViewAsync());

        TenantView again = (await named.PutAsync(new TenantSettings { Weight = 3 })).View!;
        Assert.Equal(("tenant~1", "tenant"), (again.Id.Value, again.Id.Name));
        Assert.Equal((again.Id, 3.0), ((await named.ViewAsync())!.Id, (await named.ViewAsync())!.Settings.Weight));
        Assert.Empty(again.Keys);
        Assert.False(await cluster.Grains.Tenant(again.Id).HasKeyAsync(ApiKey.HashOf("old")));
        Assert.Null(await cluster.Grains.Generation(new(again.Id, new("g1"))).ViewAsync());
        Assert.Null(await cluster.Grains.Session(new(again.Id, new("s"))).ViewAsync());
        SubmitAnswer anew = await cluster.Grains.Generation(new(again.Id, new("g1")))
            .SubmitAsync(new Submission { Spec = TestCluster.Spec(77) });
        Assert.Equal(SubmitOutcome.Accepted, anew.Outcome);
        Assert.True(await named.IsClosedAsync());

        // It is changed under its name, and closed again.
        Assert.Equal(again.Id, (await named.PutAsync(new TenantSettings { Weight = 4 })).View!.Id);
        await cluster.Grains.Tenant(again.Id).CloseAsync();
        Assert.Null(await named.ViewAsync());
        Assert.Equal("tenant~2", (await named.PutAsync(new TenantSettings())).View!.Id.Value);
        Assert.Null((await cluster.Grains.Tenant(again.Id).PutAsync(new TenantSettings())).View);
        TenantId[][] listed = await Task.WhenAll(Enumerable.Range(0, ITenantListGrain.Partitions)
            .Select(part => cluster.Grains.GetGrain<ITenantListGrain>(part).ReadAsync()));
        Assert.Equal(["other", "tenant"], listed.SelectMany(part => part).Select(tenant => tenant.Value).Order());
    }

    [Fact]
    public void AnId_IsANameOrAReopenedOne_AndAKeyNamesIt()
    {
        foreach (string id in (string[])["a", "a_b-c", "a~1", "a~999"])
        {
            Assert.True(TenantId.TryParse(id, out TenantId tenant));
            Assert.Equal(id, tenant.Value);
            Assert.True(ApiKey.TryParse(ApiKey.New(tenant), out TenantId named));
            Assert.Equal(tenant, named);
            Assert.True(GenerationKey.TryParse($"{id}/g", out _) && SessionKey.TryParse($"{id}/s", out _));
            Assert.True(BlobName.TryParse($"pictures/{id}/{new string('0', 64)}", out _));
        }

        foreach (string id in (string[])["", "~1", "a~", "a~0", "a~01", "a~1000", "a~1~1", "a~x", "a~-1", "a~ 1"])
        {
            Assert.False(TenantId.TryParse(id, out _));
        }
    }

    // Two tenants with open work that no worker takes, and no walks except on request.
    private static async Task<TestCluster> StartAsync()
    {
        TestCluster cluster = await TestCluster.StartAsync(1, _ => null, Rarely);
        Assert.NotNull((await cluster.Grains.Tenant(s_other).PutAsync(new TenantSettings())).View);
        for (int i = 0; i < Open; i++)
        {
            SubmitAnswer answer = await cluster.SubmitAsync($"g{i}", new Submission { Spec = TestCluster.Spec(i) });
            Assert.Equal(SubmitOutcome.Accepted, answer.Outcome);
        }

        Assert.True((await Others(cluster).SubmitAsync(new Submission { Spec = TestCluster.Spec(1) })).IsAccepted);
        return cluster;
    }

    private static void Rarely(GrainsOptions grains) => grains.OpenSet.WalkPeriod = TimeSpan.FromHours(1);

    private static IGenerationGrain Others(TestCluster cluster) => cluster.Grains.Generation(new(s_other, new("g1")));

    private static async Task WalkAsync(TestCluster cluster)
    {
        for (int partition = 0; partition < 4; partition++)
        {
            await cluster.Grains.GetGrain<IOpenSetGrain>(partition).WalkAsync();
        }
    }

    private static async Task<bool> AllAreCancelledAsync(TestCluster cluster)
    {
        GenerationView?[] views =
            await Task.WhenAll(Enumerable.Range(0, Open).Select(i => cluster.Generation($"g{i}").ViewAsync()));
        return views.All(view => view!.Phase == GenerationPhase.Cancelled);
    }
}
