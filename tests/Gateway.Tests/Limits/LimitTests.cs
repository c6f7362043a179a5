// Goal: requests beyond the limits end at the gateway, with the error shape. Method: bodies that are too large or
// truncated, and more requests than a bucket has tokens.
using System.Net;
using System.Net.Http.Json;
using System.Text;
using Atelier.Gateway.Settings;
using Xunit;

namespace Atelier.Gateway.Tests.Limits;

public sealed class LimitTests
{
    [Theory]
    [InlineData((1 << 20) + 1, false)]
    [InlineData((1 << 20) + 1, true)]
    [InlineData(9 << 20, false)]
    [InlineData(9 << 20, true)]
    public async Task ABodyThatIsTooLarge_ReachesNoSilo(int length, bool chunked)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/generations")
        {
            Content = new ByteArrayContent(new byte[length]),
        };
        request.Headers.TransferEncodingChunked = chunked;

        // The gateway reads the body to its end: otherwise a client that is still sending loses its connection, and
        // with it the response.
        Assert.Equal("body_too_large", await (await gateway.Tenant().SendAsync(request)).ErrorAsync(413));
        Assert.Equal(0, silo.Count);
    }

    [Fact]
    public async Task OnlyTheAdministrator_SendsLargerBodies_WithTrainingData()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        const string url = "/v1/training/data/set/piece";
        string text = new('x', 16 << 20);
        using HttpClient admin = gateway.Client(TestGateway.AdminKey);
        Assert.Equal(text, (await (await admin.PutAsync(url, Body(text))).ReceivedAsync()).Body);

        string large = text[..((1 << 20) + 1)];
        Assert.Equal("body_too_large", await (await gateway.Tenant().PutAsync(url, Body(large))).ErrorAsync(413));
        Assert.Equal(
            "body_too_large", await (await admin.PutAsync("/v1/training/runs", Body(large))).ErrorAsync(413));
        Assert.Equal(1, silo.Count);

        static ByteArrayContent Body(string text) => new(Encoding.ASCII.GetBytes(text));
    }

    [Fact]
    public async Task ABodyOfTheLargestSize_Arrives()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        string text = new('x', 1 << 20);
        using var content = new StringContent(text, Encoding.ASCII);
        Assert.Equal(text, (await (await gateway.Tenant().PostAsync("/v1/generations", content)).ReceivedAsync()).Body);
    }

    [Theory]
    [InlineData("Content-Length: 100\r\n\r\n{\"prompt\"")]
    [InlineData("Transfer-Encoding: chunked\r\n\r\n64\r\n{\"prompt\"")]
    [InlineData("Transfer-Encoding: chunked\r\n\r\nnonsense\r\n")]
    public async Task ABodyThatIsCutShort_ReachesNoSilo(string rest)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        string answer = await gateway.RawAsync(
            $"POST /v1/generations HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {gateway.Cluster.NewKey("alice")}\r\n"
            + $"Content-Type: application/json\r\n{rest}",
            halfClose: true);

        // If the client has closed its side too early, the server hangs up without an answer.
        Assert.True(answer.Length == 0 || answer.StartsWith("HTTP/1.1 400 ", StringComparison.Ordinal), answer);
        Assert.Equal(0, silo.Count);
        Assert.Equal(HttpStatusCode.OK, (await gateway.Tenant().GetAsync("/v1/models")).StatusCode);
    }

    [Theory]
    [InlineData("fffffffffffffffff\r\n{}\r\n0\r\n\r\n")]
    [InlineData("ffffffffffffffff\r\n{}\r\n0\r\n\r\n")]
    [InlineData("-2\r\n{}\r\n0\r\n\r\n")]
    [InlineData("2;a\r\n{}x\r\n0\r\n\r\n")]
    [InlineData("2\r\n{}\r\n0\r\nno trailer\r\n\r\n")]
    public async Task InvalidChunks_AreTheClientsFault(string chunks)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        string answer = await gateway.RawAsync(
            $"POST /v1/sessions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {gateway.Cluster.NewKey("alice")}\r\n"
            + $"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        Assert.StartsWith("HTTP/1.1 400 ", answer, StringComparison.Ordinal);
        Assert.Contains("\"code\":\"bad_request\"", answer, StringComparison.Ordinal);
        Assert.Equal(0, silo.Count);
    }

    [Fact]
    public async Task ATenantsBucket_IsItsOwnAndFillsWithTime()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(
            new GatewaySettings { RequestsPerSecond = 2, RequestsBurst = 3 }, silo.Endpoint);
        using HttpClient alice = gateway.Tenant("alice"), again = gateway.Tenant("alice"), bob = gateway.Tenant("bob");
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal(HttpStatusCode.OK, (await alice.GetAsync("/v1/models")).StatusCode);
        }

        using HttpResponseMessage refused = await again.PostAsJsonAsync("/v1/generations", new { prompt = "x" });
        Assert.Equal("rate_limit_exceeded", await refused.ErrorAsync(429));
        Assert.Equal("1", Assert.Single(refused.Headers.GetValues("Retry-After")));
        Assert.Equal("3", Assert.Single(refused.Headers.GetValues("x-ratelimit-limit-requests")));
        Assert.Equal("0", Assert.Single(refused.Headers.GetValues("x-ratelimit-remaining-requests")));
        Assert.Equal("500ms", Assert.Single(refused.Headers.GetValues("x-ratelimit-reset-requests")));
        Assert.Equal(HttpStatusCode.OK, (await bob.GetAsync("/v1/models")).StatusCode);
        Assert.Equal(
            "invalid_api_key", await (await gateway.Client("atl_alice_x").GetAsync("/v1/models")).ErrorAsync(401));

        gateway.Clock.Advance(TimeSpan.FromSeconds(0.5));
        Assert.Equal(HttpStatusCode.OK, (await alice.GetAsync("/v1/models")).StatusCode);
        Assert.Equal(HttpStatusCode.TooManyRequests, (await alice.GetAsync("/v1/models")).StatusCode);
        Assert.Equal(5, silo.Count);
    }
}
