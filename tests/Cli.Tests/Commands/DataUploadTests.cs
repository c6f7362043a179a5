// Goal: `runs submit --upload` sends every piece that the cluster does not have, once, also if calls fail, and submits
// the stage with the data set's name instead of its folder. Method: the program against a stub of the cluster.
using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Atelier.Model.Data.Caching;
using Atelier.Model.Data.Mds;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;

namespace Atelier.Cli.Tests.Commands;

public sealed class DataUploadTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly ConcurrentDictionary<string, byte[]> _pieces = new();
    private readonly ConcurrentBag<string> _sets = [];
    private readonly ConcurrentQueue<JsonObject> _runs = new();
    private int _sent;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task WhatTheClusterDoesNotHave_IsSentOnce_AndTheStageNamesIt()
    {
        Write("one", 1);
        Write("two", 2);
        await using StubCluster cluster = await StubCluster.StartAsync(Map);
        cluster.Faults.Enqueue((503, """{"error":{"message":"try again"}}"""));
        await SubmitAsync(cluster, "--upload");

        JsonNode stage = _runs.Single()["stages"]![0]!;
        string[] changes = [.. stage["overrides"]!.AsArray().Select(one => one!.GetValue<string>())];
        string name = changes.Single(one => one.StartsWith("dataset.train.datadir=", StringComparison.Ordinal));
        string[] sets = name["dataset.train.datadir=".Length..].Split(',');
        Assert.Equal(2, sets.Length);
        Assert.All(sets.Zip(["one", "two"]), pair =>
        {
            DataManifest manifest = DataManifest.Parse(_pieces[DataManifest.DigestIn(pair.First)!], pair.First);
            Assert.Equal(["index.json", "shard.00000.mds"], manifest.Files.Select(file => file.Name));
            Assert.All(manifest.Files, file => Assert.Equal(
                File.ReadAllBytes(_folder[$"{pair.Second}/{file.Name}"]), _pieces[Assert.Single(file.Pieces).Sha256]));
        });
        Assert.Equal(sets.Select(set => DataManifest.DigestIn(set)).Order(), _sets.Distinct().Order());
        Assert.Equal(5, _sent); // Two shards, two lists of files, and the index, which is the same for both.

        _pieces.TryRemove(_pieces.Keys.First(), out _);
        await SubmitAsync(cluster, "--upload");
        Assert.Equal(6, _sent);
        Assert.True(JsonNode.DeepEquals(_runs.First()["stages"], _runs.Last()["stages"]));

        _runs.Clear();
        await SubmitAsync(cluster);
        Assert.Contains(
            $"dataset.train.datadir={_folder["one"]},{_folder["two"]}",
            _runs.Single()["stages"]![0]!["overrides"]!.AsArray().Select(one => one!.GetValue<string>()));
        Assert.Equal(6, _sent);
    }

    private void Map(WebApplication app)
    {
        app.MapPost("/v1/training/data/{set}/{sha256}/hold", (string set, string sha256) =>
        {
            _sets.Add(set);
            return _pieces.ContainsKey(sha256) ? Results.NoContent() : Results.NotFound();
        });
        app.MapPut("/v1/training/data/{set}/{sha256}", async (string sha256, HttpContext context) =>
        {
            using var bytes = new MemoryStream();
            await context.Request.Body.CopyToAsync(bytes, context.RequestAborted);
            Assert.Equal(sha256, Convert.ToHexStringLower(SHA256.HashData(bytes.ToArray())));
            _pieces[sha256] = bytes.ToArray();
            Interlocked.Increment(ref _sent);
            return Results.NoContent();
        });
        app.MapPost("/v1/training/runs", async (HttpContext context) =>
        {
            var run = (JsonObject)(await JsonNode.ParseAsync(
                context.Request.Body, cancellationToken: context.RequestAborted))!;
            _runs.Enqueue(run);
            return Results.Json(
                new { id = "run", status = "running", stage_count = 1, stages = Array.Empty<object>() },
                statusCode: (int)HttpStatusCode.Accepted);
        });
    }

    private async Task SubmitAsync(StubCluster cluster, params string[] options)
    {
        await File.WriteAllTextAsync(_folder["stage.yaml"], """
            exp_name: toy
            seed: 3
            model: {dit_arch: custom, dim: 32, depth: 2, head_dim: 16, multiple_of: 16, patch_mixer_depth: 1,
              patch_mixer_dim: 32, num_experts: 4, caption_channels: 128, latent_res: 16, p_mean: -0.6, p_std: 1.2,
              train_mask_ratio: 0.5, dtype: float32}
            dataset: {image_size: 64, caption_length: 32, train_batch_size: 8, train: {datadir: [one, two]}}
            optimizer: {lr: 1.0e-3}
            scheduler: {name: cosine, t_warmup: 5ba}
            trainer: {shards: 4, max_duration: 300ba, save_interval: 20ba}
            """, TestContext.Current.CancellationToken);
        (await AtelierProgram.RunAsync(
            _folder.Path,
            ["runs", "submit", "stage.yaml", "--cluster", cluster.Url, "--key", "key", .. options])).Succeeded();
    }

    private void Write(string name, byte value)
    {
        var writer = new MdsWriter(_folder[name], new Dictionary<string, string> { ["x"] = "bytes" });
        writer.Write(new Dictionary<string, object> { ["x"] = new[] { value } });
        writer.Complete();
    }
}
