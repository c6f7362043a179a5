// Goal: no spelling of a path leads anywhere but where it says. Method: targets on the wire as no client library sends
// them.
using Atelier.Gateway.Routing;
using Xunit;

namespace Atelier.Gateway.Tests;

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
    [InlineData("/docs/%2e%2e/v1/models", 401)]
    [InlineData("/docs/../v1/models", 401)]
    [InlineData("/V1/models", 401)]
    public async Task TricksInPaths_ReachNoSilo(string target, int status)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        string key = status == 401 ? "" : $"Authorization: Bearer {gateway.Cluster.NewKey("alice")}\r\n";
        string answer = await gateway.RawAsync($"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{key}\r\n");
        Assert.StartsWith($"HTTP/1.1 {status} ", answer, StringComparison.Ordinal);
        Assert.Equal(status == 401 ? "invalid_api_key" : "unknown_url", Answers.ErrorCode(answer[answer.IndexOf('{', StringComparison.Ordinal)..]));
        Assert.Equal(0, silo.Count);
    }

    [Theory]
    [InlineData("/v1/generations/a%00b")]
    [InlineData("/v1/generations/\u00e4")]
    [InlineData("v1/models")]
    public async Task TargetsThatAreNone_AreRefused(string target)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        string answer = await gateway.RawAsync($"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 400 ", answer, StringComparison.Ordinal);
        Assert.Equal(0, silo.Count);
    }

    [Theory]
    [InlineData("/v1/models/gpt-image-1.5")]
    [InlineData("/v1/sessions/a_b/generations/c-d/variations")]
    public async Task PlainPaths_ArriveAsTheyAre(string target)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        Assert.Equal(target, (await (await gateway.Tenant().GetAsync(target)).ReceivedAsync()).Target);
        Assert.True(PlainPaths.IsPlain(target));
    }
}
