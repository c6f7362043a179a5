// Goal: nobody calls a silo without going through the gateway, nobody is mistaken for somebody else, and invalid
// requests are answered with the common error shape. Method: calls with wrong tickets, wrong bodies and raw bytes on a
// socket.
using System.Net;
using System.Net.Sockets;
using System.Text;
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Xunit;

namespace Atelier.Silo.Tests.Api.Http;

[Collection(nameof(ApiCluster))]
public sealed class CallersTests(ApiCluster cluster)
{
    private static readonly Caller s_tenant = new(new TenantId("callers"), IsAdmin: false);

    [Theory]
    [InlineData("GET", "/v1/models")]
    [InlineData("POST", "/v1/images/generations")]
    [InlineData("POST", "/V1/Images/Generations")]
    [InlineData("GET", "/v1/generations/a")]
    [InlineData("GET", "/v1/admin/tenants")]
    [InlineData("GET", "/v1/nothing")]
    [InlineData("PATCH", "/v1/models")]
    public async Task CallWithoutATicketOfItsOwn_IsRefused(string method, string path)
    {
        using HttpClient client = cluster.As(null);
        var verb = new HttpMethod(method);
        string good = ApiCluster.Tickets.Sign(s_tenant, method, path, []);
        var late = new Tickets(ApiCluster.Secret, new Shifted(-TimeSpan.FromSeconds(31)));
        var early = new Tickets(ApiCluster.Secret, new Shifted(TimeSpan.FromSeconds(6)));
        var foreign = new Tickets(new byte[32], TimeProvider.System);
        string[] wrong =
        [
            "", "nonsense", good + "x", good[1..], good.Replace("callers", "another", StringComparison.Ordinal),
            good.Replace(".0.", ".1.", StringComparison.Ordinal),
            ApiCluster.Tickets.Sign(s_tenant, "PUT", path, []),
            ApiCluster.Tickets.Sign(s_tenant, method, path + "?a=b", []),
            late.Sign(s_tenant, method, path, []), early.Sign(s_tenant, method, path, []),
            foreign.Sign(s_tenant, method, path, []),
        ];
        Assert.Equal(
            "invalid_ticket", (await client.SendAsync(verb, path).ErrorAsync(HttpStatusCode.Unauthorized)).Code);
        foreach (string ticket in wrong)
        {
            Assert.Equal(
                "invalid_ticket",
                (await client.SendAsync(
                    verb, path, null, (Tickets.Header, ticket)).ErrorAsync(HttpStatusCode.Unauthorized)).Code);
        }

        // The answer to a stale ticket contains the time, so that a gateway whose clock differs can sign again; the
        // answer to a forged one does not.
        foreach ((Tickets tickets, bool hasTime) in new[] { (late, true), (foreign, false) })
        {
            string ticket = tickets.Sign(s_tenant, method, path, []);
            using HttpResponseMessage answer = await client.SendAsync(verb, path, null, (Tickets.Header, ticket));
            Assert.Equal(hasTime, answer.Headers.Contains(Tickets.ClockHeader));
        }

        // Two tickets count as none, and headers that look like internal ones have no effect.
        await client.SendAsync(
            verb, path, null, (Tickets.Header, good), (Tickets.Header, good)).ErrorAsync(HttpStatusCode.Unauthorized);
        await client.SendAsync(verb, path, null, ("X-Atelier-Tenant", "callers"), ("X-Atelier-Admin", "1")).ErrorAsync(
            HttpStatusCode.Unauthorized);
    }

    [Theory]
    [InlineData("", "{}")]
    [InlineData("""{"prompt":"one","steps":1}""", """{"prompt":"two","steps":1}""")]
    [InlineData("""{"prompt":"one","steps":1}""", "")]
    [InlineData("""{"prompt":"one","steps":1}""", """{"prompt":"one","steps":1} """)]
    public async Task ATicket_AcceptsNoOtherBody(string signed, string sent)
    {
        await cluster.ClientAsync("callers");
        using HttpClient client = cluster.As(null);
        foreach (string path in new[] { "/v1/generations", "/v1/sessions", ApiCalls.Images })
        {
            foreach (bool chunked in new[] { false, true })
            {
                string ticket = ApiCluster.Tickets.Sign(s_tenant, "POST", path, Encoding.UTF8.GetBytes(signed));
                using var request = new HttpRequestMessage(HttpMethod.Post, path)
                {
                    Content = new StringContent(sent, Encoding.UTF8, "application/json"),
                };
                request.Headers.Add(Tickets.Header, ticket);
                request.Headers.TransferEncodingChunked = chunked;
                Assert.Equal(
                    "invalid_ticket",
                    (await client.SendAsync(request, ApiCluster.Cancellation)
                        .ErrorAsync(HttpStatusCode.Unauthorized)).Code);
            }
        }
    }

