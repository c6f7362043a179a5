// Goal: no generation is lost, fails or changes a byte when pods crash, are upgraded, scaled down or drained, and a
// pool scales from zero to two and back as the scaler says. Method: the rendered pods as processes, under a load whose
// pictures are known. `./atelier test --long pods` runs them.
using System.Diagnostics;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Atelier.EndToEnd;
using Xunit;

namespace Atelier.Helm.Tests.Pods;

public sealed class PodsLongTests(Renderer renderer)
{
    private static int Generations =>
        int.TryParse(Environment.GetEnvironmentVariable("ATELIER_POD_GENERATIONS"), out int value) ? value : 200;

    [Fact(Explicit = true)]
    public async Task KilledSilos_AreStartedAgain_AndPicturesInProgressFinish()
    {
        await using PodCluster cluster = await PodCluster.CreateAsync(renderer["cpu-demo"]);
        cluster.Start();
        await cluster.CompleteAsync();
        using GenerationLoad load = await GenerationLoad.CreateAsync(cluster, pictures: 1, steps: 30);
        byte[] calm = await Pictures.FetchAsync(load.Client, "calm-0");
        foreach (Workload killed in new[] { cluster["cpu"], cluster["control"], cluster["gateway"] })
        {
            string id = $"during-{killed.Name}";
            await load.SubmitAsync(id, 0);
            await Pictures.WatchAsync(load.Client, id, null, one => one.Data["step"]!.GetValue<int>() < 5);
            long began = Stopwatch.GetTimestamp();
            await Task.WhenAll(killed.Pods.Select(pod => pod.KillAsync()));
            JsonObject end = await Pictures.EndAsync(load.Client, id);
            Assert.True(end["phase"]!.GetValue<string>() == "done", $"{end}\n{cluster.Describe()}");
            Assert.Equal(calm, await Pictures.FetchAsync(load.Client, id));
            Write($"kill -9 of {killed.Name}: its picture was done {Seconds(began)} later");
            await cluster.UntilAsync(
                "The restart", () => killed.IsComplete && killed.Pods.All(pod => pod.Restarts == 1));
        }
    }

    [Fact(Explicit = true)]
    public async Task UpgradeScaleDownAndDrain_LoseNoGeneration_AndChangeNoByte()
    {
        await using PodCluster cluster = await PodCluster.CreateAsync(await ScaledAsync());
        cluster["cpu"].Replicas = 2;
        cluster.Start();
        await cluster.CompleteAsync();
        using GenerationLoad load = await GenerationLoad.CreateAsync(cluster, pictures: 10, steps: 8);
        string withStore = cluster["redis"].Pods.Single().Node;
        string withoutStore = cluster.Nodes.Single(node => node != withStore);
        (string Name, Func<Task> Disturb)[] phases =
        [
            ("upgrade", async () =>
            {
                foreach (Workload workload in cluster.Workloads.Where(one => one != cluster["redis"]))
                {
                    workload.Revision++;
                }

                await cluster.CompleteAsync();
            }),
            ("scale-down", async () =>
            {
                cluster["cpu"].Replicas = 1;
                await cluster.CompleteAsync();
                cluster["cpu"].Replicas = 2;
                await cluster.CompleteAsync();
            }),
            ("drain", () => DrainAsync(cluster, withoutStore)),
            ("drain-with-store", () => DrainAsync(cluster, withStore)),
        ];
        foreach ((string name, Func<Task> disturb) in phases)
        {
            (long began, int before) = (Stopwatch.GetTimestamp(), load.Done);
            await load.RunAsync(name, (Generations + phases.Length - 1) / phases.Length, disturb);
            Write($"{name}: {load.Done - before} generations in {Seconds(began)}; retried so far: {load.Retries}");
        }

        Termination[] ends = [.. cluster.Terminations];
        Write($"{load.Done} generations; {ends.Length} pods ended, at most "
            + $"{ends.Max(end => end.Time.TotalSeconds):f1} s after their deletion");
        Assert.True(load.Done >= Generations);
        Assert.All(ends, end => Assert.False(end.IsKilled, $"{end}\n{cluster.Describe()}"));
    }

