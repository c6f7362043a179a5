// All that the gateway asks the cluster itself.
using Atelier.Contracts;
using Atelier.Contracts.Cluster;

namespace Atelier.Gateway.Cluster;

/// <summary>The cluster, as far as a gateway needs it.</summary>
internal interface IClusterView
{
    /// <summary>Whether a key, given by its hash, is the tenant's now.</summary>
    /// <exception cref="ClusterUnavailableException">The cluster does not answer.</exception>
    Task<bool> HasKeyAsync(TenantId tenant, string hash, CancellationToken cancellation);

    /// <summary>The hashes of a tenant's keys; empty where it is closed. Asked only of tenants that exist.</summary>
    /// <exception cref="ClusterUnavailableException">The cluster does not answer.</exception>
    Task<string[]> KeysAsync(TenantId tenant, CancellationToken cancellation);

    /// <summary>The tenants in a part of the list, closed ones among them.</summary>
    /// <exception cref="ClusterUnavailableException">The cluster does not answer.</exception>
    Task<TenantId[]> TenantsAsync(int part, CancellationToken cancellation);

    /// <summary>Silos that serve the HTTP API.</summary>
    /// <exception cref="ClusterUnavailableException">The cluster does not answer.</exception>
    Task<SiloEndpoint[]> SilosAsync(CancellationToken cancellation);
}

/// <summary>The cluster does not answer.</summary>
/// <param name="inner">What happened instead.</param>
internal sealed class ClusterUnavailableException(Exception? inner = null)
    : Exception("The cluster does not answer.", inner);
