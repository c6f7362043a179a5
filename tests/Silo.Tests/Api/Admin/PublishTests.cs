// Goal: a checkpoint of a run becomes a model that workers draw with without a restart, with the bytes of the command
// line; nothing else changes, and nothing half published is left. Method: one cluster with a tiny model's folder trains
// a toy stage; the tests publish its checkpoints over HTTP.
using System.Net;
using System.Text.Json;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Grains;
using Atelier.Grains.Models;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Grains.Training;
using Atelier.Model.Data;
using Atelier.Model.Pipeline;
using Atelier.Model.Tests.Training;
using Atelier.Model.Tests.Training.Runs;
using Atelier.Model.Training.Runs;
using Atelier.Model.Weights;
using Atelier.Silo.Devices;
using Atelier.Silo.Hosting;
using Atelier.Silo.Models;
using Atelier.Silo.Tests.Blobs;
using Atelier.Silo.Tests.Devices;
using Atelier.Silo.Training;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Xunit;

namespace Atelier.Silo.Tests.Api.Admin;

/// <summary>A cluster that has trained a stage of 12 steps, and keeps the checkpoints of steps 4, 8 and 12.</summary>
public class TrainedCluster : IAsyncLifetime
{
    public const string Base = "base";

    private readonly string _folder = Directory.CreateTempSubdirectory("publish").FullName;

    internal ApiCluster Api { get; private set; } = null!;

    internal FaultyBlobStore SiloBlobs { get; private set; } = null!;

    internal FaultyBlobStore ApiBlobs { get; private set; } = null!;

    internal LogKeeper Log { get; } = new();

    internal DeviceModel Old { get; private set; } = null!;

    internal StageConfig Config { get; private set; } = null!;

    internal string Folder => _folder;

    /// <summary>The part of the stage's configuration about panels.</summary>
    protected virtual string Panel => "";

    /// <summary>
    /// Whether the silo has the folder of the model, whose text encoder has the image encoder in its file, too.
    /// </summary>
    protected virtual bool Draws => false;

    /// <summary>Folders of the models on the silo's disk.</summary>
    internal string[] Cached =>
        Directory.GetDirectories(Path.Combine(_folder, "cache"), "*", SearchOption.AllDirectories);

