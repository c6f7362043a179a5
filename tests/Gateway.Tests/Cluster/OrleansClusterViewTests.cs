// Goal: a gateway reaches the cluster whenever there is one, before and after it restarts; a call that fails is
// repeated for a while, and a caller that leaves does not wait. Method: a real silo with stub grains.
using System.Diagnostics;
using System.Diagnostics.Metrics;
using Atelier.Contracts;
using Atelier.Gateway.Cluster;
using Atelier.Gateway.Settings;
using Atelier.Gateway.Telemetry;
using Atelier.Grains.Tests;
using Atelier.Grains.Tests.Telemetry;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Atelier.Gateway.Tests.Cluster;

public sealed class OrleansClusterViewTests : IAsyncLifetime
{
    private static readonly TenantId s_alice = new("alice");

    private readonly StubCluster _cluster = new();
    private readonly ManualClock _clock = new();
    private readonly ServiceProvider _services = new ServiceCollection().AddMetrics().BuildServiceProvider();
    private OrleansClusterView _view = null!;

    public async ValueTask InitializeAsync()
    {
        _view = View([]);
        await _view.StartAsync(CancellationToken.None);
    }

    public async ValueTask DisposeAsync()
    {
        await _view.StopAsync(CancellationToken.None);
        _view.Dispose();
        await _cluster.DisposeAsync();
        await _services.DisposeAsync();
    }

    [Fact]
    public async Task Gateway_AsksTheCluster_WheneverThereIsOne()
    {
        // Nobody waits for a cluster that is not there.
        await Assert.ThrowsAsync<ClusterUnavailableException>(HasKeyAsync);
        await Assert.ThrowsAsync<ClusterUnavailableException>(() => _view.SilosAsync(CancellationToken.None));

        await _cluster.StartAsync();
        await ConnectedAsync();
        Assert.True(await HasKeyAsync());
        Assert.False(await _view.HasKeyAsync(s_alice, "another", CancellationToken.None));
        Assert.Equal(["hash", "other"], await _view.KeysAsync(s_alice, CancellationToken.None));
        Assert.Empty(await _view.KeysAsync(new TenantId("nobody"), CancellationToken.None));
        Assert.Equal([new TenantId("tenant-3")], await _view.TenantsAsync(3, CancellationToken.None));
        Assert.Equal("one", Assert.Single(await _view.SilosAsync(CancellationToken.None)).Name);

        await _cluster.StopAsync();
        await _cluster.StartAsync();
        await ConnectedAsync();
        Assert.True(await HasKeyAsync());

        // A gateway that shuts down does not ask the cluster again and again.
        await _view.StopAsync(CancellationToken.None);
        await Assert.ThrowsAsync<ClusterUnavailableException>(HasKeyAsync)
            .WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task CallThatFails_IsRepeatedForAWhile_UnlessItsCallerLeaves()
    {
        await _cluster.StartAsync();
        await ConnectedAsync();
        StubTenantGrain.Calls.Clear();
        using var measurements = new Measurements(Meters);
        Assert.True(await _view.HasKeyAsync(new TenantId("twice"), "hash", CancellationToken.None));
        Assert.Equal(2, StubTenantGrain.Calls["twice"]);
        Assert.Equal(1, measurements["atelier.gateway.cluster.unanswered"]);

        Task<bool> broken = _view.HasKeyAsync(new TenantId("broken"), "hash", CancellationToken.None);
        await Eventually.TrueAsync(() => StubTenantGrain.Calls.GetValueOrDefault("broken") >= 3);
        Assert.False(broken.IsCompleted);
        _clock.Advance(TimeSpan.FromSeconds(9));
        var error = await Assert.ThrowsAsync<ClusterUnavailableException>(() => broken);
        Assert.IsType<InvalidOperationException>(error.InnerException);

        using var gone = new CancellationTokenSource();
        Task<bool> slow = _view.HasKeyAsync(new TenantId("slow"), "hash", gone.Token);
        await Eventually.TrueAsync(() => StubTenantGrain.Calls.ContainsKey("slow"));
        await gone.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => slow);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _view.SilosAsync(gone.Token));
        StubTenantGrain.Released.SetResult();
    }

    // The gateway was restarted with the new secret, the silo not yet.
    [Fact]
    public async Task AGateway_ConnectsToASilo_WhoseSecretIsRotated()
    {
        byte[] next = [.. TestGateway.Secret.Reverse()];
        await using var cluster = new StubCluster { Accepted = next };
        await cluster.StartAsync();
        using OrleansClusterView view = View([], new GatewaySettings
        {
            ClusterId = "stub", Silos = [$"127.0.0.1:{cluster.GatewayPort}"],
            Secret = Convert.ToBase64String(next), AcceptedSecret = Convert.ToBase64String(TestGateway.Secret),
        });
        await view.StartAsync(CancellationToken.None);
        await ConnectedAsync(view);
        await view.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task ARequestsTrace_GoesAlong_IfTracesAreExported()
    {
        await _cluster.StartAsync();
        await ConnectedAsync();
        using var traced = View(new() { ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1" });
        await traced.StartAsync(CancellationToken.None);
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == "Microsoft.Orleans.Application",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
        };
        ActivitySource.AddActivityListener(listener);
        using Activity request = new Activity("request").SetIdFormat(ActivityIdFormat.W3C).Start();
        await Eventually.TrueAsync(async () =>
        {
            try
            {
                return !await traced.HasKeyAsync(new TenantId("traced"), "hash", CancellationToken.None);
            }
            catch (ClusterUnavailableException)
            {
                return false;
            }
        });
        Assert.Contains($"{request.TraceId}", StubTenantGrain.Traces["traced"], StringComparison.Ordinal);
        Assert.False(await _view.HasKeyAsync(new TenantId("untraced"), "hash", CancellationToken.None));
        Assert.Null(StubTenantGrain.Traces["untraced"]);
        await traced.StopAsync(CancellationToken.None);
    }

    private IMeterFactory Meters => _services.GetRequiredService<IMeterFactory>();

    private OrleansClusterView View(
        Dictionary<string, string?> configuration, GatewaySettings? settings = null) => new(
        settings ?? new GatewaySettings
        {
            ClusterId = "stub", Secret = Convert.ToBase64String(TestGateway.Secret),
            Silos = [$"127.0.0.1:{_cluster.GatewayPort}"],
        },
        _clock, new ConfigurationBuilder().AddInMemoryCollection(configuration).Build(), new GatewayInstruments(Meters),
        NullLoggerFactory.Instance, NullLogger<OrleansClusterView>.Instance);

    private Task<bool> HasKeyAsync() => _view.HasKeyAsync(s_alice, "hash", CancellationToken.None);

    private Task ConnectedAsync(OrleansClusterView? view = null) => Eventually.TrueAsync(async () =>
    {
        try
        {
            return (await (view ?? _view).SilosAsync(CancellationToken.None)).Length == 1;
        }
        catch (ClusterUnavailableException)
        {
            return false;
        }
    });
}
