// A gateway is ready when a silo answers that it is.
using Atelier.Gateway.Routing;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Yarp.ReverseProxy;
using Yarp.ReverseProxy.Model;

namespace Atelier.Gateway.Hosting;

/// <summary>Whether there is a silo that is ready.</summary>
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
            lifetime.ApplicationStopping.IsCancellationRequested ? HealthCheckResult.Unhealthy("This gateway stops.")
            : ready > 0 ? HealthCheckResult.Healthy()
            : HealthCheckResult.Unhealthy($"Of {silos.Length} silos that are known, none is ready."));
    }
}
