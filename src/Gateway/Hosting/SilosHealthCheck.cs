// The readiness of a gateway: at least one silo reports that it is ready.
using Atelier.Gateway.Routing;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Yarp.ReverseProxy;
using Yarp.ReverseProxy.Model;

namespace Atelier.Gateway.Hosting;

/// <summary>Healthy while a silo is ready and the gateway is not shutting down.</summary>
internal sealed class SilosHealthCheck(IProxyStateLookup proxy, IHostApplicationLifetime lifetime) : IHealthCheck
{
    public Task<HealthCheckResult> CheckHealthAsync(
        HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        DestinationState[] silos = proxy.TryGetCluster(Routes.Silos, out ClusterState? cluster)
            ? [.. cluster.Destinations.Values]
            : [];
        int ready = silos.Count(silo => silo.Health.Active != DestinationHealth.Unhealthy);
        return Task.FromResult(
            lifetime.ApplicationStopping.IsCancellationRequested
                ? HealthCheckResult.Unhealthy("This gateway is shutting down.")
            : ready > 0 ? HealthCheckResult.Healthy()
            : HealthCheckResult.Unhealthy($"None of the {silos.Length} known silos is ready."));
    }
}
