// The proxy's destinations, kept equal to the silos of the cluster's membership. While the cluster does not answer, the
// last known silos remain in use.
using Atelier.Contracts.Cluster;
using Atelier.Gateway.Cluster;
using Atelier.Gateway.Telemetry;
using Yarp.ReverseProxy.Configuration;

namespace Atelier.Gateway.Routing;

/// <summary>Updates the proxy's destinations every second.</summary>
internal sealed class RouteUpdater(
    IClusterView cluster, Routes routes, InMemoryConfigProvider proxy, TimeProvider clock,
    GatewayInstruments instruments, ILogger<RouteUpdater> logger)
    : BackgroundService
{
    private static readonly TimeSpan s_period = TimeSpan.FromSeconds(1);

    private readonly SemaphoreSlim _turn = new(1);
    private volatile SiloEndpoint[] _silos = [];

    // Guarded by _turn: whether the last call was not answered, and the silos whose addresses are not usable.
    private bool _isSilent;
    private HashSet<SiloEndpoint> _unusable = [];

    /// <summary>Gets the silos that receive requests.</summary>
    public IReadOnlyList<SiloEndpoint> Silos => _silos;

    /// <summary>Updates the destinations now; returns false if the cluster does not answer.</summary>
    public async Task<bool> RefreshAsync(CancellationToken cancellation)
    {
        await _turn.WaitAsync(cancellation);
        try
        {
            SiloEndpoint[] all = await cluster.SilosAsync(cancellation);
            SetSilent(false);
            LogUnusable(all);
            SiloEndpoint[] now = [.. all.Where(IsUsable).DistinctBy(silo => silo.Name)];
            if (!now.SequenceEqual(_silos))
            {
                SiloEndpoint[] before = _silos;
                proxy.Update(Routes.All, routes.Clusters(now));
                _silos = now;
                instruments.SetSilos(now.Length);
                LogChanges(before, now);
            }

            return true;
        }
        catch (ClusterUnavailableException)
        {
            instruments.Unanswered();
            SetSilent(true);
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

    private static bool IsUsable(SiloEndpoint silo) =>
        Uri.TryCreate(silo.Address, UriKind.Absolute, out Uri? address) && address.Scheme == Uri.UriSchemeHttp;

    private void SetSilent(bool isSilent)
    {
        if (isSilent && !_isSilent)
        {
            logger.ClusterSilent(_silos.Length);
        }
        else if (!isSilent && _isSilent)
        {
            logger.ClusterAnswers();
        }

        _isSilent = isSilent;
    }

    private void LogUnusable(SiloEndpoint[] all)
    {
        HashSet<SiloEndpoint> unusable = [.. all.Where(silo => !IsUsable(silo))];
        foreach (SiloEndpoint silo in unusable.Except(_unusable))
        {
            logger.RouteUnusable(silo.Name, silo.Address);
        }

        _unusable = unusable;
    }

    private void LogChanges(SiloEndpoint[] before, SiloEndpoint[] now)
    {
        foreach (SiloEndpoint silo in before.Except(now))
        {
            logger.RouteRemoved(silo.Name, silo.Address, now.Length);
        }

        foreach (SiloEndpoint silo in now.Except(before))
        {
            logger.RouteAdded(silo.Name, silo.Address, now.Length);
        }
    }
}
