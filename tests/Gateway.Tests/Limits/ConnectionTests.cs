// Goal: neither idle connections nor one tenant's streams lock anybody out. Method: gateways with room for a few
// connections, and clients that send nothing, half a request, or a single one.
using System.Net;
using System.Net.Sockets;
using System.Text;
using Atelier.Gateway.Limits;
using Atelier.Gateway.Settings;
using Microsoft.AspNetCore.Http;
using Xunit;

namespace Atelier.Gateway.Tests.Limits;

public sealed class ConnectionTests
{
    [Theory]
    [InlineData("", false)]
    [InlineData("GET / HTTP/1.1\r\nHost: l\r\nX: ", false)]
    [InlineData("GET /health/live HTTP/1.1\r\nHost: l\r\n\r\n", true)]
    [InlineData("", false, 4)]
    public async Task IdleConnections_LockNobodyOut(string sent, bool isAnswered, int? perAddress = null)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(
            new GatewaySettings { ConnectionsMax = 6, ConnectionsPerAddress = perAddress }, silo.Endpoint);
        string key = gateway.Cluster.NewKey("bob");
        var idle = new List<TcpClient>();
        for (int i = 0; i < 20; i++)
        {
            idle.Add(await ConnectAsync(gateway, sent, isAnswered));
        }

        for (int i = 0; i < 10; i++)
        {
            string answer = await gateway.RawAsync(
                $"GET /v1/models HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\r\n");
            Assert.StartsWith("HTTP/1.1 200 ", answer, StringComparison.Ordinal);
        }

        // The first ones were closed, with half a request on them or without any.
        Assert.Equal(0, await EndAsync(idle[0]));
        idle.ForEach(client => client.Dispose());
    }

    [Theory]
    [InlineData(3, null)]
    [InlineData(100, 3)]
    public async Task ARequestInProgress_IsNeverEvicted(int max, int? perAddress)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        using var go = new SemaphoreSlim(0);
        silo.Handler = async context =>
        {
            await context.Response.WriteAsync("begun");
            await context.Response.Body.FlushAsync();
            await go.WaitAsync();
        };
        await using TestGateway gateway = await TestGateway.StartAsync(
            new GatewaySettings { ConnectionsMax = max, ConnectionsPerAddress = perAddress }, silo.Endpoint);

        // Closed connections take no room.
        for (int i = 0; i < 10; i++)
        {
            Assert.StartsWith("HTTP/1.1 200 ", await TryAsync(gateway), StringComparison.Ordinal);
        }

        using HttpClient client = gateway.Tenant();
        HttpResponseMessage[] streams = await Task.WhenAll(Enumerable.Range(0, 3).Select(
            _ => client.GetAsync("/v1/generations/g/events", HttpCompletionOption.ResponseHeadersRead)));
        Assert.Equal("", await TryAsync(gateway));
        go.Release(3);
        foreach (HttpResponseMessage stream in streams)
        {
            Assert.Equal("begun", await stream.Content.ReadAsStringAsync());
        }

        // What is still open now is idle.
        Assert.StartsWith("HTTP/1.1 200 ", await TryAsync(gateway), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ATenantWithManyStreams_IsRefused_AndNobodyElse()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        using var go = new SemaphoreSlim(0);
        silo.Handler = async context =>
        {
            await context.Response.WriteAsync(": hello\n\n");
            await context.Response.Body.FlushAsync();
            if (context.Request.Path.Value!.EndsWith("/events", StringComparison.Ordinal))
            {
                await go.WaitAsync();
            }
        };
        await using TestGateway gateway = await TestGateway.StartAsync(
            new GatewaySettings { OpenRequestsPerTenant = 3 }, silo.Endpoint);
        using HttpClient alice = gateway.Tenant("alice"), again = gateway.Tenant("alice"), bob = gateway.Tenant("bob");
        HttpResponseMessage[] streams = await Task.WhenAll(Enumerable.Range(0, 3).Select(
            _ => alice.GetAsync("/v1/generations/g/events", HttpCompletionOption.ResponseHeadersRead)));
        using HttpResponseMessage refused = await again.GetAsync("/v1/models");
        Assert.Equal("too_many_open_requests", await refused.ErrorAsync(429));
        Assert.Equal("1", Assert.Single(refused.Headers.GetValues("Retry-After")));
        Assert.Equal(HttpStatusCode.OK, (await bob.GetAsync("/v1/models")).StatusCode);
        go.Release(3);
        await Task.WhenAll(streams.Select(stream => stream.Content.ReadAsStringAsync()));
        CancellationToken cancellation = TestContext.Current.CancellationToken;
        while ((await again.GetAsync("/v1/models", cancellation)).StatusCode != HttpStatusCode.OK)
        {
            await Task.Yield();
        }
    }

    [Fact]
    public async Task RequestsWithoutAKey_AreBoundedByAddress()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(
            new GatewaySettings { RequestsPerSecond = 2, RequestsBurst = 3, ConnectionsPerAddress = 100 },
            silo.Endpoint);
        using HttpClient client = gateway.Client(null);
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("/docs/")).StatusCode);
        }

        Assert.Equal("rate_limit_exceeded", await (await client.GetAsync("/openapi/v1.json")).ErrorAsync(429));
        Assert.Equal(HttpStatusCode.OK, (await gateway.Tenant().GetAsync("/v1/models")).StatusCode);
        gateway.Clock.Advance(TimeSpan.FromSeconds(0.5));
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("/docs/")).StatusCode);
    }

    [Theory]
    [InlineData("192.0.2.1", "192.0.2.1")]
    [InlineData("::ffff:192.0.2.1", "192.0.2.1")]
    [InlineData("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")]
    [InlineData("::1", "::1")]
    public void AnAddress_IsAsSmallAsANetworkThatOneClientHas(string address, string counted) =>
        Assert.Equal(IPAddress.Parse(counted), ClientAddress.Of(IPAddress.Parse(address)));

    [Fact]
    public void OnLoopback_AddressesAreNotBounded_UnlessTheyAreAskedToBe()
    {
        Assert.Equal(0, new GatewaySettings().AddressBound);
        Assert.Equal(7, new GatewaySettings { ConnectionsPerAddress = 7 }.AddressBound);
        Assert.Equal(1000, new GatewaySettings { Address = "0.0.0.0" }.AddressBound);
        Assert.Equal(0, new GatewaySettings { Address = "0.0.0.0", ConnectionsPerAddress = 0 }.AddressBound);
    }

    private static async Task<string> TryAsync(TestGateway gateway)
    {
        try
        {
            return await gateway.RawAsync("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        }
        catch (Exception error) when (error is SocketException or IOException)
        {
            return "";
        }
    }

    private static async Task<TcpClient> ConnectAsync(TestGateway gateway, string sent, bool isAnswered)
    {
        var client = new TcpClient();
        await client.ConnectAsync(gateway.Url.Host, gateway.Url.Port);
        await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes(sent));
        if (isAnswered)
        {
            Assert.NotEqual(0, await client.GetStream().ReadAsync(new byte[4096]));
        }

        return client;
    }

    // Reads to the end, past what is left of an answer; a connection that is cut ends as well.
    private static async Task<int> EndAsync(TcpClient client)
    {
        try
        {
            int read;
            do
            {
                read = await client.GetStream().ReadAsync(new byte[4096], TestContext.Current.CancellationToken);
            }
            while (read > 0);

            return read;
        }
        catch (IOException)
        {
            return 0;
        }
    }
}