    [Fact]
    public async Task TenantsAndAdministrators_KeepToTheirRoutes()
    {
        using HttpClient tenant = await cluster.ClientAsync("callers"), admin = cluster.Admin();
        foreach ((HttpMethod method, string path) in new[] { (HttpMethod.Get, "/v1/admin/status"),
            (HttpMethod.Put, "/v1/admin/tenants/callers"), (HttpMethod.Post, "/v1/admin/tenants/callers/keys") })
        {
            Assert.Equal("not_admin", (await tenant.SendAsync(method, path).ErrorAsync(HttpStatusCode.Forbidden)).Code);
        }

        foreach ((HttpMethod method, string path) in new[] { (HttpMethod.Post, "/v1/images/generations"),
            (HttpMethod.Get, "/v1/sessions/a"), (HttpMethod.Get, "/v1/generations/a/picture") })
        {
            Assert.Equal("no_tenant", (await admin.SendAsync(method, path).ErrorAsync(HttpStatusCode.Forbidden)).Code);
        }

        await admin.SendAsync(HttpMethod.Get, "/v1/models").JsonAsync();
        await tenant.SendAsync(HttpMethod.Get, "/v1/models").JsonAsync();
    }

    [Fact]
    public async Task UnknownUrls_AreAnsweredInTheShapeOfErrors()
    {
        using HttpClient client = await cluster.ClientAsync("callers");
        Assert.Equal(
            "unknown_url",
            (await client.SendAsync(HttpMethod.Get, "/v1/nothing").ErrorAsync(HttpStatusCode.NotFound)).Code);
        Assert.Equal(
            "unknown_url",
            (await client.SendAsync(HttpMethod.Get, "/nothing").ErrorAsync(HttpStatusCode.NotFound)).Code);
        Assert.Equal(
            "method_not_allowed",
            (await client.SendAsync(HttpMethod.Delete, "/v1/generations")
                .ErrorAsync(HttpStatusCode.MethodNotAllowed)).Code);

        // Requests that the server itself cannot read get a status and nothing else.
        Assert.Equal(
            HttpStatusCode.BadRequest, (await client.SendAsync(HttpMethod.Get, "/v1/generations/a%00b")).StatusCode);
        Assert.Equal(
            "model_not_found",
            (await client.SendAsync(HttpMethod.Get, "/v1/models/nothing").ErrorAsync(HttpStatusCode.NotFound)).Code);
    }

