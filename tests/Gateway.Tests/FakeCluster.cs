// A cluster that answers a gateway's two questions from memory.
using System.Collections.Concurrent;
using Atelier.Contracts;
using Atelier.Gateway.Routing;

namespace Atelier.Gateway.Tests;

/// <summary>Keys and silos in memory.</summary>
internal sealed class FakeCluster : IClusterView
{
    private readonly ConcurrentDictionary<string, TenantId> _keys = new(StringComparer.Ordinal);

    /// <summary>Whether the cluster does not answer.</summary>
    public volatile bool IsAway;

    /// <summary>What it says of its silos.</summary>
    public volatile SiloEndpoint[] Silos = [];

    public string NewKey(string tenant)
    {
        string key = ApiKey.New(new TenantId(tenant));
        _keys[ApiKey.HashOf(key)] = new TenantId(tenant);
        return key;
    }

    public void Revoke(string key) => _keys.TryRemove(ApiKey.HashOf(key), out _);

    public Task<bool> HasKeyAsync(TenantId tenant, string hash, CancellationToken cancellation) =>
        IsAway ? throw new ClusterUnavailableException() : Task.FromResult(_keys.TryGetValue(hash, out TenantId owner) && owner == tenant);

    public Task<SiloEndpoint[]> SilosAsync(CancellationToken cancellation) =>
        IsAway ? throw new ClusterUnavailableException() : Task.FromResult(Silos);
}
