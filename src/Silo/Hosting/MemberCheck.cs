// The readiness of a silo: from the time it has joined the cluster until it leaves.
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Atelier.Silo.Hosting;

/// <summary>Healthy while the silo is an active member of its cluster.</summary>
internal sealed class MemberCheck(ISiloStatusOracle silos, IHostApplicationLifetime lifetime) : IHealthCheck
{
    public Task<HealthCheckResult> CheckHealthAsync(
        HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(
            silos.CurrentStatus == SiloStatus.Active && !lifetime.ApplicationStopping.IsCancellationRequested
            ? HealthCheckResult.Healthy()
            : HealthCheckResult.Unhealthy(
                $"The silo is not an active member of its cluster; its status is {silos.CurrentStatus}."));
}