    [Fact(Explicit = true)]
    public async Task APool_ScalesFromZeroToTwoAndBack_AsTheScalerSays()
    {
        Rendering rendering = await ScaledAsync();
        await using PodCluster cluster = await PodCluster.CreateAsync(rendering);
        cluster.Start();
        await cluster.CompleteAsync();
        await using var keda = new KedaOperator(cluster, Assert.Single(rendering.All<ScaledObject>()));
        Workload pool = cluster["cpu"];
        using GenerationLoad load = await GenerationLoad.CreateAsync(cluster, pictures: 1, steps: 30);
        await cluster.UntilAsync("Scaling to zero", () => pool.Pods.Count == 0, seconds: 240);

        // The first request wakes the pool, and its client learns how long that takes.
        long began = Stopwatch.GetTimestamp();
        await load.SubmitAsync("wake", 0);
        JsonObject? view = null;
        while (view?["wait_seconds"] is null || view["position"] is null)
        {
            Assert.True(Stopwatch.GetElapsedTime(began) < TimeSpan.FromSeconds(10), $"{view}");
            view = await load.Client.GetFromJsonAsync<JsonObject>(
                "/v1/generations/wake", TestContext.Current.CancellationToken);
        }

        Write($"the client has place {view["position"]} and a wait of {view["wait_seconds"]} s {Seconds(began)} after "
            + "its request");
        await cluster.UntilAsync("Waking", () => keda.ActiveAfter(began) is not null, seconds: 20);
        Write($"the scaler reported {keda.ActiveAfter(began)!.Value.TotalSeconds:f2} s after the request");
        await Pictures.EndAsync(load.Client, "wake");
        Write($"the picture was done {Seconds(began)} after the request");
        byte[] calm = await Pictures.FetchAsync(load.Client, "calm-0");
        Assert.Equal(calm, await Pictures.FetchAsync(load.Client, "wake"));

        // More work than one silo does within the target.
        began = Stopwatch.GetTimestamp();
        string[] ids = [.. Enumerable.Range(0, 60).Select(i => $"burst-{i}")];
        await Task.WhenAll(ids.Select(id => load.SubmitAsync(id, 0)));
        await cluster.UntilAsync("Scaling to two", () => pool.IsComplete && pool.Replicas == 2);
        Write($"two silos were ready {Seconds(began)} after a burst");
        foreach (string id in ids)
        {
            Assert.Equal("done", (await Pictures.EndAsync(load.Client, id))["phase"]!.GetValue<string>());
            Assert.Equal(calm, await Pictures.FetchAsync(load.Client, id));
        }

        Write($"the burst was done after {Seconds(began)}");
        began = Stopwatch.GetTimestamp();
        await cluster.UntilAsync("Scaling to zero", () => pool.Pods.Count == 0, seconds: 240);
        Write($"the pool was at zero {Seconds(began)} later");
        Assert.All(cluster.Terminations, end => Assert.False(end.IsKilled, $"{end}\n{cluster.Describe()}"));
    }

    private static Task<Rendering> ScaledAsync() => Renderer.RenderAsync(
        "-f", Repository.ValuesOf("cpu-demo"), "-f", Repository.InRoot("tests/helm/pods.yaml"));

    private static async Task DrainAsync(PodCluster cluster, string node)
    {
        cluster.Drain(node);
        await cluster.CompleteAsync();
        cluster.Uncordon(node);
    }

    private static string Seconds(long began) => $"{Stopwatch.GetElapsedTime(began).TotalSeconds:f1} s";

    private static void Write(string line) => TestContext.Current.TestOutputHelper?.WriteLine(line);
}
