// Goal: the number of retries is bounded. Method: silos that cannot be reached, and a silo that rejects a ticket as
// stale and then disappears.
using System.Net;
using Atelier.Contracts.Cluster;
using Atelier.Contracts.Tenants;
using Xunit;
using Yarp.ReverseProxy.Model;

namespace Atelier.Gateway.Tests.Routing;

public sealed class RetryTests
{
    [Fact]
    public async Task ARequest_IsTriedOnThreeSilosAtMost()
    {
        SiloEndpoint[] silos = [.. Enumerable.Range(0, 8).Select(i => BareSilo.Nobody($"s{i}"))];
        await using TestGateway gateway = await TestGateway.StartAsync(silos);
        using HttpResponseMessage answer = await gateway.Tenant().GetAsync("/v1/sessions/s");
        Assert.Equal("cluster_unavailable", await answer.ErrorAsync(503));
        int tried = gateway.Proxy.GetClusters()
            .Max(
                cluster =>
                    cluster.Destinations.Values.Count(silo => silo.Health.Passive == DestinationHealth.Unhealthy));
        Assert.Equal(3, tried);
    }

    [Theory]
    [InlineData("GET")]
    [InlineData("DELETE")]
    [InlineData("POST")]
    public async Task ASiloThatFindsATicketStale_AndIsGone_IsAskedTwice(string method)
    {
        using var silo = new BareSilo(n => n == 1
            ? $"HTTP/1.1 401 Unauthorized\r\n{Tickets.ClockHeader}: 1\r\nContent-Length: 0\r\n\r\n"
            : null);
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using var request = new HttpRequestMessage(new HttpMethod(method), "/v1/sessions/s");
        using HttpResponseMessage answer = await gateway.Tenant().SendAsync(request);
        Assert.True(
            answer.StatusCode is HttpStatusCode.BadGateway or HttpStatusCode.ServiceUnavailable, answer.ToString());
        Assert.InRange(silo.Count, 2, method == "GET" ? 10 : 2);
    }
}
