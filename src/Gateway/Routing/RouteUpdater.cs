// The proxy's destinations, kept equal to the silos of the cluster's membership. While the cluster does not answer, the
// last known silos stay.
using Atelier.Contracts.Cluster;
using Atelier.Gateway.Cluster;
using Yarp.ReverseProxy.Configuration;

namespace Atelier.Gateway.Routing;

/// <summary>Updates the proxy's destinations every second.</summary>
internal sealed partial class RouteUpdater(
    IClusterView cluster, Routes routes, InMemoryConfigProvider proxy, TimeProvider clock, ILogger<RouteUpdater> logger)
    : BackgroundService
{
    private static readonly TimeSpan s_period = TimeSpan.FromSeconds(1);

    private readonly SemaphoreSlim _turn = new(1);
    private volatile SiloEndpoint[] _silos = [];

    /// <summary>Gets the silos that receive requests.</summary>
    public IReadOnlyList<SiloEndpoint> Silos => _silos;

    /// <summary>Updates now; false if the cluster does not answer.</summary>
    public async Task<bool> RefreshAsync(CancellationToken cancellation)
    {
        await _turn.WaitAsync(cancellation);
        try
        {
            SiloEndpoint[] now =
                [.. (await cluster.SilosAsync(cancellation)).Where(IsUsable).DistinctBy(silo => silo.Name)];
            if (!now.SequenceEqual(_silos))
            {
                proxy.Update(Routes.All, routes.Clusters(now));
                _silos = now;
                LogSilos(now.Length);
            }

            return true;
        }
        catch (ClusterUnavailableException)
        {
            return false;
        }
        finally
        {
            _turn.Release();
        }
    }

    public override void Dispose()
    {
        _turn.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(s_period, clock);
        try
        {
            do
            {
                await RefreshAsync(stoppingToken);
            }
            while (await timer.WaitForNextTickAsync(stoppingToken));
        }
        catch (OperationCanceledException)
        {
            // The gateway is shutting down.
        }
    }

    private bool IsUsable(SiloEndpoint silo)
    {
        bool usable = Uri.TryCreate(silo.Address, UriKind.Absolute, out Uri? address)
            && address.Scheme == Uri.UriSchemeHttp;
        if (!usable)
        {
            LogUnusable(silo.Name, silo.Address);
        }

        return usable;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Requests are now forwarded to {Count} silos.")]
    private partial void LogSilos(int count);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Silo {Name} gets no requests: '{Address}' is not an HTTP URL.")]
    private partial void LogUnusable(string name, string address);
}
