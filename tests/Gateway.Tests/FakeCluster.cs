// A cluster that answers a gateway's calls from memory.
using System.Collections.Concurrent;
using Atelier.Contracts;
using Atelier.Contracts.Cluster;
using Atelier.Contracts.Tenants;
using Atelier.Gateway.Cluster;

namespace Atelier.Gateway.Tests;

/// <summary>Keys and silos in memory.</summary>
internal sealed class FakeCluster : IClusterView
{
    private readonly ConcurrentDictionary<string, TenantId> _keys = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<TenantId, byte> _tenants = new();
    private int _calls;

    /// <summary>Whether calls go unanswered.</summary>
    public volatile bool IsAway;

    /// <summary>What calls about tenants and keys wait for before they answer.</summary>
    public volatile Task Answers = Task.CompletedTask;

    /// <summary>The silos that it reports.</summary>
    public volatile SiloEndpoint[] Silos = [];

    /// <summary>Number of calls about tenants and keys.</summary>
    public int Calls => Volatile.Read(ref _calls);

    /// <summary>Tenants whose grains were called.</summary>
    public ConcurrentDictionary<TenantId, int> Called { get; } = new();

    public string NewKey(string tenant)
    {
        string key = ApiKey.New(new TenantId(tenant));
        _tenants[new TenantId(new TenantId(tenant).Name)] = 0;
        _keys[ApiKey.HashOf(key)] = new TenantId(tenant);
        return key;
    }

    public void Revoke(string key) => _keys.TryRemove(ApiKey.HashOf(key), out _);

    public async Task<bool> HasKeyAsync(TenantId tenant, string hash, CancellationToken cancellation)
    {
        await CallAsync(tenant, cancellation);
        return _keys.TryGetValue(hash, out TenantId owner) && owner == tenant;
    }

    public async Task<string[]> KeysAsync(TenantId tenant, CancellationToken cancellation)
    {
        await CallAsync(tenant, cancellation);
        return [.. _keys.Where(pair => pair.Value.Name == tenant.Value).Select(pair => pair.Key)];
    }

    public async Task<TenantId[]> TenantsAsync(int part, CancellationToken cancellation)
    {
        await CallAsync(null, cancellation);
        return [.. _tenants.Keys.Where(tenant => TenantList.PartOf(tenant) == part)];
    }

    public Task<SiloEndpoint[]> SilosAsync(CancellationToken cancellation) =>
        IsAway ? throw new ClusterUnavailableException() : Task.FromResult(Silos);

    private Task CallAsync(TenantId? tenant, CancellationToken cancellation)
    {
        if (IsAway)
        {
            throw new ClusterUnavailableException();
        }

        Interlocked.Increment(ref _calls);
        if (tenant is { } called)
        {
            Called.AddOrUpdate(called, 1, (_, calls) => calls + 1);
        }

        return Answers.WaitAsync(cancellation);
    }
}
