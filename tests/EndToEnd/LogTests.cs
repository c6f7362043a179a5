// Goal: every line of a log is JSON, the lines about a request join on its trace's id in gateway, grain and worker, and
// no line contains a prompt, a key, a link or a secret. Method: real processes that log everything and have no
// collector; requests with marked prompts and keys that succeed or fail in many ways.
using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Xunit;

namespace Atelier.EndToEnd;

[Collection("clusters")]
public sealed class LogTests
{
    // Marked, so that a line that contains a part of a prompt or a key is recognized.
    private const string Prompt = "marzipanprompt", Negative = "marzipannegative", KeyMark = "marzipankey";

    private static readonly Dictionary<string, string> s_everything = new()
    {
        ["Logging__Console__FormatterName"] = "json", ["Logging__Console__LogLevel__Default"] = "Trace",
    };

    private readonly ConcurrentQueue<(string Process, JsonObject Line)> _lines = new();
    private readonly ConcurrentQueue<string> _faults = new();
    private string[] _secrets = [];

    [Fact]
    public async Task LinesOfARequest_JoinOnItsTrace_AndNoneTellsASecret()
    {
        await using var cluster = new TestCluster(silos: 1, embedded: true, settings: s_everything);
        _secrets = [.. cluster.Secrets, Prompt, Negative, KeyMark];
        cluster.Silos[0].Heard = line => Check("silo", line);
        cluster.Gateway.Heard = line => Check("gateway", line);
        await cluster.StartAsync();
        using HttpClient client = await cluster.TenantAsync();
        string key = client.DefaultRequestHeaders.Authorization!.Parameter!;
        _secrets = [.. _secrets, key, key[^20..]];

        (string drawn, string failed, string refused) = (NewTrace(), NewTrace(), NewTrace());
        string link = await DrawAsync(client, drawn);
        _secrets = [.. _secrets, link];
        using (HttpResponseMessage picture = await client.GetAsync(
            new Uri(link), TestContext.Current.CancellationToken))
        {
            Assert.Equal(HttpStatusCode.OK, picture.StatusCode);
        }

        await SendAsync(
            client, failed, "/v1/generations", $$"""{"id":"failed","prompt":"{{Prompt}} faulty","steps":2}""",
            HttpStatusCode.Accepted);
        Assert.Equal("failed", (await Pictures.EndAsync(client, "failed"))["phase"]!.GetValue<string>());
        await RefuseAsync(cluster, client, key, refused);
        await cluster.PatientlyAsync("the log", () => Task.FromResult(_lines.Any(one => Id(one.Line) == 108)));
        await cluster.Silos[0].StopAsync();
        await cluster.Gateway.StopAsync();

        Assert.True(_faults.IsEmpty, string.Join('\n', _faults.Take(100)));
        Assert.All([drawn, failed, refused], trace => Assert.Contains(Of(trace), one => Id(one.Line) == 712));
        Assert.All([drawn, failed, refused], trace => Assert.Contains(Of(trace), one => Id(one.Line) == 623));
        Assert.Equal(3, Of(drawn).Count(one => Id(one.Line) == 107)); // The claims: encode, denoise, decode.
        Assert.Contains(_lines, one => Id(one.Line) == 305);
        Assert.All(_lines.Where(one => Id(one.Line) is 108 or 305), one => Assert.Equal(
            (failed, "tenant", "failed"),
            (Text(one.Line, "trace_id"), Text(one.Line, "tenant"), Text(one.Line, "generation"))));
    }

    private static int Id(JsonObject line) => line["event_id"]!.GetValue<int>();

    private static string? Text(JsonObject line, string member) => line[member]?.GetValue<string>();

    private static string NewTrace() => ActivityTraceId.CreateRandom().ToHexString();

    private (string Process, JsonObject Line)[] Of(string trace) =>
        [.. _lines.Where(one => Text(one.Line, "trace_id") == trace)];

