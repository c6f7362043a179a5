// Goal: a run is accepted once, with everything that is wrong named before; who may train sees and changes its own runs
// only. Method: the API over grains, without trainers.
using System.Net;
using System.Text.Json;
using Atelier.Contracts.Tenants;
using Atelier.Model.Training.Runs;
using Xunit;

namespace Atelier.Silo.Tests.Api.Training;

[Collection(nameof(ApiCluster))]
public sealed class RunsTests(ApiCluster cluster)
{
    private const string Runs = "/v1/training/runs";

    [Theory]
    [InlineData("""{"id":"a/b","stages":[{"configuration":"x"}]}""", "id")]
    [InlineData("""{"id":"run","stages":null}""", "stages")]
    [InlineData("""{"id":"run","stages":[]}""", "stages")]
    [InlineData("""{"id":"run","stages":[null]}""", "stages")]
    [InlineData("""{"id":"run","stages":[{"configuration":null}]}""", "stages")]
    [InlineData("""{"id":"run","stages":[{"configuration":"a: b"},{"configuration":null}]}""", "stages")]
    [InlineData("""{"id":"run","stages":[{"configuration":"a: b","overrides":null}]}""", "stages")]
    [InlineData("""{"id":"run","stages":[{"configuration":"a: b","overrides":[null]}]}""", "stages")]
    [InlineData("""{"id":"run","stages":[{"configuration":"a: b","overrides":["c"]}]}""", "stages")]
    [InlineData("""{"id":"run","stages":[{"configuration":"a: b"}]}""", "stages")]
    [InlineData("""{"id":"run","stages":[{"configuration":"a: b"}],"wight":2}""", "$.wight")]
    public async Task RunThatCannotBeTrained_IsRefused_AndNotStored(string body, string param)
    {
        using HttpClient admin = cluster.Admin();
        (_, string? named, _) = await admin.SendAsync(HttpMethod.Post, "/v1/training/runs", body)
            .ErrorAsync(HttpStatusCode.BadRequest);
        Assert.Equal(param, named);
        await admin.SendAsync(HttpMethod.Get, "/v1/training/runs/run").ErrorAsync(HttpStatusCode.NotFound);
    }

