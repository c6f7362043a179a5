// The gateway's own connection to the cluster. A background service connects, and retries without limit, because the
// gateway may start before the cluster and outlive it.
using Atelier.Contracts;
using Atelier.Contracts.Cluster;
using Atelier.Contracts.Tenants;
using Atelier.Gateway.Settings;
using Atelier.Gateway.Telemetry;
using Atelier.ServiceDefaults;
using Orleans.Configuration;

namespace Atelier.Gateway.Cluster;

/// <summary>An Orleans client that stays connected while the cluster is reachable.</summary>
internal sealed class OrleansClusterView(
    GatewaySettings settings, TimeProvider clock, IConfiguration configuration, GatewayInstruments instruments,
    ILoggerFactory loggers, ILogger<OrleansClusterView> logger)
    : BackgroundService, IClusterView
{
    private static readonly TimeSpan s_callTimeout = TimeSpan.FromSeconds(4);
    private static readonly TimeSpan s_connectPause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_refreshPeriod = TimeSpan.FromSeconds(2);

    // When a silo dies, calls to its tenant grains fail for as long as a call's timeout; then the grains activate on
    // other silos.
    private static readonly TimeSpan s_askPause = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(8);

    private volatile IClusterClient? _client;

    public Task<bool> HasKeyAsync(TenantId tenant, string hash, CancellationToken cancellation) =>
        AskAsync(client => client.GetGrain<ITenantGrain>(tenant.Value).HasKeyAsync(hash), cancellation);

    public async Task<string[]> KeysAsync(TenantId tenant, CancellationToken cancellation)
    {
        TenantView? view = await AskAsync(
            client => client.GetGrain<ITenantGrain>(tenant.Value).ViewAsync(), cancellation);
        return view is null ? [] : [.. view.Keys.Select(key => key.Hash)];
    }

    public Task<TenantId[]> TenantsAsync(int part, CancellationToken cancellation) =>
        AskAsync(client => client.GetGrain<ITenantListGrain>(part).ReadAsync(), cancellation);

    private async Task<T> AskAsync<T>(Func<IClusterClient, Task<T>> ask, CancellationToken cancellation)
    {
        long start = clock.GetTimestamp();
        while (true)
        {
            try
            {
                return await ask(Client()).WaitAsync(cancellation);
            }
            catch (Exception error) when (
                error is not ClusterUnavailableException && !cancellation.IsCancellationRequested)
            {
                instruments.Unanswered();
                if (clock.GetElapsedTime(start) > s_patience)
                {
                    throw new ClusterUnavailableException(error);
                }
            }

            await Task.Delay(s_askPause, clock, cancellation);
        }
    }

    public async Task<SiloEndpoint[]> SilosAsync(CancellationToken cancellation)
    {
        try
        {
            return await Client().GetGrain<IClusterGrain>(0).SilosAsync().WaitAsync(cancellation);
        }
        catch (Exception error) when (error is not ClusterUnavailableException && !cancellation.IsCancellationRequested)
        {
            throw new ClusterUnavailableException(error);
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            while (true)
            {
                try
                {
                    await ConnectAsync(stoppingToken);
                }
                catch (Exception error) when (!stoppingToken.IsCancellationRequested)
                {
                    logger.NotConnected(error.Message);
                }

                await Task.Delay(s_connectPause, clock, stoppingToken);
            }
        }
        catch (OperationCanceledException)
        {
            // The gateway is shutting down.
        }
    }

    private async Task ConnectAsync(CancellationToken stopping)
    {
        var services = new ServiceCollection();
        services.AddSingleton(loggers);
        services.AddLogging();
        services.AddOrleansClient(Configure);
        await using ServiceProvider provider = services.BuildServiceProvider();
        IHostedService[] parts = [.. provider.GetServices<IHostedService>()];
        foreach (IHostedService part in parts)
        {
            await part.StartAsync(stopping);
        }

        logger.Connected();
        _client = provider.GetRequiredService<IClusterClient>();
        try
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, clock, stopping);
        }
        finally
        {
            _client = null;
            foreach (IHostedService part in parts)
            {
                await part.StopAsync(CancellationToken.None);
            }
        }
    }

    private void Configure(IClientBuilder client)
    {
        client.Configure<ClusterOptions>(
            options => (options.ClusterId, options.ServiceId) = (settings.ClusterId, settings.ClusterId));
        client.Configure<ClientMessagingOptions>(options => options.ResponseTimeout = s_callTimeout);

        // New silos must be found within seconds, even after all earlier ones have left. So must the types of their
        // grains: the silo that was asked before may have been shutting down and have reported no types.
        client.Configure<GatewayOptions>(options => options.GatewayListRefreshPeriod = s_refreshPeriod);
        client.Configure<TypeManagementOptions>(options => options.TypeMapRefreshInterval = s_refreshPeriod);
        if (settings.StoreOptions() is { } store)
        {
            client.UseRedisClustering(options => options.ConfigurationOptions = store);
        }
        else
        {
            client.UseStaticClustering(settings.SiloEndpoints());
        }

        if (settings.Tls)
        {
            client.UseClusterTransport(settings.SecretBytes(), settings.AcceptedSecretBytes());
        }

        if (configuration.ExportsTelemetry())
        {
            client.AddActivityPropagation();
        }

        client.UseConnectionRetryFilter(async (error, cancellation) =>
        {
            logger.NotConnected(error.Message);
            await Task.Delay(s_connectPause, clock, cancellation);
            return true;
        });
    }

    private IClusterClient Client() => _client ?? throw new ClusterUnavailableException();
}
