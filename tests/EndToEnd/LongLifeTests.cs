// Goal: a store does not keep growing, or start ever more slowly, the more generations it has held. Method: a cluster
// of one with its embedded store draws many small pictures and is killed; the store's files stay within a bound,
// accepted generations still exist, and the start time is reported. In full size by bench/attacks.sh: 10,000
// generations.
using System.Diagnostics;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Xunit;

namespace Atelier.EndToEnd;

[Collection("clusters")] // One after the other, so that they do not disturb each other.
public sealed class LongLifeTests
{
    // Bound on the store's size: its states, free pages, and a write-ahead log of 16 MiB.
    private const long StoreBytesMax = 256L << 20;

    // Submitted at a time, so that the queue is never the bottleneck.
    private const int AtATime = 32;

    private static int Generations =>
        int.TryParse(Environment.GetEnvironmentVariable("ATELIER_ATTACK_MANY"), out int value) ? value : 200;

    [Fact]
    public async Task ManyGenerations_LeaveAStoreWithABound_AndAClusterThatStarts()
    {
        await using var cluster = new TestCluster(silos: 1, embedded: true);
        await cluster.StartAsync();
        using HttpClient client = await cluster.TenantAsync();
        await DrawAsync(client, "first");
        var watch = Stopwatch.StartNew();
        int drawn = 0;
        for (int tenth = 1; tenth <= 10; tenth++)
        {
            int end = Generations * tenth / 10;
            await Parallel.ForEachAsync(
                Enumerable.Range(drawn, end - drawn), new ParallelOptions { MaxDegreeOfParallelism = AtATime }, async (
                    i, cancellation) =>
                {
                    using HttpResponseMessage answer = await client.PostAsJsonAsync(
                        "/v1/images/generations", new { prompt = "a red square", seed = i, steps = 2 }, cancellation);
                    Assert.True(
                        answer.IsSuccessStatusCode,
                        $"{await answer.Content.ReadAsStringAsync(cancellation)}\n{cluster.Logs()}");
                });
            drawn = end;
            Print(
                $"{drawn} generations after {watch.Elapsed.TotalSeconds:f0} s: {cluster.StoreBytes() >> 20} MiB of "
                + "store.");
            Assert.InRange(cluster.StoreBytes(), 1, StoreBytesMax);
        }

        byte[] last = await DrawAsync(client, "last"), first = await Pictures.FetchAsync(client, "first");
        await cluster.Silos[0].KillAsync();
        await cluster.Gateway.KillAsync();
        watch.Restart();
        cluster.Silos[0].Start();
        cluster.Gateway.Start();
        await cluster.ReadyAsync();
        Print($"Killed and started: ready after {watch.Elapsed.TotalSeconds:f1} s.");
        Assert.Equal(first, await Pictures.FetchAsync(client, "first"));
        Assert.Equal(last, await Pictures.FetchAsync(client, "last"));
        Assert.Equal(first, await DrawAsync(client, "after"));
        Assert.InRange(cluster.StoreBytes(), 1, StoreBytesMax);
    }

    private static async Task<byte[]> DrawAsync(HttpClient client, string id)
    {
        await Pictures.SubmitAsync(client, id, "a blue square", 0, steps: 2);
        JsonObject end = await Pictures.EndAsync(client, id);
        Assert.Equal("done", end["phase"]!.GetValue<string>());
        return await Pictures.FetchAsync(client, id);
    }

    private static void Print(string line) => TestContext.Current.TestOutputHelper?.WriteLine(line);
}
