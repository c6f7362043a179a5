// Goal: whatever the number of partitions was and is, open work is found and leaves the open set when it has ended.
// Method: successive clusters over one store; a store as format 0 left it.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.OpenSets;
using Atelier.Grains.Generations;
using Atelier.Grains.OpenSets;
using Atelier.Grains.Tests.Cluster;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Serialization;
using Orleans.Storage;
using Xunit;

namespace Atelier.Grains.Tests.OpenSets;

public sealed class OpenSetLayoutTests
{
    private const int Generations = 60;

    [Theory]
    [InlineData(4, 100)]
    [InlineData(100, 4)]
    public async Task AfterAnotherNumberOfPartitions_AllThatIsOpenIsFound_AndLeaves(int before, int after)
    {
        TestCluster first = await StartAsync(before);
        await SubmitAsync(first);
        int[] spread = await CountsAsync(first);
        Assert.Equal(Generations, spread.Sum());
        Assert.InRange(spread.Count(count => count > 0), Math.Min(before, 25), before);
        await first.DisposeAsync();

        await EndAsync(first, after);
    }

    [Fact]
    public async Task OpenWorkOfFormat0_IsFound_AndLeaves()
    {
        TestCluster first = await StartAsync(4);
        await SubmitAsync(first);
        using ServiceProvider services = new ServiceCollection().AddSerializer().BuildServiceProvider();
        var serializer = new OrleansGrainStorageSerializer(services.GetRequiredService<Serializer>());
        GrainId[] ids =
        [
            .. Enumerable.Range(0, OpenSet.PartitionsOfFormat0)
                .Select(i => first.Grains.GetGrain<IOpenSetGrain>(i).GetGrainId()),
        ];
        await first.DisposeAsync();

        // Nothing records in which partition a generation is, and there was no layout.
        var sets = new Dictionary<int, OpenSetState>();
        foreach ((string key, (BinaryData bytes, int tag)) in first.Store.States.ToArray())
        {
            if (key.StartsWith("openset", StringComparison.Ordinal))
            {
                first.Store.States.TryRemove(key, out _);
            }
            else if (key.StartsWith("generation/", StringComparison.Ordinal))
            {
                GenerationState state = serializer.Deserialize<GenerationState>(bytes)! with { Partition = null };
                first.Store.States[key] = (serializer.Serialize(state), tag);
                Assert.True(
                    GenerationKey.TryParse(key["generation/".Length..^"/generation".Length], out GenerationKey one));
                int partition = OpenSet.PartitionOfFormat0(one);
                sets.TryAdd(partition, new OpenSetState());
                sets[partition].Added[one.ToString()] = state.AcceptedAt;
            }
        }

        foreach ((int partition, OpenSetState state) in sets)
        {
            first.Store.States[$"{ids[partition]}/openset"] = (serializer.Serialize(state), 1);
        }

        await EndAsync(first, 100);
    }

    [Fact]
    public async Task TheKey_IsMadeOnce()
    {
        TestCluster first = await StartAsync(4);
        OpenSetLayout layout = await first.Grains.GetGrain<IOpenSetLayoutGrain>(0).ReadAsync(100);
        await first.DisposeAsync();
        await using TestCluster second = await StartAsync(4, first);
        OpenSetLayout again = await second.Grains.GetGrain<IOpenSetLayoutGrain>(0).ReadAsync(4);
        Assert.Equal((Convert.ToHexString(layout.Key), 100), (Convert.ToHexString(again.Key), again.Partitions));
        Assert.Equal(32, again.Key.Distinct().Count() > 8 ? again.Key.Length : 0);
    }

    // The next cluster draws everything; no partition keeps anything, and retention knows every generation.
    private static async Task EndAsync(TestCluster first, int partitions)
    {
        await using TestCluster second = await StartAsync(
            partitions, first, new FakeDevice("d", 16) { Pace = TimeSpan.Zero });
        await second.Grains.WorkQueue().StatusAsync();
        await TestCluster.UntilAsync(async () => (await CountsAsync(second)).Sum() == 0);
        for (int i = 0; i < Generations; i++)
        {
            Assert.Equal(GenerationPhase.Done, (await second.Generation($"g{i}").ViewAsync())!.Phase);
        }
    }

    private static Task<SubmitAnswer[]> SubmitAsync(TestCluster cluster) =>
        Task.WhenAll(Enumerable.Range(0, Generations).Select(
            i => cluster.SubmitAsync($"g{i}", new Submission { Spec = TestCluster.Spec(i, 2) })));

    private static async Task<int[]> CountsAsync(TestCluster cluster)
    {
        GenerationId[][] open = await Task.WhenAll(Enumerable.Range(0, 100)
            .Select(i => cluster.Grains.GetGrain<IOpenSetGrain>(i).OfAsync(TestCluster.Tenant)));
        return [.. open.Select(ids => ids.Length)];
    }

    private static Task<TestCluster> StartAsync(int partitions, TestCluster? twin = null, FakeDevice? device = null) =>
        TestCluster.StartAsync(1, _ => device, grains => grains.OpenSet.Partitions = partitions, twin);
}
