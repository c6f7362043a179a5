// Goal: a request that reached no silo is sent to another, and one that may have reached a silo is not. Method: silos
// that do not listen, and silos on bare sockets that die at chosen points.
using System.Net;
using System.Net.Http.Json;
using System.Text;
using Atelier.Contracts.Cluster;
using Atelier.Contracts.Tenants;
using Microsoft.AspNetCore.Http;
using Xunit;

namespace Atelier.Gateway.Tests.Routing;

public sealed class DeliveryTests
{
    [Fact]
    public async Task SilosThatCannotBeReached_CostNoRequest()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(
            BareSilo.Nobody("a"), silo.Endpoint, BareSilo.Nobody("z"));
        using HttpClient client = gateway.Tenant();
        string text = new('x', 100_000);
        for (int i = 0; i < 20; i++)
        {
            Received received =
                await (await client.PostAsJsonAsync("/v1/generations", new { prompt = text, i })).ReceivedAsync();
            Assert.Equal($$"""{"prompt":"{{text}}","i":{{i}}}""", received.Body);
            gateway.CallerOf(received);
        }

        Assert.Equal(20, silo.Count);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(5)]
    public async Task WithoutAReachableSilo_ClientsAreToldToRetry(int silos)
    {
        SiloEndpoint[] all = [.. Enumerable.Range(0, silos).Select(i => BareSilo.Nobody($"s{i}"))];
        await using TestGateway gateway = await TestGateway.StartAsync(all);
        using HttpResponseMessage answer = await gateway.Tenant().PostAsJsonAsync(
            "/v1/generations", new { prompt = "x" });
        Assert.Equal("cluster_unavailable", await answer.ErrorAsync(503));
        Assert.Equal("1", Assert.Single(answer.Headers.GetValues("Retry-After")));
    }

    [Fact]
    public async Task ASiloThatDiesWithTheRequest_IsNotReplaced()
    {
        await using StubSilo living = await StubSilo.StartAsync();
        using var dying = new BareSilo(_ => null);
        await using TestGateway gateway = await TestGateway.StartAsync(living.Endpoint, dying.Endpoint);
        using HttpClient client = gateway.Tenant();
        int sent = 0;
        HttpResponseMessage answer;
        do
        {
            answer = await client.PostAsJsonAsync("/v1/generations", new { prompt = "x" });
            sent++;
        }
        while (answer.IsSuccessStatusCode);

        Assert.Equal("silo_lost", await answer.ErrorAsync(502));
        Assert.Equal("1", Assert.Single(answer.Headers.GetValues("Retry-After")));
        Assert.Equal((sent - 1, 1), (living.Count, dying.Count));
    }

    [Fact]
    public async Task OnAKeptConnection_ARequestWithoutABodyIsSentOnceToo()
    {
        using var dying = new BareSilo(n => n == 1 ? "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" : null);
        await using TestGateway gateway = await TestGateway.StartAsync(dying.Endpoint);
        using HttpClient client = gateway.Tenant();
        Assert.Equal(
            HttpStatusCode.OK, (await client.PostAsync("/v1/sessions/s/generations/g/variations", null)).StatusCode);
        Assert.Equal(
            "silo_lost",
            await (await client.PostAsync("/v1/sessions/s/generations/g/variations", null)).ErrorAsync(502));
        Assert.Equal(2, dying.Count);
    }

    [Fact]
    public async Task ASiloThatDiesWithinAnAnswer_BreaksTheAnswer()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        var read = new TaskCompletionSource();
        silo.Handler = async context =>
        {
            await context.Response.WriteAsync("data: half");
            await context.Response.Body.FlushAsync();
            await read.Task;
            context.Abort();
        };
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using HttpResponseMessage answer = await gateway.Tenant().GetAsync(
            "/v1/generations/g/events", HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        read.SetResult();
        await Assert.ThrowsAnyAsync<Exception>(() => answer.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task ASilosAnswer_IsPassedOnUnchanged()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        silo.Handler = async context =>
        {
            context.Response.StatusCode = 429;
            context.Response.Headers.RetryAfter = "7";
            context.Response.Headers["x-request-id"] = "of the silo";
            await context.Response.WriteAsync("""{"error":{"message":"m","type":"t","param":null,"code":"own"}}""");
        };
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using HttpResponseMessage answer = await gateway.Tenant().GetAsync("/v1/models");
        Assert.Equal("own", await answer.ErrorAsync(429));
        Assert.Equal("7", Assert.Single(answer.Headers.GetValues("Retry-After")));
        Assert.Equal("nosniff", Assert.Single(answer.Headers.GetValues("X-Content-Type-Options")));
    }

    [Theory]
    [InlineData(400, "bad_request")]
    [InlineData(404, "unknown_url")]
    [InlineData(414, "url_too_long")]
    [InlineData(418, "error")]
    [InlineData(431, "headers_too_large")]
    [InlineData(500, "error")]
    public async Task ARefusalWithoutABody_GetsOne(int status, string code)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        silo.Handler = context =>
        {
            context.Response.StatusCode = status;
            return Task.CompletedTask;
        };
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        Assert.Equal(code, await (await gateway.Tenant().GetAsync("/v1/models")).ErrorAsync(status));
    }

    [Fact]
    public async Task Head_ArrivesAsHead_AndItsHeadersAreTheAnswer()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        silo.Handler = context =>
        {
            bool isSigned = new Tickets(TestGateway.Secret, TimeProvider.System).Read(
                context.Request.Headers[Tickets.Header], "HEAD", context.Request.Path, out _,
                out _) != TicketState.Forged;
            context.Response.StatusCode = context.Request.Method == "HEAD" && isSigned ? 200 : 500;
            (context.Response.ContentType, context.Response.ContentLength) = ("image/png", 12345);
            return Task.CompletedTask;
        };
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using HttpClient client = gateway.Tenant();
        foreach (string path in new[] { "/v1/models", "/v1/pictures/token" })
        {
            using HttpResponseMessage answer = await client.SendAsync(new HttpRequestMessage(HttpMethod.Head, path));
            Assert.Equal(
                path.Contains("models", StringComparison.Ordinal)
                    ? HttpStatusCode.OK
                    : HttpStatusCode.InternalServerError,
                answer.StatusCode);
            Assert.Equal(
                (12345L, "image/png"),
                (answer.Content.Headers.ContentLength, answer.Content.Headers.ContentType?.MediaType));
            Assert.Empty(await answer.Content.ReadAsByteArrayAsync());
        }
    }

    [Fact]
    public async Task RoutesThatChange_DisturbNoRequestThatRuns()
    {
        await using StubSilo old = await StubSilo.StartAsync("old"), young = await StubSilo.StartAsync("young");
        var (reached, go) = (new TaskCompletionSource(), new TaskCompletionSource());
        old.Handler = async context =>
        {
            reached.SetResult();
            await go.Task;
            await context.Response.WriteAsync("done");
        };
        await using TestGateway gateway = await TestGateway.StartAsync(old.Endpoint);
        using HttpClient client = gateway.Tenant();
        Task<string> running = client.GetStringAsync("/v1/models");
        await reached.Task;
        await gateway.RouteToAsync(young.Endpoint);
        for (int i = 0; i < 5; i++)
        {
            Assert.Equal("young", (await (await client.GetAsync("/v1/models")).ReceivedAsync()).Silo);
        }

        go.SetResult();
        Assert.Equal("done", await running);
        Assert.Equal((1, 5), (old.Count, young.Count));
    }

    [Fact]
    public async Task WhenTheClusterDoesNotAnswer_TheLastSilosStay()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        gateway.Cluster.IsAway = true;
        Assert.False(await gateway.RefreshAsync());
        gateway.Cluster.IsAway = false;
        gateway.Cluster.Silos = [silo.Endpoint, new SiloEndpoint("odd", "not a URL"), silo.Endpoint];
        Assert.True(await gateway.RefreshAsync());
        Assert.Equal("one", (await (await gateway.Tenant().GetAsync("/v1/models")).ReceivedAsync()).Silo);
    }

    [Fact]
    public async Task ABodyInChunks_ArrivesWhole()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/generations")
        {
            Content = new StringContent("""{"prompt":"x"}""", Encoding.UTF8, "application/json"),
        };
        request.Headers.TransferEncodingChunked = true;
        request.Headers.ExpectContinue = true;
        Received received = await (await gateway.Tenant().SendAsync(request)).ReceivedAsync();
        Assert.Equal("""{"prompt":"x"}""", received.Body);
        Assert.Equal("14", received.Headers["Content-Length"]);
        Assert.DoesNotContain("Transfer-Encoding", received.Headers.Keys);
    }

    // The kernel then finds out that a silo's machine has vanished: the timer of kind 2 in proc(5).
    [Fact]
    public async Task ConnectionsToSilos_AreKeptAlive()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using HttpResponseMessage answer = await gateway.Tenant().GetAsync("/v1/sessions/s");
        Assert.Equal(1, silo.Count);
        string to = $":{new Uri(silo.Endpoint.Address).Port:X4}";
        CancellationToken cancellation = TestContext.Current.CancellationToken;
        string[] lines = await File.ReadAllLinesAsync("/proc/net/tcp", cancellation);
        string[][] connections =
        [
            .. lines.Concat(await File.ReadAllLinesAsync("/proc/net/tcp6", cancellation))
                .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
                .Where(fields => fields[2].EndsWith(to, StringComparison.Ordinal) && fields[3] == "01"),
        ];
        Assert.NotEmpty(connections);
        Assert.Contains(connections, fields => fields[5].StartsWith("02:", StringComparison.Ordinal));
    }
}
