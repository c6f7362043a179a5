// A simulated day of requests to one pool of devices: tides, bursts and a quiet night. It is a function of its seed
// alone, so that ways to scale the pool are compared under the same load.
namespace Atelier.Cli.Bench.Elasticity;

/// <summary>A request for a picture.</summary>
/// <param name="At">When it arrives, in seconds since the day began.</param>
/// <param name="Work">Seconds that a device of speed 1 needs for it.</param>
internal readonly record struct ElasticRequest(double At, double Work);

/// <summary>A day's load, and the pool that serves it.</summary>
internal sealed record ElasticDay
{
    /// <summary>Length of a day in seconds.</summary>
    public const double Length = 24 * 3600;

    // Seconds of work of a request: few, usual or many steps.
    private static readonly double[] s_works = [2, 4, 8];

    /// <summary>The requests, in order of arrival.</summary>
    public required IReadOnlyList<ElasticRequest> Requests { get; init; }

    /// <summary>Seconds from the order of a device until it takes work: its node, its image, its model.</summary>
    public required double ColdStart { get; init; }

    /// <summary>Work that a device does per second.</summary>
    public required double Speed { get; init; }

    /// <summary>Minimum number of devices.</summary>
    public required int Minimum { get; init; }

    /// <summary>Wait in seconds within which 95 of 100 requests of a minute must begin.</summary>
    public required double Target { get; init; }

    /// <summary>The day of a seed.</summary>
    public static ElasticDay Of(int seed)
    {
        var random = new Random(seed);
        double Between(double from, double to) => from + (random.NextDouble() * (to - from));

        double coldStart = Between(30, 180), target = coldStart + Between(30, 60);
        double speed = random.Next(2) == 0 ? 1 : 2.5;
        int minimum = random.Next(2);
        double peak = Between(3, 20), low = Between(0.05, 0.4), noon = Between(0, Length);
        double night = Between(0, Length), nightLength = Between(4, 9) * 3600;
        double nightRate = Between(1, 8) / 3600 * s_works.Average();
        var bursts = new (double From, double To, double Factor)[random.Next(4, 13)];
        for (int i = 0; i < bursts.Length; i++)
        {
            double from = Between(0, Length);
            bursts[i] = (from, from + Between(180, 1200), Between(1.5, 6));
        }

        // Work that arrives per second.
        double Rate(double at)
        {
            if ((at - night + Length) % Length < nightLength)
            {
                return nightRate;
            }

            double tide = low + ((1 - low) * Math.Pow(Math.Cos(Math.PI * (at - noon) / Length), 2));
            double burst = bursts.Where(one => at >= one.From && at < one.To).Select(one => one.Factor)
                .DefaultIfEmpty(1).Max();
            return peak * tide * burst;
        }

        var requests = new List<ElasticRequest>();
        double most = peak * bursts.Max(one => one.Factor);
        double at = 0;
        while (true)
        {
            at -= Math.Log(1 - random.NextDouble()) * s_works.Average() / most;
            if (at >= Length)
            {
                break;
            }

            // Random arrivals of a rate that changes: some of those of the largest rate.
            bool arrives = random.NextDouble() * most < Rate(at);
            double work = s_works[random.Next(s_works.Length)];
            if (arrives)
            {
                requests.Add(new ElasticRequest(at, work));
            }
        }

        return new ElasticDay
        {
            Requests = requests, ColdStart = coldStart, Speed = speed, Minimum = minimum, Target = target,
        };
    }
}
