// Goal: a tenant's keys, their labels and their number are bounded, and settings out of range change nothing. Method:
// calls to the tenant's grain in a cluster in one process.
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.Tenants;

public sealed class TenantKeysTests
{
    [Fact]
    public async Task KeysAndLabels_AreBounded_AndAKeyTwiceIsOnce()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        ITenantGrain tenant = cluster.Grains.Tenant(TestCluster.Tenant);
        foreach (string label in new[] { "", new string('x', 101) })
        {
            TenantAnswer wrong = await tenant.AddKeyAsync(label, Hash(0));
            Assert.Equal((null, "The label must have 1 to 100 characters."), (wrong.View, wrong.Message));
        }

        TenantView view = (await tenant.AddKeyAsync(new string('x', 100), Hash(0))).View!;
        Assert.Equal((new string('x', 100), Hash(0)), (view.Keys[0].Label, view.Keys[0].Hash));
        Assert.Single((await tenant.AddKeyAsync("again", Hash(0))).View!.Keys);
        for (int i = 1; i < ITenantGrain.KeysMax; i++)
        {
            Assert.NotNull((await tenant.AddKeyAsync($"k{i}", Hash(i))).View);
        }

        TenantAnswer full = await tenant.AddKeyAsync("more", Hash(99));
        Assert.Contains("at most 32 keys", full.Message, StringComparison.Ordinal);
        Assert.False(await tenant.HasKeyAsync(Hash(99)));
        Assert.Equal(ITenantGrain.KeysMax - 1, (await tenant.RevokeKeyAsync(Hash(3))).View!.Keys.Length);
        Assert.NotNull((await tenant.AddKeyAsync("more", Hash(99))).View);
        Assert.Equal((true, false), (await tenant.HasKeyAsync(Hash(99)), await tenant.HasKeyAsync(Hash(3))));
    }

    [Fact]
    public async Task WhoIsNoTenant_HasNoKeys()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        ITenantGrain nobody = cluster.Grains.Tenant(new TenantId("nobody"));
        Assert.NotNull((await nobody.AddKeyAsync("key", Hash(0))).Message);
        Assert.Null(await nobody.ViewAsync());
        Assert.NotNull((await nobody.PutAsync(new TenantSettings { Weight = 0.5 })).Message);
        Assert.Null(await nobody.ViewAsync());
        Assert.Equal(3, (await nobody.PutAsync(new TenantSettings { Weight = 3 })).View!.Settings.Weight);
        Assert.NotNull((await nobody.PutAsync(new TenantSettings { Weight = 0.5 })).Message);
        Assert.Equal(3, (await nobody.ViewAsync())!.Settings.Weight);
    }

    private static string Hash(int number) => number.ToString("x64", null);
}
