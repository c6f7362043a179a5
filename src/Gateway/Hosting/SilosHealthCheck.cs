// A gateway is ready when it knows a silo to send requests to.
using Atelier.Gateway.Routing;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Atelier.Gateway.Hosting;

/// <summary>Whether there is a silo.</summary>
internal sealed class SilosHealthCheck(RouteUpdater routes, IHostApplicationLifetime lifetime) : IHealthCheck
{
    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(routes.Silos.Count > 0 && !lifetime.ApplicationStopping.IsCancellationRequested
            ? HealthCheckResult.Healthy()
            : HealthCheckResult.Unhealthy("No silo is known, or this gateway stops."));
}
