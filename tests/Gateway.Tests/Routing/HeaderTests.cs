// Goal: no byte in a client's header makes the gateway blame a silo. Method: every byte that a header may hold, on the
// wire.
using System.Net;
using System.Text;
using Atelier.Gateway.Settings;
using Xunit;
using Yarp.ReverseProxy.Model;

namespace Atelier.Gateway.Tests.Routing;

public sealed class HeaderTests
{
    [Theory]
    [InlineData("X-Title: Café")]
    [InlineData("User-Agent: Zoë/1.0")]
    [InlineData("Referer: http://x/é")]
    [InlineData("Accept-Language: é")]
    [InlineData("Last-Event-ID: é")]
    [InlineData("X-Title: 😀")]
    [InlineData("X-Title: \u0100\uffff")]
    public async Task AHeaderOfUtf8_IsPassedOn(string header)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        string[] parts = header.Split(": ");
        string? heard = null;
        silo.Handler = context =>
        {
            heard = context.Request.Headers[parts[0]];
            return Task.CompletedTask;
        };
        Assert.StartsWith(
            "HTTP/1.1 200 ", await SendAsync(gateway, Encoding.UTF8.GetBytes(header)), StringComparison.Ordinal);
        Assert.Equal(parts[1], heard);
        AssertHealthy(gateway);
    }

    [Fact]
    public async Task AnyByteInAHeader_IsPassedOnOrRefused_AndNoFaultOfASilo()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(
            new GatewaySettings { RequestsBurst = 10_000 }, silo.Endpoint);
        silo.Handler = _ => Task.CompletedTask;
        for (int value = 0; value < 256; value++)
        {
            foreach (string name in new[] { "X-Title", "Content-Type", "Content-Language", "Expect", "X-é" })
            {
                byte[] header = [.. Encoding.UTF8.GetBytes($"{name}: a"), (byte)value, (byte)'b'];
                string answer = await SendAsync(gateway, header);
                Assert.True(
                    answer.StartsWith("HTTP/1.1 200 ", StringComparison.Ordinal)
                    || answer.StartsWith("HTTP/1.1 4", StringComparison.Ordinal), $"{name} {value}: {answer}");
            }
        }

        AssertHealthy(gateway);
        Assert.Equal(HttpStatusCode.OK, (await gateway.Tenant().GetAsync("/v1/models")).StatusCode);
    }

    [Fact]
    public async Task ASilosServer_IsNotNamed()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        silo.Handler = context =>
        {
            context.Response.Headers.Server = "of the silo";
            return Task.CompletedTask;
        };
        Assert.Empty((await gateway.Tenant().GetAsync("/v1/models")).Headers.Server);
    }

    private static void AssertHealthy(TestGateway gateway) => Assert.All(
        gateway.Proxy.GetClusters().SelectMany(cluster => cluster.Destinations.Values),
        silo => Assert.NotEqual(DestinationHealth.Unhealthy, silo.Health.Passive));

    private static async Task<string> SendAsync(TestGateway gateway, byte[] header)
    {
        string before = "GET /v1/models HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
            + $"Authorization: Bearer {gateway.Cluster.NewKey("alice")}\r\n";
        return await gateway.RawAsync([.. Encoding.Latin1.GetBytes(before), .. header, .. "\r\n\r\n"u8]);
    }
}
