// Goal: a gateway counts refusals by reason and logs few lines of them, and logs each change of its routes once.
// Method: a gateway in front of stub silos, floods of bad requests, and a cluster that changes and stops answering.
using System.Net;
using Atelier.Contracts.Cluster;
using Atelier.Grains.Tests;
using Atelier.Grains.Tests.Telemetry;
using Xunit;

namespace Atelier.Gateway.Tests.Telemetry;

public sealed class GatewayTelemetryTests
{
    private const int Flood = 300;

    [Fact]
    public async Task AFloodOfRefusals_IsCounted_AndMakesOneLine()
    {
        await using TestGateway gateway = await TestGateway.StartAsync();
        using var measurements = new Measurements(gateway.Meters);
        using HttpClient client = gateway.Client(null);
        for (int i = 0; i < Flood; i++)
        {
            using HttpResponseMessage answer = await client.GetAsync("/v1/models");
            Assert.Equal(HttpStatusCode.Unauthorized, answer.StatusCode);
        }

        Assert.StartsWith("HTTP/1.1 400", await gateway.RawAsync("GET / HTTP/1.1\r\nnonsense\r\n\r\n"));
        using HttpResponseMessage alive = await client.GetAsync("/health/live");
        await Eventually.TrueAsync(() => measurements["atelier.gateway.requests{atelier.outcome=answered}"] > 0);
        Assert.Equal(Flood, measurements["atelier.gateway.refusals{atelier.reason=invalid_api_key}"]);
        Assert.Equal(1, measurements["atelier.gateway.refusals{atelier.reason=bad_request}"]);
        Assert.Equal(Flood, measurements["atelier.gateway.requests{atelier.outcome=refused}"]);
        Assert.Equal(1, measurements["atelier.gateway.requests{atelier.outcome=answered}"]);
        LogEvent refused = gateway.Log.Of(708).Single(one => one["Reason"] == "invalid_api_key");
        Assert.Equal("1", refused["Count"]);
        Assert.StartsWith("req_", refused["Request"]);
        gateway.Clock.Advance(TimeSpan.FromSeconds(11));
        (await client.GetAsync("/v1/models")).Dispose();
        await Eventually.TrueAsync(() => gateway.Log.Of(708).Count(one => one["Reason"] == "invalid_api_key") == 2);
        Assert.Equal(
            Flood.ToString(), gateway.Log.Of(708).Last(one => one["Reason"] == "invalid_api_key")["Count"]);
    }

    [Fact]
    public async Task Routes_ThatAppearAndGo_AndASilentCluster_AreLoggedOnceEach()
    {
        var (a, b, c) = (
            new SiloEndpoint("a", "http://127.0.0.1:1"), new SiloEndpoint("b", "http://127.0.0.1:2"),
            new SiloEndpoint("c", "nowhere"));
        await using TestGateway gateway = await TestGateway.StartAsync(a);
        using var measurements = new Measurements(gateway.Meters);
        gateway.Cluster.Silos = [a, b, c];
        Assert.True(await gateway.RefreshAsync());
        Assert.True(await gateway.RefreshAsync());
        measurements.Observe();
        Assert.Equal(2, measurements["atelier.gateway.silos"]);
        gateway.Cluster.IsAway = true;
        Assert.False(await gateway.RefreshAsync());
        Assert.False(await gateway.RefreshAsync());
        gateway.Cluster.IsAway = false;
        gateway.Cluster.Silos = [b];
        Assert.True(await gateway.RefreshAsync());

        Assert.Equal(["a", "b"], gateway.Log.Of(703).Select(one => one["Silo"]));
        LogEvent gone = Assert.Single(gateway.Log.Of(704));
        Assert.Equal(("a", a.Address, "1"), (gone["Silo"], gone["Address"], gone["Count"]));
        Assert.Equal(("c", "nowhere"),
            (Assert.Single(gateway.Log.Of(705))["Silo"], gateway.Log.Of(705)[0]["Address"]));
        Assert.Equal("2", Assert.Single(gateway.Log.Of(706))["Count"]);
        Assert.Single(gateway.Log.Of(707));
        Assert.InRange(measurements["atelier.gateway.cluster.unanswered"], 2, 100);
    }
}
