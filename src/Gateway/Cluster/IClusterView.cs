// The calls that the gateway itself makes to the cluster.
using Atelier.Contracts;
using Atelier.Contracts.Cluster;

namespace Atelier.Gateway.Cluster;

/// <summary>A gateway's view of the cluster: its tenants, keys and silos.</summary>
internal interface IClusterView
{
    /// <summary>Whether a key, given by its hash, is one of the tenant's current keys.</summary>
    /// <exception cref="ClusterUnavailableException">The cluster does not answer.</exception>
    Task<bool> HasKeyAsync(TenantId tenant, string hash, CancellationToken cancellation);

    /// <summary>The hashes of a tenant's keys; empty if the tenant is closed. The tenant must exist.</summary>
    /// <exception cref="ClusterUnavailableException">The cluster does not answer.</exception>
    Task<string[]> KeysAsync(TenantId tenant, CancellationToken cancellation);

    /// <summary>The tenants in one partition of the tenant list, including closed ones.</summary>
    /// <exception cref="ClusterUnavailableException">The cluster does not answer.</exception>
    Task<TenantId[]> TenantsAsync(int part, CancellationToken cancellation);

    /// <summary>Silos that serve the HTTP API.</summary>
    /// <exception cref="ClusterUnavailableException">The cluster does not answer.</exception>
    Task<SiloEndpoint[]> SilosAsync(CancellationToken cancellation);
}

/// <summary>Thrown when the cluster does not answer.</summary>
/// <param name="inner">The cause, if there is one.</param>
internal sealed class ClusterUnavailableException(Exception? inner = null)
    : Exception("The cluster does not answer.", inner);