    [Theory]
    [InlineData(1, "model.dim=48", "stages[1] (toy) cannot start from stages[0] (toy)", "dim is 48, and 32 in toy")]
    [InlineData(0, "trainer.mixed=true", "stages[0] (toy) sets trainer.mixed", "Leave trainer.mixed out")]
    [InlineData(0, "trainer.shards=3", "trainer.shards", "power of two")]
    public async Task AStageThatCannotBeTrained_IsRejected_WithWhatWouldBeRight(
        int stage, string change, string named, string right)
    {
        using HttpClient admin = cluster.Admin();
        string[][] overrides = [["trainer.save_folder=a"], ["trainer.load_path=a", "trainer.save_folder=b"]];
        overrides[stage] = [.. overrides[stage], change];
        (_, string? param, string message) = await admin.SendAsync(
            HttpMethod.Post, "/v1/training/runs", RunOf("named", overrides)).ErrorAsync(HttpStatusCode.BadRequest);
        Assert.Equal("stages", param);
        Assert.Contains(named, message, StringComparison.Ordinal);
        Assert.Contains(right, message, StringComparison.Ordinal);
        await admin.SendAsync(HttpMethod.Get, "/v1/training/runs/named").ErrorAsync(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task ARun_IsSubmittedOnce_Listed_AndCancelled()
    {
        using HttpClient admin = cluster.Admin();
        string[][] stages = [["trainer.save_folder=a"], ["trainer.load_path=a", "dataset.image_size=128"]];
        string body = RunOf("adm-run", stages);
        JsonElement run = await admin.SendAsync(HttpMethod.Post, "/v1/training/runs", body)
            .JsonAsync(HttpStatusCode.Accepted);
        Assert.Equal(("running", 2), (run.Text("status"), run.GetProperty("stage_count").GetInt32()));
        Assert.Equal("No trainer is available; the stage waits.", run.GetProperty("stages")[0].Text("trouble"));
        await admin.SendAsync(HttpMethod.Post, "/v1/training/runs", body).JsonAsync(HttpStatusCode.Accepted);
        (string code, _, string message) = await admin.SendAsync(
            HttpMethod.Post, "/v1/training/runs", RunOf("adm-run", [["trainer.save_folder=c"]]))
            .ErrorAsync(HttpStatusCode.Conflict);
        Assert.Equal("id_conflict", code);
        Assert.Contains("use another id", message, StringComparison.Ordinal);
        JsonElement list = await admin.SendAsync(HttpMethod.Get, "/v1/training/runs").JsonAsync();
        Assert.Contains(list.GetProperty("data").EnumerateArray(), one => one.Text("id") == "adm-run");
        await admin.SendAsync(HttpMethod.Post, "/v1/training/runs/adm-run/export").ErrorAsync(HttpStatusCode.Conflict);

        Assert.Equal(
            HttpStatusCode.NoContent,
            (await admin.SendAsync(HttpMethod.Delete, "/v1/training/runs/adm-run")).StatusCode);
        run = await admin.SendAsync(HttpMethod.Get, "/v1/training/runs/adm-run").JsonAsync();
        Assert.Equal("cancelled", run.Text("status"));
        list = await admin.SendAsync(HttpMethod.Get, "/v1/training/runs").JsonAsync();
        JsonElement ended = Assert.Single(
            list.GetProperty("data").EnumerateArray(), one => one.Text("id") == "adm-run");
        Assert.Equal("cancelled", ended.Text("status"));
        Assert.NotEqual(JsonValueKind.Null, ended.GetProperty("ended_at").ValueKind);
        (string over, _, _) = await admin.SendAsync(HttpMethod.Post, "/v1/training/runs/adm-run/resume")
            .ErrorAsync(HttpStatusCode.Conflict);
        Assert.Equal("run_is_over", over);
        foreach (string url in new[] { "/v1/training/runs/none", "/v1/training/runs/a.b" })
        {
            await admin.SendAsync(HttpMethod.Get, url).ErrorAsync(HttpStatusCode.NotFound);
            await admin.SendAsync(HttpMethod.Delete, url).ErrorAsync(HttpStatusCode.NotFound);
        }
    }

    // A folder is as it is after so many steps; the first stage ends after 20. Null: there is no folder.
    [Theory]
    [InlineData(20, true, 7, true, null)]
    [InlineData(20, true, null, true, null)]
    [InlineData(null, false, null, true, null)]
    [InlineData(13, false, null, true, null)]
    [InlineData(13, false, 7, false, null)]
    [InlineData(13, false, 7, true, "is at step 13 of 20")]
    [InlineData(null, false, 7, true, "has no checkpoint")]
    [InlineData(20, false, 7, true, "final.safetensors")]
    [InlineData(20, false, null, true, "final.safetensors")]
    public async Task StagesThatResume_ContinueACompleteStage_OrAreRejectedWithTheFolders(
        int? first, bool hasResult, int? second, bool resumes, string? said)
    {
        string root = Directory.CreateTempSubdirectory("atelier-resumed").FullName;
        try
        {
            string[] folders = [Path.Combine(root, "first"), Path.Combine(root, "second")];
            foreach ((string folder, int? step) in folders.Zip([first, second]))
            {
                Directory.CreateDirectory(folder);
                if (step is { } at)
                {
                    await File.WriteAllBytesAsync(
                        CheckpointStore.PathOf(folder, at, isPlanned: true), [], ApiCluster.Cancellation);
                }
            }

            if (hasResult)
            {
                await File.WriteAllBytesAsync(StageResult.PathIn(folders[0]), [], ApiCluster.Cancellation);
            }

            string id = $"resumed-{first}-{second}-{hasResult}-{resumes}";
            string[][] stages =
            [
                [$"trainer.save_folder={folders[0]}", "trainer.max_duration=20ba"],
                [$"trainer.load_path={folders[0]}", $"trainer.save_folder={folders[1]}"],
            ];
            using HttpClient admin = cluster.Admin();
            using HttpResponseMessage answer = await admin.SendAsync(
                HttpMethod.Post, "/v1/training/runs", RunOf(id, stages, resumes));
            if (said is null)
            {
                Assert.Equal(HttpStatusCode.Accepted, answer.StatusCode);
                await admin.SendAsync(HttpMethod.Delete, $"/v1/training/runs/{id}");
                return;
            }

            Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
            string message = await answer.Content.ReadAsStringAsync(ApiCluster.Cancellation);
            Assert.Contains(said, message, StringComparison.Ordinal);
            Assert.Contains(folders[0], message, StringComparison.Ordinal);
            Assert.Equal(said.StartsWith("final", StringComparison.Ordinal), !message.Contains(folders[1]));
            await admin.SendAsync(HttpMethod.Get, $"/v1/training/runs/{id}").ErrorAsync(HttpStatusCode.NotFound);
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }

    internal static string RunOf(string id, string[][] overrides, bool resume = false)
    {
        const string Configuration =
            "exp_name: toy\nseed: 3\nmodel: {dit_arch: custom, dim: 32, depth: 2, head_dim: 16, multiple_of: 16, "
            + "patch_mixer_depth: 1, patch_mixer_dim: 32, num_experts: 4, caption_channels: 128, latent_res: 16, "
            + "p_mean: -0.6, p_std: 1.2, train_mask_ratio: 0.5, dtype: float32}\n"
            + "dataset: {image_size: 64, caption_length: 32, train_batch_size: 8, train: {datadir: [data]}}\n"
            + "optimizer: {lr: 1.0e-3}\nscheduler: {name: cosine, t_warmup: 5ba}\n"
            + "trainer: {shards: 4, max_duration: 300ba, save_interval: 20ba}\n";
        return JsonSerializer.Serialize(new
        {
            id, stages = overrides.Select(one => new { configuration = Configuration, overrides = one, resume }),
        });
    }

    [Theory]
    [InlineData("priority", "101", "-100..100")]
    [InlineData("weight", "0.5", "1..1000")]
    [InlineData("budget_seconds", "0", "positive number of device-seconds")]
    public async Task SettingOutOfBounds_IsRefused_WithWhatWouldBeRight(string member, string value, string right)
    {
        using HttpClient admin = cluster.Admin();
        string body = RunOf("bounds", [["trainer.save_folder=a"]])[..^1] + $",\"{member}\":{value}}}";
        (_, _, string message) = await admin.SendAsync(HttpMethod.Post, Runs, body)
            .ErrorAsync(HttpStatusCode.BadRequest);
        Assert.Contains(right, message, StringComparison.Ordinal);
        await admin.SendAsync(HttpMethod.Get, $"{Runs}/bounds").ErrorAsync(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task ATenant_NeedsTheRightToTrain_AndSeesItsOwnRunsOnly()
    {
        using HttpClient admin = cluster.Admin();
        using HttpClient tenant = await cluster.ClientAsync("trains"), stranger = await cluster.ClientAsync(
            "trains-too", new TenantSettings { RequestsPerMinute = 100_000, MayTrain = true });
        string body = RunOf("of-tenant", [["trainer.save_folder=a"]]);
        foreach ((HttpMethod method, string url, string? sent) in new (HttpMethod, string, string?)[]
        {
            (HttpMethod.Post, Runs, body), (HttpMethod.Get, Runs, null), (HttpMethod.Get, $"{Runs}/of-tenant", null),
        })
        {
            (string code, _, string message) = await tenant.SendAsync(method, url, sent)
                .ErrorAsync(HttpStatusCode.Forbidden);
            Assert.Equal("not_trainer", code);
            Assert.Contains("--may-train", message, StringComparison.Ordinal);
        }

        await admin.SendAsync(HttpMethod.Put, "/v1/admin/tenants/trains", """{"may_train":true}""").JsonAsync();
        JsonElement run = await tenant.SendAsync(HttpMethod.Post, Runs, body).JsonAsync(HttpStatusCode.Accepted);
        Assert.Equal("trains", run.Text("owner"));
        await tenant.SendAsync(HttpMethod.Get, $"{Runs}/of-tenant").JsonAsync();
        await admin.SendAsync(HttpMethod.Get, $"{Runs}/of-tenant").JsonAsync();
        foreach ((HttpMethod method, string url) in new[]
        {
            (HttpMethod.Get, ""), (HttpMethod.Delete, ""), (HttpMethod.Post, "/pause"), (HttpMethod.Post, "/resume"),
            (HttpMethod.Get, "/events"), (HttpMethod.Get, "/stages/0/metrics"), (HttpMethod.Get, "/stages/0/report"),
        })
        {
            await stranger.SendAsync(method, $"{Runs}/of-tenant{url}").ErrorAsync(HttpStatusCode.NotFound);
        }

        JsonElement list = await stranger.SendAsync(HttpMethod.Get, Runs).JsonAsync();
        Assert.Empty(list.GetProperty("data").EnumerateArray());
        await stranger.SendAsync(HttpMethod.Post, Runs, body).ErrorAsync(HttpStatusCode.Conflict);
        await tenant.SendAsync(HttpMethod.Post, $"{Runs}/of-tenant/export").ErrorAsync(HttpStatusCode.Forbidden);
        Assert.Equal(
            HttpStatusCode.NoContent, (await tenant.SendAsync(HttpMethod.Delete, $"{Runs}/of-tenant")).StatusCode);
    }

    [Fact]
    public async Task ARunWithoutTrainers_IsPausedAtOnce_AndItsBudgetCanBeRaised()
    {
        using HttpClient admin = cluster.Admin();
        string body = RunOf("paused", [["trainer.save_folder=a"]])[..^1] + ",\"priority\":-3,\"budget_seconds\":60}";
        JsonElement run = await admin.SendAsync(HttpMethod.Post, Runs, body).JsonAsync(HttpStatusCode.Accepted);
        Assert.Equal((-3, 60), (run.GetProperty("priority").GetInt32(), run.GetProperty("budget_seconds").GetInt32()));
        await admin.SendAsync(HttpMethod.Post, $"{Runs}/paused/pause", """{"now":1}""")
            .ErrorAsync(HttpStatusCode.BadRequest);
        await admin.SendAsync(HttpMethod.Post, $"{Runs}/paused/pause").JsonAsync();
        await UntilAsync(admin, "paused", "paused");
        run = await admin.SendAsync(HttpMethod.Get, $"{Runs}/paused").JsonAsync();
        Assert.Equal("paused by request", run.GetProperty("stages")[0].Text("trouble"));
        run = await admin.SendAsync(HttpMethod.Post, $"{Runs}/paused/resume", """{"budget_seconds":90}""").JsonAsync();
        Assert.Equal(("running", 90), (run.Text("status"), run.GetProperty("budget_seconds").GetInt32()));
        await admin.SendAsync(HttpMethod.Post, Runs, body).JsonAsync(HttpStatusCode.Accepted); // Still the same run.
        await admin.SendAsync(HttpMethod.Delete, $"{Runs}/paused");
    }

    internal static async Task UntilAsync(HttpClient admin, string run, string status)
    {
        while ((await admin.SendAsync(HttpMethod.Get, $"{Runs}/{run}").JsonAsync()).Text("status") != status)
        {
            await Task.Delay(50, ApiCluster.Cancellation);
        }
    }

    [Fact]
    public async Task EventsFromAPlaceThatIsNone_AreRefused()
    {
        using HttpClient admin = cluster.Admin();
        await admin.SendAsync(HttpMethod.Post, Runs, RunOf("watched", [["trainer.save_folder=a"]]))
            .JsonAsync(HttpStatusCode.Accepted);
        await admin.SendAsync(HttpMethod.Delete, $"{Runs}/watched");
        using var request = new HttpRequestMessage(HttpMethod.Get, $"{Runs}/watched/events");
        request.Headers.Add("Last-Event-ID", "7");
        (_, string? param, _) = await admin.SendAsync(request, ApiCluster.Cancellation)
            .ErrorAsync(HttpStatusCode.BadRequest);
        Assert.Equal("Last-Event-ID", param);
        string events = await admin.GetStringAsync($"{Runs}/watched/events", ApiCluster.Cancellation);
        Assert.Contains("event: end", events, StringComparison.Ordinal);
        await admin.SendAsync(HttpMethod.Get, $"{Runs}/watched/stages/1/metrics").ErrorAsync(HttpStatusCode.NotFound);
        await admin.SendAsync(HttpMethod.Get, $"{Runs}/watched/stages/0/curves/x.svg")
            .ErrorAsync(HttpStatusCode.NotFound);
    }
}
