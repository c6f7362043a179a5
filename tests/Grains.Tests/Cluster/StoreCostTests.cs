// Goal: the storage cost of a generation does not grow with the number of others. Method: the default partitions, more
// and more generations at once, with every write and its bytes counted. Set ATELIER_QUEUE_SCALE=1 for more of them.
using Atelier.Contracts.Generations;
using Atelier.Contracts.Tenants;
using Xunit;

namespace Atelier.Grains.Tests.Cluster;

public sealed class StoreCostTests
{
    // Partitions and lists are written as a whole, each below 64 KiB: a generation pays for one write at its start, and
    // for a share of one at its end.
    private const double BytesMax = 128 * 1024;

    // Snapshots are taken by the clock, at most one at each of the ten steps.
    private const double WritesMax = 32;

    [Fact]
    public async Task AGenerationsWrites_HaveABound_HoweverManyThereAre()
    {
        int[] sizes = Environment.GetEnvironmentVariable("ATELIER_QUEUE_SCALE") == "1" ? [10, 100, 1000] : [10, 100];
        foreach (int count in sizes)
        {
            await using TestCluster cluster = await TestCluster.StartAsync(
                1, name => new FakeDevice("d", 16), grains => grains.OpenSet.Partitions = 64);
            await cluster.Grains.Tenant(TestCluster.Tenant)
                .PutAsync(new TenantSettings { RequestsPerMinute = 100_000, OpenGenerations = 1000 });
            (int writes, long bytes) = (cluster.Store.Writes, cluster.Store.Bytes);
            await Parallel.ForEachAsync(
                Enumerable.Range(0, count), new ParallelOptions { MaxDegreeOfParallelism = 256 }, async (i, _) =>
                {
                    // Submissions that needed a second attempt exist.
                    SubmitAnswer answer = await cluster.SubmitAsync(
                        $"g{i}", new Submission { Spec = TestCluster.Spec(i) });
                    Assert.True(answer.Outcome is SubmitOutcome.Accepted or SubmitOutcome.Exists, $"{answer}");
                });
            await Parallel.ForEachAsync(
                Enumerable.Range(0, count), new ParallelOptions { MaxDegreeOfParallelism = 64 },
                async (i, _) => await cluster.WatchAsync($"g{i}"));
            double writesEach =
                (double)(cluster.Store.Writes - writes) / count, bytesEach =
                    (double)(cluster.Store.Bytes - bytes) / count;
            TestContext.Current.TestOutputHelper?.WriteLine(
                $"{count} generations: {writesEach:f1} writes and {bytesEach:f0} bytes each.");
            Assert.InRange(writesEach, 1, WritesMax);
            Assert.InRange(bytesEach, 1, BytesMax);
        }
    }
}
