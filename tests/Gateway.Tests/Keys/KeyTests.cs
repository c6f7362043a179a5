// Goal: a request reaches a silo as its key's tenant, or not at all. Method: a silo that reports what it received, keys
// in memory, and every kind of wrong header.
using System.Net;
using System.Text.RegularExpressions;
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Xunit;

namespace Atelier.Gateway.Tests.Keys;

public sealed partial class KeyTests
{
    [Fact]
    public async Task AKey_ReachesTheSiloAsItsTenantAndIsNotPassedOn()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        Received received = await (await gateway.Tenant("alice").GetAsync("/v1/models?x=1")).ReceivedAsync();
        Assert.Equal(new Caller(new TenantId("alice"), IsAdmin: false), gateway.CallerOf(received));
        Assert.Equal("/v1/models?x=1", received.Target);
        Assert.DoesNotContain("Authorization", received.Headers.Keys);
    }

    [Fact]
    public async Task TheAdministratorsKey_ReachesTheSiloAsTheAdministrator()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        Received received =
            await (await gateway.Client(TestGateway.AdminKey).GetAsync("/v1/admin/tenants")).ReceivedAsync();
        Assert.Equal(new Caller(null, IsAdmin: true), gateway.CallerOf(received));
    }

    [Fact]
    public async Task RejectedKeys_AreAnsweredAlike()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        string known = gateway.Cluster.NewKey("alice"), revoked = gateway.Cluster.NewKey("alice");
        gateway.Cluster.Revoke(revoked);
        string[] wrong =
        [
            "", "Authorization: ", "Authorization: Bearer", "Authorization: Bearer  ", $"Authorization: {known}",
            $"Authorization: Basic {known}",
            $"Authorization: Bearer {known}x", $"Authorization: Bearer {known[..^1]}",
            $"Authorization: Bearer {known} {known}",
            $"Authorization: Bearer {known}\r\nAuthorization: Bearer {known}", $"Authorization: Bearer {revoked}",
            $"Authorization: Bearer {ApiKey.New(new TenantId("alice"))}",
            $"Authorization: Bearer {ApiKey.New(new TenantId("nobody"))}",
            $"Authorization: Bearer {known.Replace("alice", "bobby", StringComparison.Ordinal)}",
            $"Authorization: Bearer {TestGateway.AdminKey}x", $"Authorization: Bearer {new string('k', 10_000)}",
            $"X-Api-Key: {known}",
        ];
        var answers = new HashSet<string>(StringComparer.Ordinal);
        foreach (string header in wrong)
        {
            string line = header.Length == 0 ? "" : header + "\r\n";
            answers.Add(
                Stamps().Replace(
                    await gateway.RawAsync($"GET /v1/models HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{line}\r\n"),
                    ""));
        }

        string answer = Assert.Single(answers);
        Assert.StartsWith("HTTP/1.1 401 ", answer, StringComparison.Ordinal);
        Assert.Equal(
            "invalid_api_key", AnswerExtensions.ErrorCode(answer[answer.IndexOf('{', StringComparison.Ordinal)..]));
        Assert.Equal(0, silo.Count);
    }

    [Fact]
    public async Task ARevokedKey_IsRefusedFromTheNextRequestOn()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        string key = gateway.Cluster.NewKey("alice");
        using HttpClient client = gateway.Client(key);
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("/v1/models")).StatusCode);
        gateway.Cluster.Revoke(key);
        Assert.Equal("invalid_api_key", await (await client.GetAsync("/v1/models")).ErrorAsync(401));
        Assert.Equal(1, silo.Count);
    }

    [Fact]
    public async Task WithoutACluster_EveryClientIsToldToRetry()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using HttpClient client = gateway.Tenant();
        gateway.Cluster.IsAway = true;
        using HttpResponseMessage answer = await client.GetAsync("/v1/models");
        Assert.Equal("cluster_unavailable", await answer.ErrorAsync(503));
        Assert.Equal("1", Assert.Single(answer.Headers.GetValues("Retry-After")));
        Assert.Equal(0, silo.Count);
    }

    [Theory]
    [InlineData("/docs")]
    [InlineData("/docs/scalar.js")]
    [InlineData("/openapi/v1.json")]
    [InlineData("/v1/pictures/alice.g1.png.1.mac")]
    public async Task OpenRoutes_TakeNoKeyAndGiveNoTicket(string path)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        foreach (HttpClient client in new[] { gateway.Client(null), gateway.Tenant(), gateway.Client("nonsense") })
        {
            client.DefaultRequestHeaders.Add(Tickets.Header, "forged");
            Received received = await (await client.GetAsync(path)).ReceivedAsync();
            Assert.Equal(path, received.Target);
            Assert.DoesNotContain(Tickets.Header, received.Headers.Keys);
            Assert.DoesNotContain("Authorization", received.Headers.Keys);
        }

        Assert.NotEqual(HttpStatusCode.OK, (await gateway.Client(null).PostAsync(path, null)).StatusCode);
    }

    [GeneratedRegex("^(?:Date|x-request-id): .*\r\n", RegexOptions.Multiline | RegexOptions.IgnoreCase, 1000)]
    private static partial Regex Stamps();
}