    public async ValueTask InitializeAsync()
    {
        string path = Path.Combine(_folder, "base");
        Old = DeviceModel.Open(
            TinyModels.Write(path, Base, scores: Draws).Path, isDefault: true, "gpt-image-1");
        WriteRecipe(path);
        string configuration =
            "exp_name: toy\nseed: 3\nmodel: {dit_arch: custom, dim: 32, depth: 2, head_dim: 16, multiple_of: 16, "
            + "patch_mixer_depth: 1, patch_mixer_dim: 32, num_experts: 4, caption_channels: 24, latent_res: 8, "
            + "p_mean: -0.6, p_std: 1.2, train_mask_ratio: 0.5, dtype: float32}\n"
            + "dataset: {image_size: 16, caption_length: 5, train_batch_size: 8, "
            + $"train: {{datadir: [{_folder}/data]}}}}\n"
            + "optimizer: {lr: 1.0e-3}\nscheduler: {name: constant, t_warmup: 2ba}\n"
            + "algorithms: {ema: {smoothing: 0.9}}\n"
            + $"trainer: {{shards: 2, max_duration: 12ba, save_interval: 4ba, save_folder: {_folder}/run, "
            + "save_num_checkpoints_to_keep: 3}\n" + Panel;
        Config = StageConfig.Parse("toy", configuration, []);
        Api = new ApiCluster
        {
            Models = [Old, TinyModels.First], Configure = ConfigureSilo, ConfigureApi = ConfigureApi,
        };
        await Api.InitializeAsync();
        using HttpClient admin = Api.Admin();
        await admin.SendAsync(HttpMethod.Post, "/v1/training/runs", JsonSerializer.Serialize(new
        {
            id = "toy", stages = new[] { new { configuration } },
        })).JsonAsync(HttpStatusCode.Accepted);
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(ApiCluster.Cancellation);
        patience.CancelAfter(TimeSpan.FromMinutes(2));
        while ((await admin.SendAsync(HttpMethod.Get, "/v1/training/runs/toy").JsonAsync()).Text("status") != "done")
        {
            await Task.Delay(100, patience.Token);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Api.DisposeAsync();
        Log.Dispose();
        Directory.Delete(_folder, recursive: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>The picture of a specification, drawn by the cluster.</summary>
    internal async Task<byte[]> DrawAsync(string id, GenerationSpec spec)
    {
        await Api.ClientAsync("publish");
        IGenerationGrain generation = Api.Grains.Generation(
            new GenerationKey(new TenantId("publish"), new GenerationId(id)));
        SubmitAnswer answer = await generation.SubmitAsync(new Submission { Spec = spec });
        Assert.True(answer.IsAccepted, $"{answer.Outcome}: {answer.Message}");
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(ApiCluster.Cancellation);
        patience.CancelAfter(TimeSpan.FromMinutes(1));
        GenerationEvent? last = null;
        await foreach (GenerationEvent one in generation.WatchAsync(EventNumber.Before, patience.Token))
        {
            last = one;
        }

        Assert.Equal(GenerationPhase.Done, last!.Phase);
        return (await Api.Blobs().GetAsync(last.Picture!.Value, ApiCluster.Cancellation))!;
    }

    // As `data precompute` with the base model would have recorded it.
    private void WriteRecipe(string model)
    {
        using Encoders encoders = Encoders.Load(model);
        NetworkDigests digests = NetworkDigests.Of(encoders.Autoencoder, encoders.Text, encoders.Tokenizer);
        Directory.CreateDirectory(Path.Combine(_folder, "data"));
        File.WriteAllText(
            Path.Combine(_folder, "data", "recipe.json"),
            JsonSerializer.Serialize(new Dictionary<string, string>
            {
                ["autoencoder"] = digests.Autoencoder, ["text encoder"] = digests.TextEncoder,
                ["vocabulary"] = digests.Vocabulary, ["precision"] = digests.Precision,
            }));
    }

    private void ConfigureSilo(IServiceCollection services)
    {
        SiloBlobs = new FaultyBlobStore(Api.Blobs());
        services.AddSingleton<IBlobStore>(SiloBlobs);
        services.AddSingleton<ITrainingWork>(provider => new ToyTraining(
            Config, provider.GetRequiredService<DeviceLane>()));
        services.AddSingleton<ITrainerNetwork>(provider => new TcpTrainerNetwork(
            IPAddress.Loopback, new PeerSecurity(null), new PeerOptions(), TimeProvider.System,
            provider.GetRequiredService<ILoggerFactory>()));
        services.Configure<TrainerOptions>(options =>
        {
            options.HeartbeatPeriod = TimeSpan.FromMilliseconds(100);
            options.IdlePeriod = TimeSpan.FromMilliseconds(100);
            options.PanelPeriod = TimeSpan.FromMilliseconds(100);
        });

        // Only notifications can be in time.
        services.Configure<ModelOptions>(options =>
        {
            options.ConfirmPeriod = TimeSpan.FromHours(1);
            options.ConfirmedFor = options.RetiredPatience = TimeSpan.FromHours(3);
        });
        services.AddSingleton(Cache(TimeSpan.FromMilliseconds(50)));
        services.AddPublishing(Draws ? [Path.Combine(_folder, "base")] : []).AddModelFollower();
        services.AddLogging(logging => logging.AddProvider(Log));
    }

    private void ConfigureApi(IServiceCollection services)
    {
        ApiBlobs = new FaultyBlobStore(Api.Blobs());
        services.AddSingleton<IBlobStore>(ApiBlobs);
        services.AddSingleton(Cache(TimeSpan.FromSeconds(1)));
        services.AddSingleton<ILocalSiloDetails>(new SiloDetails(new SiloSettings { Name = "api" }, 1));
        services.AddPublishing([Path.Combine(_folder, "damaged"), Path.Combine(_folder, "base")]);
    }

    private IOptions<ModelCacheOptions> Cache(TimeSpan pause) => Options.Create(new ModelCacheOptions
    {
        Folder = Path.Combine(_folder, "cache"), RetryPause = pause,
    });

    /// <summary>Trains the stage with toy data.</summary>
    private sealed class ToyTraining(StageConfig config, DeviceLane lane) : ITrainingWork
    {
        public string Device => "cpu";

        public Task ProbeAsync(CancellationToken cancellation) => Task.CompletedTask;

        public Task<IStageWork> OpenAsync(StagePlan plan, CancellationToken cancellation) =>
            Task.FromResult<IStageWork>(new TorchStageWork(
                config, plan, new ToyData(13, config.Network), new TrainingLane(lane, TimeSpan.FromMinutes(5))));
    }
}

public sealed class PublishTests(TrainedCluster trained) : IClassFixture<TrainedCluster>
{
    private const string Url = "/v1/training/runs/toy/publish";

    private ApiCluster Api => trained.Api;

    [Fact]
    public async Task APublishedCheckpoint_IsDrawnWith_WithTheCommandLinesBytes_AndTheOldModelKeepsItsOwn()
    {
        using HttpClient admin = Api.Admin(), client = await Api.ClientAsync("publish");
        GenerationSpec old = TinyModels.Spec(trained.Old);
        byte[] before = await trained.DrawAsync("before", old);
        Assert.Equal(TinyModels.Expected(trained.Old, old), before);

        JsonElement answer = await admin.SendAsync(HttpMethod.Post, Url, """{"name":"mine"}""").JsonAsync();
        Assert.Equal(
            ("mine", "published", 0, 12, trained.Old.Card.Digest.Value),
            (answer.Text("name"), answer.Text("status"), answer.GetProperty("stage").GetInt32(),
                answer.GetProperty("step").GetInt32(), answer.Text("base")));
        JsonElement card = await CardAsync(admin, "mine");
        Assert.Equal(answer.Text("digest"), card.Text("digest"));
        Assert.Equal("MIT", card.Text("licence"));
        JsonElement run = await admin.SendAsync(HttpMethod.Get, "/v1/training/runs/toy").JsonAsync();
        JsonElement origin = card.GetProperty("trained");
        Assert.Equal(
            ("toy", 0, 12, run.GetProperty("stages")[0].Text("weights"), false),
            (origin.Text("run"), origin.GetProperty("stage").GetInt32(), origin.GetProperty("step").GetInt32(),
                origin.Text("digest"), origin.GetProperty("superseded").GetBoolean()));

        // The worker that drew before draws with the model: as the command line with the folder on the silo's disk.
        string folder = Assert.Single(trained.Cached, path => Path.GetFileName(path) == answer.Text("digest"));
        DeviceModel exported = DeviceModel.Open(folder);
        GenerationSpec spec = TinyModels.Spec(exported);
        byte[] drawn = await trained.DrawAsync("new", spec);
        Assert.Equal(TinyModels.Expected(exported, spec), drawn);
        Assert.NotEqual(before, drawn);
        Assert.Equal(before, await trained.DrawAsync("after", old));
        JsonElement named = await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images, """{"prompt":"red","model":"mine","steps":2}""").JsonAsync();
        Assert.Single(named.GetProperty("data").EnumerateArray());

        // The default model is the one that it was.
        JsonElement list = await client.SendAsync(HttpMethod.Get, "/v1/models").JsonAsync();
        JsonElement first = list.GetProperty("data")[0];
        Assert.Equal((TrainedCluster.Base, true), (first.Text("id"), first.GetProperty("is_default").GetBoolean()));
        Assert.Equal(JsonValueKind.Null, first.GetProperty("trained").ValueKind);
        Assert.False(card.GetProperty("is_default").GetBoolean());

        // Its denoiser has the numbers of `train`'s result.
        StageConfig alone = trained.Config with { Folder = Path.Combine(trained.Folder, "alone") };
        ToyStage.Run(alone, data: new ToyData(13, alone.Network));
        using IWeightSource expected = WeightFile.Open(StageResult.PathIn(alone.Folder)),
            own = WeightFile.Open(Path.Combine(folder, "denoiser.safetensors"));
        Assert.All(expected.Tensors.Keys, name => Assert.Equal(Bytes(expected, name), Bytes(own, name)));
    }

    [Fact]
    public async Task TheSameCheckpointAgain_GetsTheSameAnswer_AndAnotherOneUnderTheName_IsRefused()
    {
        using HttpClient admin = Api.Admin();
        JsonElement first = await admin.SendAsync(
            HttpMethod.Post, Url, """{"name":"again","stage":0,"step":8}""").JsonAsync();
        int puts = trained.ApiBlobs.Puts;
        foreach (string body in (string[])
            ["""{"name":"again","step":8}""", """{"name":"again","step":8,"model":"base"}"""])
        {
            JsonElement again = await admin.SendAsync(HttpMethod.Post, Url, body).JsonAsync();
            Assert.Equal(first.GetRawText(), again.GetRawText());
        }

        Assert.Equal(puts, trained.ApiBlobs.Puts);
        string[] stored = await StoredAsync();
        (string code, string? param, string message) = await admin.SendAsync(
            HttpMethod.Post, Url, """{"name":"again","step":4}""").ErrorAsync(HttpStatusCode.Conflict);
        Assert.Equal(("name_exists", "name"), (code, param));
        Assert.Contains("is published from run 'toy', stage 0, step 8", message, StringComparison.Ordinal);
        foreach (string taken in (string[])
            [TrainedCluster.Base, "gpt-image-1", TinyModels.First.Card.Name, trained.Old.Card.Digest.Value])
        {
            (code, _, message) = await admin.SendAsync(HttpMethod.Post, Url, $$"""{"name":"{{taken}}"}""")
                .ErrorAsync(HttpStatusCode.Conflict);
            Assert.Equal("name_exists", code);
            Assert.Contains("use another name", message, StringComparison.Ordinal);
        }

        Assert.Equal(stored, await StoredAsync());
    }

    [Fact]
    public async Task RequestsAtTheSameTime_PublishOnce()
    {
        using HttpClient admin = Api.Admin();
        const string Body = """{"name":"twice","step":4}""";
        int puts = trained.ApiBlobs.Puts;
        await admin.SendAsync(HttpMethod.Post, Url, """{"name":"once","step":4}""").JsonAsync();
        int once = trained.ApiBlobs.Puts - puts;
        JsonElement[] answers = await Task.WhenAll(
            Enumerable.Range(0, 4).Select(_ => admin.SendAsync(HttpMethod.Post, Url, Body).JsonAsync()));
        Assert.Equal(puts + (2 * once), trained.ApiBlobs.Puts);
        Assert.All(answers, answer => Assert.Equal(answers[0].GetRawText(), answer.GetRawText()));
    }

    [Theory]
    [InlineData("{}", 400, "'name' is missing")]
    [InlineData("""{"name":"a/../b"}""", 400, "no URL can have")]
    [InlineData("""{"name":"x","stage":1}""", 400, "The run 'toy' has no stage 1.")]
    [InlineData("""{"name":"x","step":0}""", 400, "'step' must be a whole number")]
    [InlineData("""{"name":"x","step":7}""", 409, "keeps no checkpoint of step 7; the last one is of step 12.")]
    [InlineData("""{"name":"x","model":"nothing"}""", 404, "There is no model 'nothing'")]
    [InlineData("""{"name":"x","model":"first"}""", 409, "is not in a folder of this silo. This silo has base (")]
    public async Task WhatCannotBePublished_IsRefused_WithWhatWouldBeRight(string body, int status, string right)
    {
        using HttpClient admin = Api.Admin();
        (_, _, string message) = await admin.SendAsync(HttpMethod.Post, Url, body).ErrorAsync((HttpStatusCode)status);
        Assert.Contains(right, message, StringComparison.Ordinal);
        Assert.Null(await Api.Grains.PublishedModels().FindAsync("x"));
        await admin.SendAsync(HttpMethod.Get, "/v1/models/x").ErrorAsync(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task OnlyAdministrators_PublishAndWithdraw()
    {
        using HttpClient admin = Api.Admin(), client = await Api.ClientAsync("publish");
        await client.SendAsync(HttpMethod.Post, Url, """{"name":"x"}""").ErrorAsync(HttpStatusCode.Forbidden);
        await client.SendAsync(HttpMethod.Delete, "/v1/models/base").ErrorAsync(HttpStatusCode.Forbidden);
        await admin.SendAsync(HttpMethod.Post, "/v1/training/runs/none/publish", """{"name":"x"}""")
            .ErrorAsync(HttpStatusCode.NotFound);
        (_, _, string message) = await admin.SendAsync(HttpMethod.Delete, "/v1/models/base")
            .ErrorAsync(HttpStatusCode.NotFound);
        Assert.Contains("Models:Folders", message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ABlobStoreThatFailsInTheMiddle_LeavesNothing_AndTheNextAttemptPublishes()
    {
        using HttpClient admin = Api.Admin();
        const string Body = """{"name":"failing","step":4}""";
        string[] stored = await StoredAsync();
        for (int puts = 0; puts < 5; puts++)
        {
            trained.ApiBlobs.PutsMax = trained.ApiBlobs.Puts + puts;
            (string code, _, string message) = await admin.SendAsync(HttpMethod.Post, Url, Body)
                .ErrorAsync(HttpStatusCode.ServiceUnavailable);
            Assert.Equal("unavailable", code);
            Assert.Contains("Nothing was published: No space left on device.", message, StringComparison.Ordinal);
            Assert.Null(await Api.Grains.PublishedModels().FindAsync("failing"));
            Assert.Equal(stored, await StoredAsync());
        }

        trained.ApiBlobs.PutsMax = null;
        await admin.SendAsync(HttpMethod.Post, Url, Body).JsonAsync();
        await CardAsync(admin, "failing");
        Assert.Empty(Directory.GetDirectories(Path.Combine(trained.Folder, "cache", "api")));
    }

    [Fact]
    public async Task AFileThatArrivesDamaged_IsNotOffered_ButLoggedAndFetchedAgain()
    {
        using HttpClient admin = Api.Admin();
        trained.SiloBlobs.Damages = 2;
        await admin.SendAsync(HttpMethod.Post, Url, """{"name":"damaged","step":8}""").JsonAsync();
        await CardAsync(admin, "damaged");
        LogEvent[] events = [.. trained.Log.Of(652).Where(one => one["Name"] == "damaged")];
        Assert.Equal(2, events.Length);
        Assert.All(events, one => Assert.Contains("is damaged in the blob store", one["Reason"]));
        Assert.Single(trained.Log.Of(651), one => one["Name"] == "damaged");
    }

    [Fact]
    public async Task AWithdrawnModel_TakesNoNewRequests_AndPicturesInProgressAreDrawn()
    {
        using HttpClient admin = Api.Admin(), client = await Api.ClientAsync("publish");
        JsonElement model = await admin.SendAsync(
            HttpMethod.Post, Url, """{"name":"org/short lived","step":8}""").JsonAsync();
        await CardAsync(admin, "org/short lived");
        IDisposable hold = Api.Device.HoldAfter(1);
        await client.SendAsync(
            HttpMethod.Post, "/v1/generations",
            """{"id":"running","prompt":"red","model":"org/short lived","steps":3}""")
            .JsonAsync(HttpStatusCode.Accepted);
        const string Path = "/v1/models/org/short%20lived";
        Assert.Equal(HttpStatusCode.NoContent, (await admin.SendAsync(HttpMethod.Delete, Path)).StatusCode);

        await admin.SendAsync(HttpMethod.Get, Path).ErrorAsync(HttpStatusCode.NotFound);
        await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images, $$"""{"prompt":"red","model":"{{model.Text("digest")}}"}""")
            .ErrorAsync(HttpStatusCode.NotFound);
        JsonElement list = await client.SendAsync(HttpMethod.Get, "/v1/models").JsonAsync();
        Assert.DoesNotContain(
            list.GetProperty("data").EnumerateArray(), one => one.Text("id") == "org/short lived");
        hold.Dispose();
        List<SentEvent> events = await client.SendAsync(HttpMethod.Get, "/v1/generations/running/events").EventsAsync();
        Assert.Equal("done", events[^1].Name);
    }

    private async Task<string[]> StoredAsync() => await Api.Blobs().ListAsync(ApiCluster.Cancellation)
        .Where(blob => blob.Name.Value.StartsWith("models/", StringComparison.Ordinal))
        .Select(blob => $"{blob.Name} {string.Join(' ', blob.Holders.Select(holder => holder.Spelling).Order())}")
        .OrderBy(text => text).ToArrayAsync(ApiCluster.Cancellation);

    // The model's card, once the silo has fetched it.
    private static async Task<JsonElement> CardAsync(HttpClient client, string name)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(ApiCluster.Cancellation);
        patience.CancelAfter(TimeSpan.FromMinutes(1));
        while (true)
        {
            string path = $"/v1/models/{string.Join('/', name.Split('/').Select(Uri.EscapeDataString))}";
            using HttpResponseMessage answer = await client.SendAsync(HttpMethod.Get, path);
            if (answer.IsSuccessStatusCode)
            {
                return await Task.FromResult(answer).JsonAsync();
            }

            await Task.Delay(50, patience.Token);
        }
    }

    private static byte[] Bytes(IWeightSource source, string name)
    {
        byte[] bytes = new byte[source.Tensors[name].ByteLength];
        source.ReadInto(name, bytes);
        return bytes;
    }
}
