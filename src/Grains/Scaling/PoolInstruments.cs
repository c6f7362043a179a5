using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Atelier.Contracts.Scaling;

namespace Atelier.Grains.Scaling;

/// <summary>The metrics of pools, on the silos where their grains are active.</summary>
internal sealed class PoolInstruments
{
    private readonly ConcurrentDictionary<string, PoolStatus> _pools = new(StringComparer.Ordinal);

    public PoolInstruments(IMeterFactory meters)
    {
        Meter meter = meters.Create("Atelier.Pools");
        meter.CreateObservableGauge(
            "atelier.pool.silos.wanted", () => Of(pool => pool.Wanted), "{silo}", "Silos that a pool should have.");
        meter.CreateObservableGauge(
            "atelier.pool.silos.ready", () => Of(pool => pool.Ready), "{silo}",
            "Silos of a pool that are members of the cluster.");
        meter.CreateObservableGauge(
            "atelier.pool.backlog", () => Of(pool => pool.Backlog?.TotalSeconds ?? 0), "s",
            "Predicted time in which one device would do all work of a pool; 0 while the speed is unknown.");
    }

    /// <summary>Records the state of a pool.</summary>
    public void Update(string pool, PoolStatus status) => _pools[pool] = status;

    /// <summary>Forgets a pool whose grain has moved.</summary>
    public void Remove(string pool) => _pools.TryRemove(pool, out _);

    private IEnumerable<Measurement<T>> Of<T>(Func<PoolStatus, T> value) where T : struct =>
        _pools.Select(pool => new Measurement<T>(
            value(pool.Value), new KeyValuePair<string, object?>("atelier.pool", pool.Key)));
}
