// Goal: whatever process dies, no accepted work is lost, nothing is drawn twice, and every picture has the bytes of an
// undisturbed run. Method: real processes, kill -9 at random, and a client that only retries under the same id. The
// same tests in full size: bench/attacks.sh.
using System.Text.Json.Nodes;
using Xunit;

namespace Atelier.EndToEnd;

[Collection("clusters")] // One after the other, so that they do not disturb each other.
public sealed class NothingIsLostTests
{
    private const int Steps = 12;

    private static int Generations => Setting("ATELIER_ATTACK_GENERATIONS", 24);

    private static int Kills => Setting("ATELIER_ATTACK_KILLS", 4);

    private static int KillSeconds => Setting("ATELIER_ATTACK_KILL_SECONDS", 4);

    [Fact]
    public async Task SilosKilledAtRandom_LoseNoPicture_AndChangeNoByte()
    {
        await using var cluster = new TestCluster(silos: 3, embedded: false, evaluationMilliseconds: 40);
        await cluster.StartAsync();
        using HttpClient client = await cluster.TenantAsync();
        string[] ids = [.. Enumerable.Range(0, Generations).Select(i => $"g{i}")];
        var random = new Random(1);
        Task load = Task.WhenAll(ids.Select((id, i) => Pictures.SubmitAsync(client, id, PromptOf(i), (ulong)i, Steps)));
        for (int kill = 0; kill < Kills; kill++)
        {
            await Task.Delay(TimeSpan.FromSeconds(KillSeconds), TestContext.Current.CancellationToken);
            ProcessUnderTest victim = cluster.Silos[random.Next(cluster.Silos.Count)];
            if (victim.IsRunning)
            {
                await victim.KillAsync();
            }

            // A silo that others have declared dead ends itself; processes that are down are restarted on the same
            // ports.
            foreach (ProcessUnderTest silo in cluster.Silos.Where(silo => !silo.IsRunning))
            {
                silo.Start();
            }
        }

        await load;
        Dictionary<string, byte[]> pictures = [];
        foreach (string id in ids)
        {
            JsonObject end = await Pictures.EndAsync(client, id);
            Assert.True(end["phase"]!.GetValue<string>() == "done", $"{end}\n{cluster.Logs()}");
            pictures[id] = await Pictures.FetchAsync(client, id);
        }

        // The same requests, undisturbed.
        await cluster.ReadyAsync();
        foreach ((string id, int i) in ids.Select((id, i) => (id, i)))
        {
            await Pictures.SubmitAsync(client, $"{id}-again", PromptOf(i), (ulong)i, Steps);
        }

        foreach (string id in ids)
        {
            await Pictures.EndAsync(client, $"{id}-again");
            Assert.Equal(await Pictures.FetchAsync(client, $"{id}-again"), pictures[id]);
        }
    }

    [Fact]
    public async Task ARequestThatKillsItsWorker_FailsAlone()
    {
        int good = Setting("ATELIER_ATTACK_GOOD", 12);
        await using var cluster = new TestCluster(silos: 2, embedded: false, evaluationMilliseconds: 10);
        await cluster.StartAsync();
        using HttpClient client = await cluster.TenantAsync();
        using var enough = new CancellationTokenSource();
        Task supervisor = SuperviseAsync(cluster, enough.Token);
        for (int i = 0; i < good; i++)
        {
            await Pictures.SubmitAsync(client, $"good{i}", PromptOf(i), (ulong)i, Steps);
            if (i == good / 2)
            {
                await Pictures.SubmitAsync(client, "bad", "poison", 1, Steps);
            }
        }

        for (int i = 0; i < good; i++)
        {
            JsonObject end = await Pictures.EndAsync(client, $"good{i}");
            Assert.True(end["phase"]!.GetValue<string>() == "done", $"{end}\n{cluster.Logs()}");
        }

        JsonObject bad = await Pictures.EndAsync(client, "bad");
        Assert.Equal("failed", bad["phase"]!.GetValue<string>());
        Assert.Equal("worker_lost", bad["error"]!["code"]!.GetValue<string>());
        await enough.CancelAsync();
        await supervisor;
    }

