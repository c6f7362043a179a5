// Keeps the proxy's silos those of the cluster's membership. When the cluster does not answer, the last ones stay.
using Atelier.Contracts.Cluster;
using Atelier.Gateway.Cluster;
using Yarp.ReverseProxy.Configuration;

namespace Atelier.Gateway.Routing;

/// <summary>Asks the cluster for its silos each second.</summary>
internal sealed partial class RouteUpdater(
    IClusterView cluster, Routes routes, InMemoryConfigProvider proxy, TimeProvider clock, ILogger<RouteUpdater> logger)
    : BackgroundService
{
    private static readonly TimeSpan s_period = TimeSpan.FromSeconds(1);

    private readonly SemaphoreSlim _turn = new(1);
    private volatile SiloEndpoint[] _silos = [];

    /// <summary>Gets the silos that requests go to.</summary>
    public IReadOnlyList<SiloEndpoint> Silos => _silos;

    /// <summary>Asks now; false if the cluster does not answer.</summary>
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
            // The gateway stops.
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

    [LoggerMessage(Level = LogLevel.Information, Message = "Requests now go to {Count} silos.")]
    private partial void LogSilos(int count);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The silo {Name} is left out: '{Address}' is no URL of HTTP.")]
    private partial void LogUnusable(string name, string address);
}