    // Other libraries' lines without a trace are only checked, because there are many of them.
    private void Check(string process, string line)
    {
        foreach (string secret in _secrets.Where(secret => line.Contains(secret, StringComparison.Ordinal)))
        {
            _faults.Enqueue($"{process} tells '{secret}': {line}");
        }

        try
        {
            JsonObject parsed = JsonNode.Parse(line)!.AsObject();
            Assert.All(
                ["timestamp", "level", "category", "event_id", "event", "message"],
                member => Assert.True(parsed.ContainsKey(member), $"{member} is missing"));
            if (parsed.ContainsKey("trace_id") || Id(parsed) is > 100 and < 1000)
            {
                _lines.Enqueue((process, parsed));
            }
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or Xunit.Sdk.XunitException)
        {
            _faults.Enqueue($"{process}: {error.Message} {line}");
        }
    }

    private static async Task<string> DrawAsync(HttpClient client, string trace)
    {
        using HttpResponseMessage answer = await SendAsync(
            client, trace, "/v1/images/generations",
            $$"""{"prompt":"{{Prompt}}","negative_prompt":"{{Negative}}","steps":2,"response_format":"url"}""",
            HttpStatusCode.OK);
        JsonObject drawn = (await answer.Content.ReadFromJsonAsync<JsonObject>())!;
        return drawn["data"]![0]!["url"]!.GetValue<string>();
    }

    private static async Task<HttpResponseMessage> SendAsync(
        HttpClient client, string? trace, string path, string body, HttpStatusCode expected)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path)
        {
            Content = new StringContent(body, Encoding.UTF8, "application/json"),
        };
        if (trace is not null)
        {
            request.Headers.Add("traceparent", $"00-{trace}-{ActivitySpanId.CreateRandom().ToHexString()}-00");
        }

        HttpResponseMessage answer = await client.SendAsync(request);
        Assert.True(
            answer.StatusCode == expected, $"{answer.StatusCode}: {await answer.Content.ReadAsStringAsync()}");
        return answer;
    }

    // Refused prompts, bodies, keys and requests.
    private static async Task RefuseAsync(TestCluster cluster, HttpClient client, string key, string trace)
    {
        const string Images = "/v1/images/generations";
        string[] bodies =
        [
            $$"""{"prompt":"{{Prompt}}","steps":0}""",
            $$"""{"prompt":"{{string.Concat(Enumerable.Repeat(Prompt, 4_000))}}"}""",
            $$"""{"prompt":"{{Prompt}}","size":"{{Prompt}}"}""",
            $$"""{"prompt":"{{Prompt}}","{{Prompt}}":1}""",
            $$"""{"prompt":["{{Prompt}}"]}""",
            $$"""{"prompt":"{{Prompt}}""",
            $$"""{{Prompt}}""",
            $$"""{"prompt":"{{Prompt}}\ud800"}""",
        ];
        foreach (string body in bodies)
        {
            (await SendAsync(client, trace, Images, body, HttpStatusCode.BadRequest)).Dispose();
        }

        string[] keys =
            [$"sk-{KeyMark}", $"atl_tenant_{KeyMark}{new string('x', 43 - KeyMark.Length)}", key[..^1] + "-"];
        foreach (string wrong in keys)
        {
            using HttpClient stranger = cluster.Client(wrong);
            (await SendAsync(stranger, trace, Images, bodies[0], HttpStatusCode.Unauthorized)).Dispose();
            (await stranger.GetAsync(new Uri("/v1/models", UriKind.Relative))).Dispose();
        }

        (await client.GetAsync(new Uri($"/v1/models?key={key}", UriKind.Relative))).Dispose();
        (await client.GetAsync(new Uri($"/v1/unknown?prompt={Prompt}", UriKind.Relative))).Dispose();
        await RawAsync(cluster.Url, $"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer {key}\r\n\r\n");
        await RawAsync(cluster.Url, $"GET /v1/models?key={key} {Prompt} HTTP/1.1\r\nHost: a\r\n\r\n");
        await RawAsync(cluster.Url, $"POST {Images} HTTP/1.1\r\nHost: a\r\nContent-Length: {Prompt}\r\n\r\n");
    }

    private static async Task RawAsync(Uri url, string request)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(url.Host, url.Port);
        NetworkStream stream = client.GetStream();
        await stream.WriteAsync(Encoding.Latin1.GetBytes(request));
        client.Client.Shutdown(SocketShutdown.Send);
        try
        {
            await stream.CopyToAsync(Stream.Null).WaitAsync(TimeSpan.FromSeconds(30));
        }
        catch (IOException)
        {
            // The gateway closed the connection.
        }
    }
}
