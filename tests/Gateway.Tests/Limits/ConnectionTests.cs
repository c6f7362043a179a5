// Goal: neither idle connections, nor clients without a key, nor one tenant's streams lock anybody out. Method:
// gateways with room for a few connections, and clients that send nothing, half a request, or a single one, or do not
// read.
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
            new GatewaySettings { ConnectionsMax = 6, ConnectionsPerAddress = perAddress, OpenRequestsPerTenant = 3 },
            silo.Endpoint);
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

    [Fact]
    public async Task TheConnectionThatWasUsedLast_IsClosedLast()
    {
        const string Request = "GET /health/live HTTP/1.1\r\nHost: l\r\n\r\n";
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(
            new GatewaySettings { ConnectionsMax = 3, OpenRequestsPerTenant = 3 }, silo.Endpoint);
        using TcpClient last = await ConnectAsync(gateway, "", isAnswered: false);
        using TcpClient earlier = await ConnectAsync(gateway, Request, isAnswered: true);
        await AskAsync(last);
        using TcpClient third = await ConnectAsync(gateway, Request, isAnswered: true);
        using TcpClient fourth = await ConnectAsync(gateway, Request, isAnswered: true);
        Assert.Equal(0, await EndAsync(earlier));
        await AskAsync(last);

        static async Task AskAsync(TcpClient client)
        {
            await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes(Request));
            byte[] answer = new byte[4096];
            Assert.InRange(await client.GetStream().ReadAsync(answer), 1, answer.Length);
            Assert.StartsWith("HTTP/1.1 200 ", Encoding.ASCII.GetString(answer), StringComparison.Ordinal);
        }
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
            new GatewaySettings { ConnectionsMax = max, ConnectionsPerAddress = perAddress, OpenRequestsPerTenant = 3 },
            silo.Endpoint);

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
            new GatewaySettings { ConnectionsMax = 30 }, silo.Endpoint);
        using HttpClient alice = gateway.Tenant("alice"), again = gateway.Tenant("alice"), bob = gateway.Tenant("bob");
        HttpResponseMessage[] streams = await Task.WhenAll(Enumerable.Range(0, 3).Select(
            _ => alice.GetAsync("/v1/generations/g/events", HttpCompletionOption.ResponseHeadersRead)));
        using HttpResponseMessage refused = await again.GetAsync("/v1/models");
        Assert.Equal("too_many_open_requests", await refused.ErrorAsync(429));
        Assert.Equal("1", Assert.Single(refused.Headers.GetValues("Retry-After")));
        Assert.Contains("limit of 3 requests", await refused.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.OK, (await bob.GetAsync("/v1/models")).StatusCode);
        go.Release(3);
        await Task.WhenAll(streams.Select(stream => stream.Content.ReadAsStringAsync()));
        CancellationToken cancellation = TestContext.Current.CancellationToken;
        while ((await again.GetAsync("/v1/models", cancellation)).StatusCode != HttpStatusCode.OK)
        {
            await Task.Yield();
        }
    }

    // The first takes the only place of requests without a key and does not read its answer; the second asks for the
    // gateway's own page again and again without reading.
    [Theory]
    [InlineData("/docs/", 1)]
    [InlineData("/app.js", 1000)]
    public async Task ClientsWithoutAKeyThatDoNotRead_LockNobodyOut(string path, int requests)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        silo.Handler = async context =>
        {
            bool isDocument = context.Request.Path.StartsWithSegments("/docs", StringComparison.Ordinal);
            await context.Response.Body.WriteAsync(new byte[isDocument ? 16 << 20 : 1], context.RequestAborted);
        };
        await using TestGateway gateway = await TestGateway.StartAsync(
            new GatewaySettings { ConnectionsMax = 10, OpenRequestsPerTenant = 3 }, silo.Endpoint);
        string key = gateway.Cluster.NewKey("bob");
        string sent = string.Concat(Enumerable.Repeat($"GET {path} HTTP/1.1\r\nHost: l\r\n\r\n", requests));
        var held = new List<TcpClient>();
        for (int i = 0; i < 30; i++)
        {
            held.Add(await ConnectAsync(gateway, sent, isAnswered: true));
        }

        for (int i = 0; i < 10; i++)
        {
            string answer = await gateway.RawAsync(
                $"GET /v1/models HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\r\n");
            Assert.StartsWith("HTTP/1.1 200 ", answer, StringComparison.Ordinal);
        }

        held.ForEach(client => client.Dispose());
    }

    [Theory]
    [InlineData("/docs/", "Content-Length: 1000")]
    [InlineData("/openapi/v1.json", "Transfer-Encoding: chunked")]
    [InlineData("/v1/pictures/token", "Content-Length: 1\r\nExpect: 100-continue")]
    public async Task ABodyWithoutAKey_IsNotWaitedFor(string path, string header)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using TcpClient client = await ConnectAsync(
            gateway, $"GET {path} HTTP/1.1\r\nHost: l\r\n{header}\r\n\r\n", isAnswered: false);
        using var reader = new StreamReader(client.GetStream());
        Assert.Equal("HTTP/1.1 400 Bad Request", await reader.ReadLineAsync(TestContext.Current.CancellationToken));
        string rest = "";
        while (await reader.ReadLineAsync(TestContext.Current.CancellationToken) is { Length: > 0 } line)
        {
            rest += line + "\n";
        }

        Assert.Contains("Connection: close\n", rest, StringComparison.Ordinal);
        Assert.Contains("x-request-id: req_", rest, StringComparison.OrdinalIgnoreCase);
        Assert.Equal(0, silo.Count);
    }

    // Java's client asks for HTTP/2 in this way.
    [Fact]
    public async Task ARequestForAnUpgrade_HasNoBody()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using TcpClient client = await ConnectAsync(
            gateway,
            "GET /docs/ HTTP/1.1\r\nHost: l\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            + "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n\r\n",
            isAnswered: false);
        using var reader = new StreamReader(client.GetStream());
        Assert.Equal("HTTP/1.1 200 OK", await reader.ReadLineAsync(TestContext.Current.CancellationToken));
    }

    // Of 40 connections, requests without a key may hold 4, and those of one address 1 of these.
    [Theory]
    [InlineData(0, 4)]
    [InlineData(100, 1)]
    public async Task RequestsWithoutAKeyInProgress_AreBoundedTogether(int perAddress, int bound)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        using var go = new SemaphoreSlim(0);
        silo.Handler = async context =>
        {
            await context.Response.WriteAsync("begun");
            await context.Response.Body.FlushAsync();
            await (context.Request.Path == "/docs/slow" ? go.WaitAsync() : Task.CompletedTask);
        };
        await using TestGateway gateway = await TestGateway.StartAsync(
            new GatewaySettings { ConnectionsMax = 40, ConnectionsPerAddress = perAddress }, silo.Endpoint);
        using HttpClient client = gateway.Client(null);
        HttpResponseMessage[] open = await Task.WhenAll(Enumerable.Range(0, bound).Select(
            _ => client.GetAsync("/docs/slow", HttpCompletionOption.ResponseHeadersRead)));
        Assert.All(open, one => Assert.Equal(HttpStatusCode.OK, one.StatusCode));
        Assert.Equal("too_many_open_requests", await (await client.GetAsync("/docs/")).ErrorAsync(429));
        Assert.Equal(HttpStatusCode.OK, (await gateway.Tenant().GetAsync("/v1/models")).StatusCode);
        go.Release(bound);
        await Task.WhenAll(open.Select(one => one.Content.ReadAsStringAsync()));
        while ((await client.GetAsync("/docs/")).StatusCode != HttpStatusCode.OK)
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
