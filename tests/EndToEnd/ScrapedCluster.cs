// A cluster in which everything has happened that dashboards show: a silo has drawn pictures, trained a stage, and
// answered an autoscaler, the gateway has refused a request, and a Prometheus has scraped both.
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.EndToEnd;

/// <summary>Starts the cluster once for all tests of a class.</summary>
public sealed partial class ScrapedCluster : IAsyncLifetime
{
    private const string Stage =
        """
        exp_name: toy
        seed: 3
        model: {dit_arch: custom, dim: 32, depth: 2, head_dim: 16, multiple_of: 16, patch_mixer_depth: 1,
          patch_mixer_dim: 32, num_experts: 4, in_channels: 4, caption_channels: 128, latent_res: 16, p_mean: -0.6,
          p_std: 1.2, train_mask_ratio: 0.5, dtype: float32}
        dataset: {image_size: 64, caption_length: 32, train_batch_size: 8, train: {datadir: [data]}}
        optimizer: {lr: 1.0e-3}
        scheduler: {name: cosine, t_warmup: 5ba}
        algorithms: {ema: {smoothing: 0.9, ema_start: 2ba}}
        trainer: {shards: 4, max_duration: 100000ba, save_interval: 10ba, save_folder: run}
        """;

    private readonly string _folder = Directory.CreateTempSubdirectory("atelier-metrics").FullName;

    /// <summary>The cluster.</summary>
    internal TestCluster Cluster { get; } = new(silos: 1, embedded: true, metrics: true);

    /// <summary>The server that scrapes it; null if Prometheus is not installed.</summary>
    internal Prometheus? Prometheus { get; private set; }

    /// <summary>Ports of /metrics.</summary>
    internal int[] Ports => [Cluster.GatewayMetricsPort, Cluster.MetricsPort(0)];

    public async ValueTask InitializeAsync()
    {
        await Tool.AtelierAsync(
            _folder, "data", "precompute", "data", "--shapes", "16", "--size", "64", "--model",
            Path.Combine(Tool.Root, "models", "shapes"));
        await Cluster.StartAsync();
        if (Prometheus.Missing is null)
        {
            Prometheus = new Prometheus(Cluster.PrometheusPort, Ports, Tool.InChart("rules/alerts.yaml"));
            Prometheus.Start();
        }

        using HttpClient admin = Cluster.Admin();
        await TrainAsync(admin);
        using HttpClient tenant = await Cluster.TenantAsync();
        for (int i = 0; i < 2; i++)
        {
            await Pictures.SubmitAsync(tenant, $"picture-{i}", "a red star", (ulong)i, steps: 6, previews: 2);
            await Pictures.EndAsync(tenant, $"picture-{i}");
        }

        await AssertStatusAsync(HttpStatusCode.NotFound, tenant, "/v1/generations/none");
        using HttpClient stranger = Cluster.Client("unknown");
        await AssertStatusAsync(HttpStatusCode.Unauthorized, stranger, "/v1/models");
        await AskScalerAsync();
        await Cluster.PatientlyAsync("a checkpoint", async () =>
            (await MetricsAsync(Cluster.MetricsPort(0))).Any(line => Checkpoint().IsMatch(line)));
        if (Prometheus is not null)
        {
            await Cluster.PatientlyAsync("scrapes", () => Prometheus.HasScrapedAsync(Ports.Length, times: 5));
        }
    }

    public async ValueTask DisposeAsync()
    {
        await (Prometheus?.DisposeAsync() ?? default);
        await Cluster.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>The series at a port, as Prometheus' text format has them.</summary>
    internal static async Task<string[]> MetricsAsync(int port)
    {
        using var http = new HttpClient();
        string text = await http.GetStringAsync(new Uri($"http://127.0.0.1:{port}/metrics"));
        return [.. text.Split('\n').Where(line => line.Length > 0 && line[0] != '#')];
    }

    private async Task TrainAsync(HttpClient admin)
    {
        string[] overrides =
        [
            $"dataset.train.datadir={Path.Combine(_folder, "data")}",
            $"trainer.save_folder={Path.Combine(_folder, "run")}",
        ];
        using HttpResponseMessage answer = await admin.PostAsJsonAsync(
            "/v1/training/runs", new { id = "toy", stages = new[] { new { configuration = Stage, overrides } } });
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
    }

    private static async Task AssertStatusAsync(HttpStatusCode expected, HttpClient client, string path)
    {
        using HttpResponseMessage answer = await client.GetAsync(new Uri(path, UriKind.Relative));
        Assert.Equal(expected, answer.StatusCode);
    }

    // Asks what the pool's autoscaler asks: IsActive of KEDA's external scaler. A message of gRPC is a byte, the
    // length, and the protobuf message; its third field is a map of strings, which is a list of pairs.
    private async Task AskScalerAsync()
    {
        (string Key, string Value)[] metadata =
        [
            ("pool", "pool"), ("roles", "inference,training"), ("minimum", "1"), ("maximum", "2"),
            ("targetWait", "00:01:30"), ("coldStart", "00:00:30"),
        ];
        byte[] message =
            [.. metadata.SelectMany(one => Field(3, [.. Field(1, Bytes(one.Key)), .. Field(2, Bytes(one.Value))]))];
        using var http = new HttpClient();
        using var request = new HttpRequestMessage(
            HttpMethod.Post,
            $"http://127.0.0.1:{Cluster.ScalerPort(0)}/externalscaler.ExternalScaler/IsActive")
        {
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Content = new ByteArrayContent([0, 0, 0, 0, (byte)message.Length, .. message]),
        };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/grpc");
        request.Headers.Add("TE", "trailers");
        using HttpResponseMessage answer = await http.SendAsync(request);
        await answer.Content.ReadAsByteArrayAsync();
        HttpResponseHeaders trailers = answer.TrailingHeaders;
        Assert.True(
            trailers.TryGetValues("grpc-status", out IEnumerable<string>? status) && status.Single() == "0",
            $"{answer}\n{trailers}");
    }

    private static byte[] Field(int number, byte[] value) => [(byte)((number << 3) + 2), (byte)value.Length, .. value];

    private static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);

    [GeneratedRegex(
        @"^atelier_training_checkpoints_total(?:\{\})? [1-9]", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Checkpoint();
}