    [Fact]
    public async Task AStream_WhoseGatewayAndSiloDie_ResumesAtTheNextEvent()
    {
        await using var cluster = new TestCluster(silos: 2, embedded: false, evaluationMilliseconds: 60);
        await cluster.StartAsync();
        using HttpClient client = await cluster.TenantAsync();
        await Pictures.SubmitAsync(client, "calm", PromptOf(3), 3, Steps, previews: 2);
        List<WireEvent> calm = await EventsAsync(client, "calm", _ => Task.CompletedTask);
        await Pictures.SubmitAsync(client, "stormy", PromptOf(3), 3, Steps, previews: 2);
        int breaks = 0;
        List<WireEvent> stormy = await EventsAsync(client, "stormy", async last =>
        {
            // After the third event the gateway is killed, after the sixth a silo.
            ProcessUnderTest? victim =
                (breaks, last) switch { (0, >= 3) => cluster.Gateway, (1, >= 6) => cluster.Silos[1], _ => null };
            if (victim is not null)
            {
                breaks++;
                await victim.KillAsync();
                victim.Start();
            }
        });
        Assert.Equal(2, breaks);
        Assert.Equal(calm.Select(e => (e.Id, e.Phase)), stormy.Select(e => (e.Id, e.Phase)));
        Assert.Equal("done", stormy[^1].Phase);
        Assert.Equal(await Pictures.FetchAsync(client, "calm"), await Pictures.FetchAsync(client, "stormy"));
    }

    [Fact]
    public async Task AClusterOfOne_KilledAndRestarted_ContinuesItsWork()
    {
        await using var cluster = new TestCluster(silos: 1, embedded: true, evaluationMilliseconds: 60);
        await cluster.StartAsync();
        using HttpClient client = await cluster.TenantAsync();
        await Pictures.SubmitAsync(client, "before", PromptOf(1), 1, 2);
        await Pictures.EndAsync(client, "before");
        byte[] before = await Pictures.FetchAsync(client, "before");
        await Pictures.SubmitAsync(client, "during", PromptOf(2), 2, Steps);
        await Pictures.WatchAsync(client, "during", null, e => e.Data["step"]!.GetValue<int>() < 3);
        await cluster.Silos[0].KillAsync();
        await cluster.Gateway.KillAsync();
        cluster.Silos[0].Start();
        cluster.Gateway.Start();
        await cluster.ReadyAsync();
        Assert.Equal(before, await Pictures.FetchAsync(client, "before"));
        JsonObject end = await Pictures.EndAsync(client, "during");
        Assert.True(end["phase"]!.GetValue<string>() == "done", $"{end}\n{cluster.Logs()}");
    }

    // All events; the storm may break something before each reconnection and after each event.
    private static async Task<List<WireEvent>> EventsAsync(HttpClient client, string id, Func<int, Task> storm)
    {
        var events = new List<WireEvent>();
        while (events.Count == 0 || events[^1].Phase is not ("done" or "failed" or "cancelled"))
        {
            int before = events.Count;
            await Pictures.WatchAsync(client, id, events.LastOrDefault()?.Id, one =>
            {
                events.Add(one);
                return events.Count < before + 3;
            });
            await storm(events.Count);
            await Task.Delay(50);
        }

        return events;
    }

    private static async Task SuperviseAsync(TestCluster cluster, CancellationToken cancellation)
    {
        while (!cancellation.IsCancellationRequested)
        {
            foreach (ProcessUnderTest silo in cluster.Silos.Where(silo => !silo.IsRunning))
            {
                silo.Start();
            }

            await Task.Delay(200, CancellationToken.None);
        }
    }

    private static string PromptOf(int i) =>
        (i % 3) switch { 0 => "a red square", 1 => "blue", _ => "the red the blue" };

    private static int Setting(string name, int standard) =>
        int.TryParse(Environment.GetEnvironmentVariable(name), out int value) ? value : standard;
}
