// Keys that the cluster is known to accept. Any other key may be new or invented. Anybody can send invented keys, so
// lookups are bounded: a lookup never activates a tenant that does not exist, and above a certain rate requests with
// unknown keys are refused while the names and hashes cached here are refreshed in the background.
using System.Collections.Concurrent;
using System.Collections.Frozen;
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Atelier.Gateway.Cluster;
using Atelier.Gateway.Settings;
using Atelier.Gateway.Telemetry;

namespace Atelier.Gateway.Keys;

/// <summary>Outcome of a key's lookup.</summary>
internal enum KeyLookup
{
    /// <summary>The key belongs to a tenant.</summary>
    Found,

    /// <summary>No tenant has the key.</summary>
    Unknown,

    /// <summary>Too many unknown keys arrived; the key was not looked up.</summary>
    Refused,
}

/// <summary>
/// A cache of the cluster's tenants and the hashes of their keys. Its size is bounded by the number of tenants that
/// exist.
/// </summary>
internal sealed class KnownKeys(
    IClusterView cluster, GatewaySettings settings, TimeProvider clock, ILogger<KnownKeys> logger)
{
    private const int BurstSeconds = 5;
    private const int LookupsMax = 256;

    private static readonly TimeSpan s_refreshPause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_logPause = TimeSpan.FromSeconds(10);

    private readonly Lock _lock = new();
    private readonly ConcurrentDictionary<TenantId, Entry> _tenants = new();
    private readonly Entry[] _parts = [.. Enumerable.Range(0, ITenantListGrain.Partitions).Select(_ => new Entry())];

    // Guarded by the lock. A token pays for the lookup of one key that is not found.
    private double _tokens = BurstSeconds * settings.UnknownKeysPerSecond;
    private long _tokensAt = clock.GetTimestamp();
    private int _lookups;
    private long _refused;
    private long _loggedAt;

    /// <summary>Whether the tenant had the key when the cluster was last asked.</summary>
    public bool Has(TenantId tenant, string hash) =>
        _tenants.TryGetValue(Listed(tenant), out Entry? entry) && entry.Hashes.Contains(hash);

    /// <summary>Forgets a key that the cluster does not accept anymore.</summary>
    public void Forget(TenantId tenant, string hash)
    {
        if (_tenants.TryGetValue(Listed(tenant), out Entry? entry))
        {
            entry.Hashes = entry.Hashes.Where(known => known != hash).ToFrozenSet(StringComparer.Ordinal);
        }
    }

    /// <summary>
    /// Asks the cluster for a key that is not in this cache, unless too many recent lookups found nothing.
    /// </summary>
    /// <exception cref="ClusterUnavailableException">The cluster does not answer.</exception>
    public async Task<KeyLookup> FindAsync(TenantId tenant, string hash, CancellationToken cancellation)
    {
        if (!TryBegin())
        {
            _ = RefreshInBackgroundAsync(Listed(tenant));
            return KeyLookup.Refused;
        }

        // A lookup is charged even if the client disconnects during it, because it costs the cluster the same calls.
        bool isCharged = true;
        try
        {
            bool found = await LookUpAsync(Listed(tenant), cancellation) && Has(tenant, hash);
            isCharged = !found;
            return found ? KeyLookup.Found : KeyLookup.Unknown;
        }
        catch (ClusterUnavailableException)
        {
            isCharged = false;
            throw;
        }
        finally
        {
            End(isCharged);
        }
    }

    // The cache identifies a tenant by its name alone; a name refers to the tenant that has it now.
    private static TenantId Listed(TenantId tenant) => new(tenant.Name);

    private async Task<bool> LookUpAsync(TenantId tenant, CancellationToken cancellation)
    {
        if (!_tenants.ContainsKey(tenant))
        {
            await RefreshNamesAsync(TenantList.PartOf(tenant), cancellation);
        }

        if (!_tenants.TryGetValue(tenant, out Entry? entry))
        {
            return false;
        }

        await RefreshKeysAsync(tenant, entry, cancellation);
        return true;
    }

    private async Task RefreshNamesAsync(int part, CancellationToken cancellation)
    {
        foreach (TenantId tenant in await cluster.TenantsAsync(part, cancellation))
        {
            _tenants.TryAdd(tenant, new Entry());
        }
    }

    private async Task RefreshKeysAsync(TenantId tenant, Entry entry, CancellationToken cancellation) =>
        entry.Hashes = (await cluster.KeysAsync(tenant, cancellation)).ToFrozenSet(StringComparer.Ordinal);

    // While lookups are refused, new tenants and keys are still found: each partition of the tenant list, and each
    // tenant of a refused key, is read at most once a second.
    private async Task RefreshInBackgroundAsync(TenantId tenant)
    {
        try
        {
            int part = TenantList.PartOf(tenant);
            if (!_tenants.ContainsKey(tenant) && _parts[part].TryBeginRefresh(clock, s_refreshPause))
            {
                await RefreshNamesAsync(part, CancellationToken.None);
            }

            if (_tenants.TryGetValue(tenant, out Entry? entry) && entry.TryBeginRefresh(clock, s_refreshPause))
            {
                await RefreshKeysAsync(tenant, entry, CancellationToken.None);
            }
        }
        catch (ClusterUnavailableException)
        {
            // The next refused request retries; the cluster view has counted this failure.
        }
    }

    private bool TryBegin()
    {
        long now = clock.GetTimestamp(), refused;
        lock (_lock)
        {
            Refill(now);
            if (_tokens >= 1 && _lookups < LookupsMax)
            {
                _lookups++;
                return true;
            }

            _refused++;
            if (_loggedAt != 0 && clock.GetElapsedTime(_loggedAt, now) < s_logPause)
            {
                return false;
            }

            (refused, _refused, _loggedAt) = (_refused, 0, now);
        }

        logger.UnknownKeys(refused);
        return false;
    }

    private void End(bool isCharged)
    {
        lock (_lock)
        {
            _lookups--;
            if (isCharged)
            {
                Refill(clock.GetTimestamp());
                _tokens = Math.Max(0, _tokens - 1);
            }
        }
    }

    private void Refill(long now)
    {
        double gained = clock.GetElapsedTime(_tokensAt, now).TotalSeconds * settings.UnknownKeysPerSecond;
        (_tokens, _tokensAt) = (Math.Min(BurstSeconds * settings.UnknownKeysPerSecond, _tokens + gained), now);
    }

    // The hashes of a tenant's keys, or the refresh time of one partition of the tenant list.
    private sealed class Entry
    {
        private long _refreshedAt;

        public volatile FrozenSet<string> Hashes = FrozenSet<string>.Empty;

        public bool TryBeginRefresh(TimeProvider clock, TimeSpan pause)
        {
            long last = Interlocked.Read(ref _refreshedAt), now = clock.GetTimestamp();
            return (last == 0 || clock.GetElapsedTime(last, now) >= pause)
                && Interlocked.CompareExchange(ref _refreshedAt, now, last) == last;
        }
    }
}
