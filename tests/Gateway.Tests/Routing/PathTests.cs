// Goal: no spelling of a path reaches a route other than its own. Method: request targets on the wire as no client
// library sends them.
using System.Text.Json;
using Atelier.Gateway.Routing;
using Xunit;

namespace Atelier.Gateway.Tests.Routing;

public sealed class PathTests
{
    [Theory]
    [InlineData("/v1/generations/a%2Fb", 404)]
    [InlineData("/v1/generations/..%2f..%2fadmin", 404)]
    [InlineData("/v1/generations/a%5Cb", 404)]
    [InlineData("/v1/generations/a\\b", 404)]
    [InlineData("/v1/generations/a%20b", 404)]
    [InlineData("/v1/generations/%c3%a4", 404)]
    [InlineData("/v1/generations/a;b", 404)]
    [InlineData("/v1/generations//events", 404)]
    [InlineData("/v1//admin/tenants", 404)]
    [InlineData("/v1/%2e%2e/metrics/x", 404)]
    [InlineData("/v1/../etc/passwd", 404)]
    [InlineData("/nothing", 404)]
    [InlineData("/v2/models", 404)]
    [InlineData("/index.html", 404)]
    [InlineData("/docs/..%2fv1/models", 404)]
    [InlineData("/v1/models/%2e%2e%2fadmin%2ftenants", 404)]
    [InlineData("/v1/models/a%2f..%2fb", 404)]
    [InlineData("/v1/models/a%20b/../c%20d", 404)]
    [InlineData("/v1/models/x/../../admin/a%20b", 404)]
    [InlineData("/v1/admin/../models/a%20b", 404)]
    [InlineData("/v1/models/a%2f%2f..%2fb", 404)]
    [InlineData("/v1/models/a%0d%0ab", 404)]
    [InlineData("/v1/models/%7f", 404)]
    [InlineData("/docs/a%20b", 404)]
    [InlineData("/docs/%2e%2e/v1/models", 401)]
    [InlineData("/docs/../v1/models", 401)]
    [InlineData("/V1/models", 401)]
    public async Task HostilePaths_ReachNoSilo(string target, int status)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        string key = status == 401 ? "" : $"Authorization: Bearer {gateway.Cluster.NewKey("alice")}\r\n";
        string answer = await gateway.RawAsync($"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{key}\r\n");
        Assert.StartsWith($"HTTP/1.1 {status} ", answer, StringComparison.Ordinal);
        Assert.Equal(
            status == 401 ? "invalid_api_key" : "unknown_url",
            AnswerExtensions.ErrorCode(answer[answer.IndexOf('{', StringComparison.Ordinal)..]));
        Assert.Equal(0, silo.Count);
    }

    [Theory]
    [InlineData("/v1/generations/a%00b")]
    [InlineData("/v1/generations/\u00e4")]
    [InlineData("v1/models")]
    public async Task InvalidTargets_AreRefused(string target)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        string answer = await gateway.RawAsync($"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 400 ", answer, StringComparison.Ordinal);
        Assert.Equal(0, silo.Count);
    }

    [Theory]
    [InlineData("/v1/models/gpt-image-1.5")]
    [InlineData("/v1/models/x")]
    [InlineData("/v1/sessions/a_b/generations/c-d/variations")]
    public async Task PlainPaths_ArriveAsTheyAre(string target)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        Assert.Equal(target, (await (await gateway.Tenant().GetAsync(target)).ReceivedAsync()).Target);
        Assert.True(PlainPaths.IsPlain(target));
    }

    // Whatever spelling the client uses, the silo gets a single one, which names the same model after every decoding.
    [Theory]
    [InlineData("/v1/models/Atelier%20Shapes", "/v1/models/Atelier%20Shapes")]
    [InlineData("/V1/Models/a%2fb", "/v1/models/a%2Fb")]
    [InlineData("/v1/models/a%252Fb", "/v1/models/a%252Fb")]
    [InlineData("/v1/models/%252e%252e/%252e%252e/admin", "/v1/models/%252e%252e%2F%252e%252e%2Fadmin")]
    [InlineData("/v1/models/100%25%5b%c3%b6%5d(v2)?x=%20", "/v1/models/100%25%5B%C3%B6%5D%28v2%29")]
    [InlineData("/v1/models/stabilityai/sdxl", "/v1/models/stabilityai/sdxl")]
    [InlineData("/v1/models/%61%62", "/v1/models/ab")]
    [InlineData("/v1/models/%C3%A9", "/v1/models/%C3%A9")]
    [InlineData("/v1/models/%ff%2", "/v1/models/%25ff%252")]
    [InlineData("/v1/models/s3:%2F%2Fbucket%2fx", "/v1/models/s3%3A%2F%2Fbucket%2Fx")]
    [InlineData("/v1/models/s3://bucket/x", "/v1/models/s3%3A%2F%2Fbucket%2Fx")]
    [InlineData("/v1/models//a%20b/", "/v1/models/%2Fa%20b%2F")]
    public async Task NamesOfModels_ArriveInOneSpelling(string target, string arrived)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        string answer = await gateway.RawAsync(
            $"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
            + $"Authorization: Bearer {gateway.Cluster.NewKey("alice")}\r\n\r\n");
        Received received = JsonSerializer.Deserialize<Received>(
            answer[answer.IndexOf('{', StringComparison.Ordinal)..(answer.LastIndexOf('}') + 1)])!;
        Assert.Equal(arrived, received.Target);
        Assert.Equal("alice", gateway.CallerOf(received).Tenant?.Value);
    }

    [Theory]
    [InlineData("/v1/models", true)]
    [InlineData(null, false)]
    [InlineData("%2Fv1/models", false)]
    [InlineData("\u00e9", false)]
    [InlineData("/v1/models\u00e9", false)]
    public void PlainPaths_AreThoseOfPlainCharactersAlone(string? path, bool isPlain) =>
        Assert.Equal(isPlain, PlainPaths.IsPlain(path));
}
