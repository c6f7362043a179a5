// Goal: streams are passed on item by item, end when either side closes, and do not block a gateway that stops. Method:
// a silo that sends an item when the client has read the one before.
using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text;
using Microsoft.AspNetCore.Http;
using Xunit;

namespace Atelier.Gateway.Tests.Limits;

public sealed class StreamTests
{
    [Theory]
    [InlineData("/v1/generations/g/events")]
    [InlineData("/v1/images/generations")]
    public async Task Items_PassOneByOne(string path)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        using var read = new SemaphoreSlim(1);
        silo.Handler = async context =>
        {
            context.Response.ContentType = "text/event-stream";
            for (int i = 0; i < 5; i++)
            {
                await read.WaitAsync();
                await context.Response.WriteAsync($"data: {i}\n\n");
                await context.Response.Body.FlushAsync();
            }
        };
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using HttpResponseMessage answer = await gateway.Tenant().GetAsync(
            path, HttpCompletionOption.ResponseHeadersRead);
        using var reader = new StreamReader(await answer.Content.ReadAsStreamAsync());
        for (int i = 0; i < 5; i++)
        {
            Assert.Equal($"data: {i}", await reader.ReadLineAsync());
            Assert.Equal("", await reader.ReadLineAsync());
            read.Release();
        }

        Assert.Null(await reader.ReadLineAsync());
    }

    [Fact]
    public async Task AClientThatDisconnects_IsNoticedByTheSilo()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        var gone = new TaskCompletionSource();
        silo.Handler = async context =>
        {
            context.RequestAborted.Register(gone.SetResult);
            await context.Response.WriteAsync(": hello\n\n");
            await context.Response.Body.FlushAsync();
            await gone.Task;
        };
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using (HttpResponseMessage answer = await gateway.Tenant().GetAsync(
            "/v1/images/generations", HttpCompletionOption.ResponseHeadersRead))
        {
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        }

        await gone.Task;
    }

    [Fact]
    public async Task AClientThatDisconnectsBeforeTheAnswer_IsNoticedByTheSilo_AndNotHeldAgainstIt()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        var (reached, gone) = (new TaskCompletionSource(), new TaskCompletionSource());
        silo.Handler = async context =>
        {
            context.RequestAborted.Register(gone.SetResult);
            reached.SetResult();
            await gone.Task;
        };
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using HttpClient client = gateway.Tenant();
        using var leave = new CancellationTokenSource();
        Task<HttpResponseMessage> waiting = client.PostAsJsonAsync(
            "/v1/images/generations", new { prompt = "x" }, leave.Token);
        await reached.Task;
        await leave.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        await gone.Task;
        silo.Handler = null;
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("/v1/models")).StatusCode);
    }

    // TCP does not distinguish it from a client that has gone.
    [Fact]
    public async Task AClientThatClosesItsSide_AfterAWholeRequest_CountsAsGone()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        var (reached, gone) = (new TaskCompletionSource(), new TaskCompletionSource());
        silo.Handler = async context =>
        {
            context.RequestAborted.Register(gone.SetResult);
            reached.SetResult();
            await gone.Task;
            await context.Response.WriteAsync("too late");
        };
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using var client = new TcpClient();
        await client.ConnectAsync(gateway.Url.Host, gateway.Url.Port, TestContext.Current.CancellationToken);
        NetworkStream stream = client.GetStream();
        await stream.WriteAsync(
            Encoding.ASCII.GetBytes(
                "POST /v1/images/generations HTTP/1.1\r\nHost: h\r\n"
                + $"Authorization: Bearer {gateway.Cluster.NewKey("alice")}\r\nContent-Length: 2\r\n\r\n{{}}"),
            TestContext.Current.CancellationToken);
        await reached.Task;
        client.Client.Shutdown(SocketShutdown.Send);
        await gone.Task;
        try
        {
            Assert.Equal(0, await stream.ReadAsync(new byte[1], TestContext.Current.CancellationToken));
        }
        catch (IOException)
        {
            // The gateway may also reset the connection.
        }
    }

    [Fact]
    public async Task AGatewayThatStops_EndsEventStreamsAndWaitsForTheRest()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        var (streamEnded, drawn) = (new TaskCompletionSource(), new TaskCompletionSource());
        silo.Handler = async context =>
        {
            if (context.Request.Path.Value!.EndsWith("/events", StringComparison.Ordinal))
            {
                context.RequestAborted.Register(streamEnded.SetResult);
                await context.Response.WriteAsync(": hello\n\n");
                await context.Response.Body.FlushAsync();
                await streamEnded.Task;
            }
            else
            {
                context.Response.ContentType = "text/event-stream";
                await context.Response.Body.FlushAsync();
                await drawn.Task;
                await context.Response.WriteAsync("drawn");
            }
        };
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using HttpClient client = gateway.Tenant();
        using HttpResponseMessage stream = await client.GetAsync(
            "/v1/generations/g/events", HttpCompletionOption.ResponseHeadersRead);
        using HttpResponseMessage picture = await client.GetAsync(
            "/v1/images/generations", HttpCompletionOption.ResponseHeadersRead);
        Task stopping = gateway.StopAsync();
        await streamEnded.Task;
        drawn.SetResult();
        Assert.Equal("drawn", await picture.Content.ReadAsStringAsync());
        await stopping;
    }
}
