// Goal: a picture advances again after the process that drew it has died or left, and the time this takes is known.
// Method: the client's view, from the kill to the next step that it is notified of. Times are reported, never asserted;
// they are those of the settings that ship.
using System.Diagnostics;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Xunit;

namespace Atelier.EndToEnd;

[Collection("clusters")] // One after the other, so that they do not disturb each other.
public sealed class RecoveryTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task APicture_WhoseWorkerDies_ContinuesElsewhere(bool politely)
    {
        await using var cluster = new TestCluster(silos: 2, embedded: false, evaluationMilliseconds: 15);
        await cluster.StartAsync();
        using HttpClient client = await cluster.TenantAsync();
        using HttpClient admin = cluster.Admin();
        await Pictures.SubmitAsync(client, "long", "a red square", 1, steps: 400);
        var heard = new List<(int Step, TimeSpan At)>();
        var watch = Stopwatch.StartNew();
        Task watcher = WatchAsync(client, "long", (step, at) =>
        {
            lock (heard)
            {
                heard.Add((step, at));
            }
        }, watch);
        await cluster.PatientlyAsync("step 20", () => Task.FromResult(Last(heard) >= 20));
        int holder = await HolderAsync(admin);
        Assert.True(holder >= 0, cluster.Logs());
        TimeSpan blow = watch.Elapsed;
        await (politely ? cluster.Silos[holder].StopAsync() : cluster.Silos[holder].KillAsync());
        TimeSpan gone = watch.Elapsed;
        cluster.Silos[holder].Start();
        Assert.Equal("done", (await Pictures.EndAsync(client, "long"))["phase"]!.GetValue<string>());
        await watcher;

        // The longest silence after the kill is that of the killed worker.
        TimeSpan silence = heard.Zip(heard.Skip(1)).Where(pair => pair.Second.At > blow)
            .Max(pair => pair.Second.At - (pair.First.At > blow ? pair.First.At : blow));
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{(politely ? "SIGTERM" : "kill -9")}: the process was gone after {(gone - blow).TotalSeconds:f2} s, "
            + $"the picture stood still for {silence.TotalSeconds:f2} s.");
    }

    private static int Last(List<(int Step, TimeSpan At)> heard)
    {
        lock (heard)
        {
            return heard.Count == 0 ? 0 : heard[^1].Step;
        }
    }

    private static async Task WatchAsync(HttpClient client, string id, Action<int, TimeSpan> hear, Stopwatch watch)
    {
        (string? after, bool ended) = (null, false);
        while (!ended)
        {
            await Pictures.WatchAsync(client, id, after, one =>
            {
                (after, ended) = (one.Id, one.Phase is "done" or "failed" or "cancelled");
                hear(one.Data["step"]!.GetValue<int>(), watch.Elapsed);
                return true;
            });
        }
    }

    private static async Task<int> HolderAsync(HttpClient admin)
    {
        for (int i = 0; i < 100; i++)
        {
            JsonObject status = (await admin.GetFromJsonAsync<JsonObject>("/v1/admin/status"))!;
            foreach (JsonNode? worker in status["workers"]!.AsArray())
            {
                if (worker!["held"]!.GetValue<int>() > 0)
                {
                    return int.Parse(worker["name"]!.GetValue<string>().Split('/')[0].Split('-')[1]);
                }
            }

            await Task.Delay(50);
        }

        return -1;
    }
}
