// A real Prometheus that scrapes a cluster every second, and evaluates the chart's alert rules.
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Xunit;

namespace Atelier.EndToEnd;

/// <summary>A Prometheus server.</summary>
internal sealed class Prometheus : IAsyncDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("atelier-prometheus").FullName;
    private readonly HttpClient _http;
    private readonly ProcessUnderTest _server;

    /// <summary>Prepares a server; nothing is started yet.</summary>
    /// <param name="port">The server's port.</param>
    /// <param name="targets">Ports of /metrics on this machine.</param>
    /// <param name="rules">A file of alert rules.</param>
    public Prometheus(int port, IEnumerable<int> targets, string rules)
    {
        string file = Path.Combine(_folder, "prometheus.yml");
        File.WriteAllText(file, $$"""
            global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
            rule_files: ['{{rules}}']
            scrape_configs:
              - job_name: atelier
                static_configs: [{targets: [{{string.Join(", ", targets.Select(one => $"'127.0.0.1:{one}'"))}}]}]
            """);
        _http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}/api/v1/") };
        _server = new ProcessUnderTest(
            "prometheus",
            [
                $"--config.file={file}", $"--storage.tsdb.path={Path.Combine(_folder, "data")}",
                $"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
            ],
            new Dictionary<string, string>());
    }

    /// <summary>Why tests that need Prometheus are skipped; null if it is installed.</summary>
    public static string? Missing => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
        .Any(folder => File.Exists(Path.Combine(folder, "prometheus")))
        ? null : "Prometheus is not installed; ./atelier test --install installs it.";

    public void Start() => _server.Start();

    /// <summary>The result of a query now.</summary>
    public async Task<JsonArray> QueryAsync(string query)
    {
        JsonNode answer = await GetAsync($"query?query={Uri.EscapeDataString(query)}");
        return answer["result"]!.AsArray();
    }

    /// <summary>The rules, each with its last evaluation.</summary>
    public async Task<JsonObject[]> RulesAsync() =>
        [.. (await GetAsync("rules"))["groups"]!.AsArray().SelectMany(group => group!["rules"]!.AsArray())
            .Select(rule => rule!.AsObject())];

    /// <summary>Whether every target was scraped this often within the last minute.</summary>
    public async Task<bool> HasScrapedAsync(int targets, int times)
    {
        try
        {
            return (await QueryAsync($"sum_over_time(up[1m]) >= {times}")).Count == targets;
        }
        catch (HttpRequestException)
        {
            return false; // It is starting.
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _server.DisposeAsync();
        _http.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private async Task<JsonNode> GetAsync(string path)
    {
        using HttpResponseMessage answer = await _http.GetAsync(new Uri(path, UriKind.Relative));
        JsonNode? body = await answer.Content.ReadFromJsonAsync<JsonNode>();
        Assert.True(answer.IsSuccessStatusCode, $"{path}: {body}\n{_server.Output}");
        return body!["data"]!;
    }
}
