// The calls that the gateway itself makes to the cluster.
using Atelier.Contracts;
using Atelier.Contracts.Cluster;

namespace Atelier.Gateway.Cluster;

/// <summary>The cluster, as far as a gateway needs it.</summary>
internal interface IClusterView
{
    /// <summary>Whether a key, given by its hash, is one of the tenant's current keys.</summary>
    /// <exception cref="ClusterUnavailableException">The cluster does not answer.</exception>
    Task<bool> HasKeyAsync(TenantId tenant, string hash, CancellationToken cancellation);

    /// <summary>The hashes of a tenant's keys; empty if it is closed. Only for tenants that exist.</summary>
    /// <exception cref="ClusterUnavailableException">The cluster does not answer.</exception>
    Task<string[]> KeysAsync(TenantId tenant, CancellationToken cancellation);

    /// <summary>The tenants in one partition of the list, including closed ones.</summary>
    /// <exception cref="ClusterUnavailableException">The cluster does not answer.</exception>
    Task<TenantId[]> TenantsAsync(int part, CancellationToken cancellation);

    /// <summary>Silos that serve the HTTP API.</summary>
    /// <exception cref="ClusterUnavailableException">The cluster does not answer.</exception>
    Task<SiloEndpoint[]> SilosAsync(CancellationToken cancellation);
}

/// <summary>The cluster does not answer.</summary>
/// <param name="inner">The cause, if there is one.</param>
internal sealed class ClusterUnavailableException(Exception? inner = null)
    : Exception("The cluster does not answer.", inner);
