// Goal: a picture moves on after the process that drew it has died or left, and how long that takes is known. Method: the
// client's own view, from the blow to the next step that it hears of. Times are written down, never asserted; they are
// those of the settings that ship.
using System.Diagnostics;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Xunit;

namespace Atelier.EndToEnd;

public sealed class RecoveryTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task APicture_WhoseWorkerGoes_MovesOnElsewhere(bool politely)
    {
        await using var cluster = new TestCluster(silos: 2, embedded: false, evaluationMilliseconds: 15);
        await cluster.StartAsync();
        using HttpClient client = await cluster.TenantAsync();
        using HttpClient admin = cluster.Admin();
        await Pictures.SubmitAsync(client, "long", "a red square", 1, steps: 400);
        int step = 0;
        await Pictures.WatchAsync(client, "long", null, one => (step = one.Data["step"]!.GetValue<int>()) < 20);
        int holder = await HolderAsync(admin);
        Assert.True(holder >= 0, cluster.Logs());
        var watch = Stopwatch.StartNew();
        await (politely ? cluster.Silos[holder].StopAsync() : cluster.Silos[holder].KillAsync());
        TimeSpan gone = watch.Elapsed;
        int last = step;
        string? after = null;
        while (step < last + 40)
        {
            await Pictures.WatchAsync(client, "long", after, one =>
            {
                (after, step) = (one.Id, Math.Max(step, one.Data["step"]!.GetValue<int>()));
                return step < last + 40;
            });
            await Task.Delay(20);
        }

        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{(politely ? "SIGTERM" : "kill -9")}: the process was gone after {gone.TotalSeconds:f2} s, "
            + $"20 to 40 steps more were heard of after {watch.Elapsed.TotalSeconds:f2} s.");
        cluster.Silos[holder].Start();
        Assert.Equal("done", (await Pictures.EndAsync(client, "long"))["phase"]!.GetValue<string>());
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
