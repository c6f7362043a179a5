// Ways to scale a pool of devices, compared over simulated days.
using System.Collections.Immutable;

namespace Atelier.Cli.Bench.Elasticity;

/// <summary>A day's best results.</summary>
/// <param name="Seed">Seed of the day.</param>
/// <param name="Devices">The smallest fixed number of devices that meets the goal.</param>
/// <param name="Fixed">Its figures.</param>
/// <param name="PerDevice">
/// The requests in flight per device with which Kubernetes' autoscaler meets the goal at the least cost; null if it
/// does not meet it with any.
/// </param>
/// <param name="InFlight">The autoscaler's figures with each of <see cref="ElasticityBench.Constants"/>.</param>
internal sealed record ElasticityFigures(
    int Seed, int Devices, ElasticFigures Fixed, double? PerDevice, IReadOnlyList<ElasticFigures> InFlight)
{
    /// <summary>The figures with <see cref="Grains.Scaling.PoolScale"/>.</summary>
    public required ElasticFigures Predicted { get; init; }

    /// <summary>
    /// Device-hours with which the autoscaler meets the goal; null if it does not meet it with any constant.
    /// </summary>
    public double? InFlightHours => PerDevice is { } constant
        ? InFlight[ElasticityBench.Constants.IndexOf(constant)].DeviceHours : null;
}

/// <summary>Compares scalers.</summary>
internal static class ElasticityBench
{
    /// <summary>Share of minutes in which the wait must be within the target.</summary>
    public const double Goal = 0.99;

    private const int DevicesMax = 1024;

    /// <summary>The autoscaler's constants that are tried: requests in flight per device.</summary>
    public static ImmutableArray<double> Constants { get; } = [0.5, 1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128];

    /// <summary>Measures a day.</summary>
    public static ElasticityFigures Measure(int seed)
    {
        ElasticDay day = ElasticDay.Of(seed);
        (int devices, ElasticFigures best) = BestFixed(day);
        ElasticFigures[] inFlight =
            [.. Constants.Select(constant => ElasticPool.Run(day, new InFlightScaler(constant, day.Minimum)))];
        int[] met = [.. Enumerable.Range(0, inFlight.Length).Where(i => inFlight[i].MinutesWithin >= Goal)];
        return new ElasticityFigures(
            seed, devices, best, met.Length == 0 ? null : Constants[met.MinBy(i => inFlight[i].DeviceHours)],
            inFlight)
        {
            Predicted = ElasticPool.Run(day, new PoolScaler(day, DevicesMax)),
        };
    }

    private static (int Devices, ElasticFigures Figures) BestFixed(ElasticDay day)
    {
        (int least, int most) = (0, DevicesMax);
        while (most - least > 1)
        {
            int middle = (least + most) / 2;
            bool isEnough = ElasticPool.Run(day, new FixedScaler(middle)).MinutesWithin >= Goal;
            (least, most) = isEnough ? (least, middle) : (middle, most);
        }

        return (most, ElasticPool.Run(day, new FixedScaler(most)));
    }
}
