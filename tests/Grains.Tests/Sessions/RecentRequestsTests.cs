// Goal: a request that is sent again joins the one that is remembered, and the oldest one is forgotten. Method: calls
// to the grain in a cluster in one process.
using Atelier.Contracts;
using Atelier.Contracts.Sessions;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.Sessions;

public sealed class RecentRequestsTests
{
    [Fact]
    public async Task RecentRequests_AreJoined_AndTheOldestIsForgotten()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        IRecentRequestsGrain recent = cluster.Grains.GetGrain<IRecentRequestsGrain>(TestCluster.Tenant.Value);
        RecentRequest first = await recent.BeginAsync(Hash(0), new GenerationId("g0"), 7, again: true);
        Assert.Equal(new RecentRequest(Hash(0), new GenerationId("g0"), 7), first);
        Assert.Equal(first, await recent.BeginAsync(Hash(0), new GenerationId("g1"), 8, again: true));
        RecentRequest other = await recent.BeginAsync(Hash(0), new GenerationId("g1"), 8, again: false);
        Assert.Equal(new RecentRequest(Hash(0), new GenerationId("g1"), 8), other);
        Assert.Equal(other, await recent.BeginAsync(Hash(0), new GenerationId("g2"), 9, again: true));
        for (int i = 1; i < IRecentRequestsGrain.SizeMax; i++)
        {
            await recent.BeginAsync(Hash(i), new GenerationId($"h{i}"), 1, again: true);
        }

        Assert.Equal(other, await recent.BeginAsync(Hash(0), new GenerationId("g3"), 9, again: true));
        await recent.BeginAsync(Hash(IRecentRequestsGrain.SizeMax), new GenerationId("last"), 1, again: true);
        RecentRequest gone = await recent.BeginAsync(Hash(0), new GenerationId("g4"), 9, again: true);
        Assert.Equal(new GenerationId("g4"), gone.First);
        await Assert.ThrowsAnyAsync<ArgumentException>(
            () => recent.BeginAsync("not a digest", new GenerationId("g5"), 1, again: true));
        await Assert.ThrowsAnyAsync<ArgumentException>(
            () => recent.BeginAsync(Hash(1), new GenerationId("a/b"), 1, again: true));
    }

    private static string Hash(int number) => number.ToString("x64", null);
}
