// Goal: a silo learns about a caller from the gateway alone, for one call only. Method: forged headers in all
// spellings, and tickets reused for other calls and later.
using System.Text;
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Microsoft.AspNetCore.Http;
using Xunit;

namespace Atelier.Gateway.Tests.Routing;

public sealed class TicketTests
{
    [Fact]
    public async Task InternalHeadersOfClients_NeverReachASilo()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using HttpClient client = gateway.Tenant("alice");
        string forged = gateway.Tickets.Sign(new Caller(new TenantId("bob"), IsAdmin: true), "GET", "/v1/models", []);
        client.DefaultRequestHeaders.Add("x-atelier-ticket", [forged, forged]);
        client.DefaultRequestHeaders.Add("X-ATELIER-TENANT", "bob");
        client.DefaultRequestHeaders.Add("X-Atelier-", "bob");
        client.DefaultRequestHeaders.Add("x-request-id", "mine");
        client.DefaultRequestHeaders.Add("Cookie", "a=b");
        using HttpResponseMessage answer = await client.GetAsync("/v1/models");
        Received received = await answer.ReceivedAsync();
        Assert.Equal(new Caller(new TenantId("alice"), IsAdmin: false), gateway.CallerOf(received));
        Assert.Equal(
            [Tickets.Header],
            received.Headers.Keys.Where(name => name.StartsWith("x-atelier", StringComparison.OrdinalIgnoreCase)));
        Assert.DoesNotContain("Cookie", received.Headers.Keys);
        Assert.Equal(Assert.Single(answer.Headers.GetValues("x-request-id")), received.Headers["x-request-id"]);
        Assert.NotEqual("mine", received.Headers["x-request-id"]);
    }

    [Fact]
    public async Task AConnectionHeader_CannotTakeTheTicketAway()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        string answer = await gateway.RawAsync(
            $"GET /v1/models HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {gateway.Cluster.NewKey("alice")}\r\n"
            + "Connection: close, X-Atelier-Ticket\r\nX-Atelier-Ticket: forged\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 200 ", answer, StringComparison.Ordinal);
        Assert.Contains("\"X-Atelier-Ticket\":\"alice.0.", answer, StringComparison.Ordinal);
        Assert.DoesNotContain("forged", answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ATicket_IsValidForExactlyItsCall_AndBriefly()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        Received received = await (await gateway.Tenant().GetAsync("/v1/generations/g1?a=%41&b= c'\"")).ReceivedAsync();
        string ticket = received.Headers[Tickets.Header];
        Assert.True(gateway.Tickets.TryRead(ticket, "GET", received.Target, out _));
        Assert.False(gateway.Tickets.TryRead(ticket, "DELETE", received.Target, out _));
        Assert.False(gateway.Tickets.TryRead(ticket, "GET", received.Target + "&c=1", out _));
        Assert.False(gateway.Tickets.TryRead(ticket, "GET", "/v1/generations/g2", out _));
        Assert.False(gateway.Tickets.TryRead(ticket, "GET", "/v1/generations/g1", out _));
        Assert.False(
            gateway.Tickets.TryRead(
                ticket.Replace("alice", "bobby", StringComparison.Ordinal), "GET", received.Target, out _));
        gateway.Clock.Advance(Tickets.TicketLife + TimeSpan.FromSeconds(1));
        Assert.False(gateway.Tickets.TryRead(ticket, "GET", received.Target, out _));
    }

    [Theory]
    [InlineData("one", false)]
    [InlineData("one", true)]
    [InlineData("", false)]
    public async Task ATicket_IsValidForItsBodyOnly(string body, bool chunked)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/generations")
        {
            Content = new StringContent(body),
        };
        request.Headers.TransferEncodingChunked = chunked;
        Received received = await (await gateway.Tenant().SendAsync(request)).ReceivedAsync();
        string ticket = received.Headers[Tickets.Header];
        Assert.True(gateway.Tickets.TryRead(ticket, "POST", received.Target, out _, Encoding.UTF8.GetBytes(body)));
        Assert.False(gateway.Tickets.TryRead(ticket, "POST", received.Target, out _, "two"u8));
        Assert.Equal(body.Length == 0, gateway.Tickets.TryRead(ticket, "POST", received.Target, out _));
    }

    // A silo that reads tickets by a clock of its own, as silos do.
    [Theory]
    [InlineData(0, 1)]
    [InlineData(-4, 1)]
    [InlineData(-6, 2)]
    [InlineData(29, 1)]
    [InlineData(31, 2)]
    [InlineData(15 * 60, 2)]
    [InlineData(-8 * 24 * 3600, 2)]
    public async Task ASiloWhoseClockDiffers_IsSignedForByItsClock(int seconds, int sends)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        var clock = new ManualClock();
        clock.Advance(gateway.Clock.GetUtcNow() - clock.GetUtcNow() + TimeSpan.FromSeconds(seconds));
        var theirs = new Tickets(TestGateway.Secret, clock);
        var bodies = new List<string>();
        silo.Handler = async context =>
        {
            using var reader = new StreamReader(context.Request.Body);
            bodies.Add(await reader.ReadToEndAsync());
            TicketState state = theirs.Read(
                context.Request.Headers[Tickets.Header], context.Request.Method, context.Request.Path, out _,
                out string digest);
            bool isGood = state == TicketState.Good && digest == Tickets.DigestOf(Encoding.UTF8.GetBytes(bodies[^1]));
            context.Response.StatusCode = isGood ? 202 : 401;
            if (state == TicketState.Stale)
            {
                context.Response.Headers[Tickets.ClockHeader] = $"{theirs.Now}";
            }

            await context.Response.WriteAsync($"{state}");
        };
        using HttpClient client = gateway.Tenant();
        using HttpResponseMessage first = await client.PostAsync("/v1/generations", new StringContent("body"));
        Assert.Equal("Good", await first.Content.ReadAsStringAsync());
        Assert.Equal(202, (int)first.StatusCode);
        Assert.False(first.Headers.Contains(Tickets.ClockHeader));
        Assert.Equal(Enumerable.Repeat("body", sends), bodies);

        // From then on the difference is known.
        Assert.Equal(202, (int)(await client.PostAsync("/v1/generations", new StringContent("body"))).StatusCode);
        Assert.Equal(sends + 1, silo.Count);
    }

    [Fact]
    public async Task ASiloThatFindsEveryTicketStale_IsAskedTwice_AndItsRefusalIsPassedOn()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        silo.Handler = context =>
        {
            context.Response.StatusCode = 401;
            context.Response.Headers[Tickets.ClockHeader] = "1";
            return context.Response.WriteAsync("refused");
        };
        using HttpResponseMessage answer = await gateway.Tenant().GetAsync("/v1/models");
        Assert.Equal((401, "refused"), ((int)answer.StatusCode, await answer.Content.ReadAsStringAsync()));
        Assert.Equal(2, silo.Count);
    }

    [Fact]
    public async Task TheSilo_LearnsTheAddressThatTheClientUsed()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using HttpClient client = gateway.Tenant();
        client.DefaultRequestHeaders.Host = "pictures.example";
        Received plain = await (await client.GetAsync("/v1/models")).ReceivedAsync();
        Assert.Equal(
            ("pictures.example", "http"), (plain.Headers["X-Forwarded-Host"], plain.Headers["X-Forwarded-Proto"]));
        foreach ((string sent, string said) in new[]
        {
            ("https", "https"), ("HTTPS", "https"), ("https,http", "https"), ("https, https", "https"),
            ("http,https", "http"),
            ("ftp", "http"), ("https://x", "http"), ("", "http"),
        })
        {
            client.DefaultRequestHeaders.Remove("X-Forwarded-Proto");
            client.DefaultRequestHeaders.TryAddWithoutValidation("X-Forwarded-Proto", sent);
            Received received = await (await client.GetAsync("/v1/models")).ReceivedAsync();
            Assert.Equal(said, received.Headers["X-Forwarded-Proto"]);
        }

        // Other headers of this kind are ignored.
        client.DefaultRequestHeaders.Add("X-Forwarded-Host", "elsewhere.example");
        client.DefaultRequestHeaders.Add("X-Forwarded-Prefix", "/elsewhere");
        Received forwarded = await (await client.GetAsync("/v1/models")).ReceivedAsync();
        Assert.Equal("pictures.example", forwarded.Headers["X-Forwarded-Host"]);
        Assert.DoesNotContain(
            "elsewhere", forwarded.Headers.GetValueOrDefault("X-Forwarded-Prefix", ""), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Host: [::1]:99999", 400)]
    [InlineData("Host: localhost:99999", 400)]
    [InlineData("Host: localhost:0", 400)]
    [InlineData("Host: [::1]:8080", 200)]
    [InlineData("Host: pictures.example", 200)]
    public async Task AHost_IsOneOrTheRequestIsRefused(string host, int status)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        string answer = await gateway.RawAsync(
            $"GET /v1/models HTTP/1.1\r\n{host}\r\nConnection: close\r\nAuthorization: Bearer "
            + $"{gateway.Cluster.NewKey("alice")}\r\n\r\n");
        Assert.StartsWith($"HTTP/1.1 {status} ", answer, StringComparison.Ordinal);
        Assert.Contains(
            status == 400 ? "\"bad_request\"" : $"\"X-Forwarded-Host\":\"{host[6..]}\"", answer,
            StringComparison.Ordinal);
    }

    // Otherwise a silo could build links only from its own address.
    [Fact]
    public async Task WithoutAHost_TheGatewaysOwnAddressCounts()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        string answer = await gateway.RawAsync(
            $"GET /v1/models HTTP/1.0\r\nAuthorization: Bearer {gateway.Cluster.NewKey("alice")}\r\n\r\n");
        Assert.Contains($"\"X-Forwarded-Host\":\"{gateway.Url.Authority}\"", answer, StringComparison.Ordinal);
    }
}
