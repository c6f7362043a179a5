// Goal: a stage that is trained by silos that are killed, one by one and all at once, ends with the weights of one that
// a single process trained alone. Method: real processes, a toy stage, and the same stage by the command line.
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Microsoft.Playwright;
using Xunit;

namespace Atelier.EndToEnd;

[Collection("clusters")]
public sealed partial class TrainingTests
{
    private const string Stage =
        """
        exp_name: toy
        seed: 3
        model:
          dit_arch: custom
          dim: 32
          depth: 2
          head_dim: 16
          multiple_of: 16
          patch_mixer_depth: 1
          patch_mixer_dim: 32
          num_experts: 4
          in_channels: 4
          caption_channels: 128
          latent_res: 16
          p_mean: -0.6
          p_std: 1.2
          train_mask_ratio: 0.5
          dtype: float32
        dataset:
          image_size: 64
          caption_length: 32
          train_batch_size: 8
          train:
            datadir: [data]
        optimizer:
          lr: 1.0e-3
        scheduler:
          name: cosine
          t_warmup: 5ba
        algorithms:
          ema:
            smoothing: 0.9
            ema_start: 2ba
        trainer:
          shards: 4
          max_duration: 300ba
          save_interval: 20ba
          save_folder: run
        """;

    [Fact]
    public async Task StageUnderKills_EndsWithTheWeightsOfTrain()
    {
        string folder = Directory.CreateTempSubdirectory("atelier-training").FullName;
        try
        {
            await Tool.AtelierAsync(
                folder, "data", "precompute", "data", "--shapes", "50", "--size", "64", "--model",
                Path.Combine(Tool.Root, "models", "shapes"));
            await File.WriteAllTextAsync(
                Path.Combine(folder, "stage.yaml"), Stage, TestContext.Current.CancellationToken);
            string expected = Digest().Match(await Tool.AtelierAsync(folder, "train", "stage.yaml")).Value[^16..];
            await using var cluster = new TestCluster(silos: 3, embedded: true);
            await cluster.StartAsync();
            using HttpClient admin = cluster.Admin();
            await SubmitAsync(admin, folder);
            await StepAsync(cluster, admin, 30);
            await cluster.Silos[0].KillAsync();
            await StepAsync(cluster, admin, 60);
            cluster.Silos[0].Start();
            await StepAsync(cluster, admin, 90);
            await cluster.Silos[1].StopAsync();
            await StepAsync(cluster, admin, 120);
            await Task.WhenAll(cluster.Silos.Where(silo => silo.IsRunning).Select(silo => silo.KillAsync()));
            foreach (ProcessUnderTest silo in cluster.Silos)
            {
                silo.Start();
            }

            JsonNode run = await StepAsync(cluster, admin, int.MaxValue);
            Assert.Equal("done", run["status"]!.GetValue<string>());
            string weights = run["stages"]![0]!["weights"]!.GetValue<string>();
            TestContext.Current.TestOutputHelper?.WriteLine(
                $"{run["stages"]![0]!["world"]} worlds; weights {weights[..16]}, by train {expected}");
            Assert.Equal(expected, weights[..16]);
            Assert.InRange(run["stages"]![0]!["world"]!.GetValue<int>(), 4, int.MaxValue);
            await HistoryAsync(admin);
            await PageAsync(cluster, admin.DefaultRequestHeaders.Authorization!.Parameter!);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    // What is left of a run that was killed often: every step once, in every form.
    private static async Task HistoryAsync(HttpClient admin)
    {
        const string Path = "/v1/training/runs/toy/stages/0";
        string[] lines = (await admin.GetStringAsync($"{Path}/metrics"))
            .Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(
            Enumerable.Range(0, 300), lines.Select(line => JsonNode.Parse(line)!["step"]!.GetValue<int>()));
        string events = await admin.GetStringAsync("/v1/training/runs/toy/events");
        Assert.Equal(300, events.Split("event: step\n").Length - 1);
        Assert.Contains("event: end\n", events, StringComparison.Ordinal);
        Assert.Contains("<svg", await admin.GetStringAsync($"{Path}/curves/loss.svg"), StringComparison.Ordinal);
        Assert.Contains("300 of 300", await admin.GetStringAsync($"{Path}/report"), StringComparison.Ordinal);
        byte[] board = await admin.GetByteArrayAsync($"{Path}/events.tfevents");
        Assert.InRange(board.Length, 300 * 3 * 20, 1 << 20);
    }

    // The page lists the run, and shows its curves and what happened to it.
    private static async Task PageAsync(TestCluster cluster, string key)
    {
        using IPlaywright playwright = await Playwright.CreateAsync();
        await using IBrowser browser = await playwright.Chromium.LaunchAsync(
            new() { ExecutablePath = "/usr/bin/chromium", Headless = true });
        IPage page = await browser.NewPageAsync();
        var faults = new List<string>();
        page.PageError += (_, error) => faults.Add(error);
        await page.GotoAsync($"{cluster.Url}training");
        await page.FillAsync("#key", key);
        await page.ClickAsync("#key-form button");
        await page.ClickAsync("#runs a");
        await Assertions.Expect(page.Locator("#run-status")).ToContainTextAsync("done");
        await Assertions.Expect(page.Locator("article .curve")).ToHaveCountAsync(3);
        Assert.True(await page.EvaluateAsync<bool>("document.querySelector('.curve').naturalWidth > 0"));
        await page.ClickAsync("summary");
        await Assertions.Expect(page.Locator(".notes li").First).ToContainTextAsync("step 300");
        if (Environment.GetEnvironmentVariable("ATELIER_SCREENSHOT") is { } path)
        {
            await page.ScreenshotAsync(new() { Path = path, FullPage = true });
        }

        Assert.Empty(faults);
    }

    [GeneratedRegex("weights [0-9a-f]{16}", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Digest();

    private static async Task SubmitAsync(HttpClient admin, string folder)
    {
        using HttpResponseMessage answer = await admin.PostAsJsonAsync("/v1/training/runs", new
        {
            id = "toy",
            stages = new[]
            {
                new
                {
                    configuration = Stage,
                    overrides = new[]
                    {
                        $"dataset.train.datadir={Path.Combine(folder, "data")}",
                        $"trainer.save_folder={Path.Combine(folder, "cluster")}",
                    },
                },
            },
        });
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
    }

    // Waits until the run is over, or has come to a step.
    private static async Task<JsonNode> StepAsync(TestCluster cluster, HttpClient admin, long step)
    {
        JsonNode? run = null;
        long best = -1;
        while (true)
        {
            await cluster.PatientlyAsync($"a step after {best}", async () =>
            {
                try
                {
                    run = await admin.GetFromJsonAsync<JsonNode>("/v1/training/runs/toy");
                    return run!["status"]!.GetValue<string>() != "running"
                        || run["stages"]![0]!["step"]!.GetValue<long>() > best;
                }
                catch (HttpRequestException)
                {
                    return false; // The cluster is between two kills.
                }
            });
            best = run!["stages"]![0]!["step"]!.GetValue<long>();
            if (best >= step || run["status"]!.GetValue<string>() != "running")
            {
                return run;
            }
        }
    }
}
