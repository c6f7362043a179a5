// When devices are taken, and when their replacements come: a function of seed and settings alone, so that different
// ways to train are compared under the same losses.
namespace Atelier.Cli.Bench.Goodput;

/// <summary>A device is taken.</summary>
/// <param name="At">When, in seconds.</param>
/// <param name="Place">Which of the ordered devices it is.</param>
internal readonly record struct Preemption(double At, int Place);

/// <summary>The preemptions of a time.</summary>
internal static class PreemptionTrace
{
    /// <summary>Preemptions at random times, exponentially distributed for each device while it is there.</summary>
    /// <param name="settings">Number of devices, rate and time to replace one.</param>
    /// <param name="from">Time of the first loss at the earliest, in seconds.</param>
    /// <param name="to">End of the trace, in seconds.</param>
    /// <param name="seed">Seed of the random times.</param>
    public static IReadOnlyList<Preemption> Of(GoodputSettings settings, double from, double to, int seed)
    {
        var random = new Random(seed);
        var all = new List<Preemption>();
        for (int place = 0; place < settings.Devices && settings.Rate > 0; place++)
        {
            double Next() => -Math.Log(1 - random.NextDouble()) * 3600 / settings.Rate;
            for (double at = from + Next(); at < to; at += settings.ReplacedAfter + Next())
            {
                all.Add(new Preemption(at, place));
            }
        }

        return [.. all.OrderBy(one => one.At)];
    }

    /// <summary>Seconds in which devices were missing, summed over devices, until the given time.</summary>
    public static double Missing(IEnumerable<Preemption> trace, double replacedAfter, double until) =>
        trace.Sum(one => Math.Clamp(until - one.At, 0, replacedAfter));
}
