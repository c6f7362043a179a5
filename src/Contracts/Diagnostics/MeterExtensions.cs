// Counters that are exported before they count. A rate over a series that begins with its first event misses that
// event, so an alert on a rare event would be late by one.
using System.Diagnostics.Metrics;
using System.Numerics;

namespace Atelier.Contracts.Diagnostics;

/// <summary>Creates instruments.</summary>
public static class MeterExtensions
{
    /// <summary>Creates a counter without attributes, whose series begins with 0 instead of the first event.</summary>
    /// <param name="meter">The meter.</param>
    /// <param name="name">Name of the instrument.</param>
    /// <param name="unit">Its unit.</param>
    /// <param name="description">Its description.</param>
    public static Counter<T> CreateCounterAtZero<T>(this Meter meter, string name, string unit, string description)
        where T : struct, INumberBase<T>
    {
        ArgumentNullException.ThrowIfNull(meter);
        Counter<T> counter = meter.CreateCounter<T>(name, unit, description);
        counter.Add(T.Zero);
        return counter;
    }
}