    [Fact]
    public async Task ExpiredOrForgedLinks_LeadNowhere()
    {
        using HttpClient client = await cluster.ClientAsync("links"), anybody = cluster.As(null);
        await client.SendAsync(
            HttpMethod.Post, "/v1/generations", """{"id":"one","prompt":"red"}""").JsonAsync(HttpStatusCode.Accepted);
        await client.SendAsync(HttpMethod.Get, "/v1/generations/one/events").EventsAsync();
        var key = new GenerationKey(new TenantId("links"), new GenerationId("one"));
        string good = ApiCluster.Tickets.Link(key, "png");
        Assert.Equal(HttpStatusCode.OK, (await anybody.SendAsync(HttpMethod.Get, $"/v1/pictures/{good}")).StatusCode);
        string[] wrong =
        [
            good + "x", good.Replace("one", "two", StringComparison.Ordinal),
            good.Replace(".png.", ".jpeg-1.", StringComparison.Ordinal),
            new Tickets(ApiCluster.Secret, new Shifted(-TimeSpan.FromMinutes(61))).Link(key, "png"),
            new Tickets(new byte[32], TimeProvider.System).Link(key, "png"),
            ApiCluster.Tickets.Link(key, "gif-1"), ApiCluster.Tickets.Link(key, "jpeg-101"),
            ApiCluster.Tickets.Link(new GenerationKey(key.Tenant, new GenerationId("none")), "png"),
        ];
        foreach (string token in wrong)
        {
            await anybody.SendAsync(HttpMethod.Get, $"/v1/pictures/{token}").ErrorAsync(HttpStatusCode.NotFound);
        }

        // A link shows its own picture only, and nothing once that is deleted.
        await anybody.SendAsync(HttpMethod.Get, "/v1/generations/one/picture", null, (Tickets.Header, good)).ErrorAsync(
            HttpStatusCode.Unauthorized);
        await client.SendAsync(HttpMethod.Delete, "/v1/generations/one");
        await anybody.SendAsync(HttpMethod.Get, $"/v1/pictures/{good}").ErrorAsync(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task BodiesThatAreTooLargeOrNotJson_AreRefused()
    {
        using HttpClient client = await cluster.ClientAsync("callers");
        string large = $$"""{"prompt":"{{new string('a', 1 << 20)}}"}""";
        Assert.Equal(
            "body_too_large",
            (await client.SendAsync(
                HttpMethod.Post, ApiCalls.Images, large).ErrorAsync(HttpStatusCode.RequestEntityTooLarge)).Code);
        var chunked = new HttpRequestMessage(HttpMethod.Post, ApiCalls.Images) { Content = ApiCalls.Json(large) };
        chunked.Headers.TransferEncodingChunked = true;
        Assert.Equal(
            "body_too_large",
            (await client.SendAsync(chunked, ApiCluster.Cancellation).ErrorAsync(HttpStatusCode.RequestEntityTooLarge))
                .Code);

        using var form = new StringContent("prompt=a", Encoding.UTF8, "application/x-www-form-urlencoded");
        Assert.Equal(
            "unsupported_media_type",
            (await client.PostAsync(
                ApiCalls.Images, form, ApiCluster.Cancellation).ErrorAsync(HttpStatusCode.UnsupportedMediaType)).Code);
        foreach (string path in new[] { ApiCalls.Images, "/v1/generations", "/v1/sessions" })
        {
            Assert.Equal(
                "invalid_json",
                (await client.SendAsync(
                    HttpMethod.Post, path, """{"id":"a","id":"b"}""").ErrorAsync(HttpStatusCode.BadRequest)).Code);
            Assert.Equal(
                "invalid_json",
                (await client.SendAsync(
                    HttpMethod.Post, path, """{"prompt":"a""").ErrorAsync(HttpStatusCode.BadRequest)).Code);
        }
    }

    [Fact]
    public async Task BodyThatIsCutShort_IsAnsweredWhereSomebodyListens()
    {
        string ticket = ApiCluster.Tickets.Sign(s_tenant, "POST", ApiCalls.Images, []);
        using var socket = new TcpClient();
        await socket.ConnectAsync(IPAddress.Loopback, cluster.Address.Port, ApiCluster.Cancellation);
        NetworkStream stream = socket.GetStream();
        string request =
            $"POST {ApiCalls.Images} HTTP/1.1\r\nHost: a\r\n{Tickets.Header}: {ticket}\r\nContent-Type: "
            + "application/json\r\n"
            + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"pro\r\nnonsense\r\n";
        await stream.WriteAsync(Encoding.ASCII.GetBytes(request), ApiCluster.Cancellation);
        using var reader = new StreamReader(stream);
        Assert.Equal("HTTP/1.1 400 Bad Request", await reader.ReadLineAsync(ApiCluster.Cancellation));
        string rest = await reader.ReadToEndAsync(ApiCluster.Cancellation);
        Assert.Contains("\"code\":\"bad_request\"", rest, StringComparison.Ordinal);

        // A request that is cut off completely harms nobody.
        using var gone = new TcpClient();
        await gone.ConnectAsync(IPAddress.Loopback, cluster.Address.Port, ApiCluster.Cancellation);
        await gone.GetStream().WriteAsync(
            Encoding.ASCII.GetBytes(
                $"POST {ApiCalls.Images} HTTP/1.1\r\nHost: a\r\n{Tickets.Header}: {ticket}\r\n"
                + "Content-Length: 100\r\n\r\n{"),
            ApiCluster.Cancellation);
        gone.Close();
        using HttpClient client = await cluster.ClientAsync("callers");
        await client.SendAsync(HttpMethod.Get, "/v1/models").JsonAsync();
    }

    [Fact]
    public async Task RequestIds_AreTheGatewaysWhereTheyAreNames()
    {
        using HttpClient client = await cluster.ClientAsync("callers");
        foreach ((string sent, bool kept) in new[] { ("req_1", true), ("no name", false),
            (new string('a', 65), false) })
        {
            using HttpResponseMessage answer = await client.SendAsync(
                HttpMethod.Get, "/v1/models", null, ("x-request-id", sent));
            Assert.Equal(kept, Assert.Single(answer.Headers.GetValues("x-request-id")) == sent);
        }
    }

    private sealed class Shifted(TimeSpan shift) : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => System.GetUtcNow() + shift;
    }
}
