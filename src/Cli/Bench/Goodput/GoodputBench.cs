// What preemptions cost: simulated stages under random losses, beside checkpoint and restart under the same ones.

namespace Atelier.Cli.Bench.Goodput;

/// <summary>What a simulated time has shown.</summary>
/// <param name="Rate">Preemptions per device and hour.</param>
/// <param name="Lost">Number of preemptions.</param>
/// <param name="Goodput">Applied steps x time of an undisturbed step / time.</param>
/// <param name="OfPresent">The same per device-second of the devices that were there.</param>
/// <param name="LossSeconds">Seconds that a preemption cost, besides the missing device itself; on average.</param>
/// <param name="Restart">Goodput of checkpoint and restart under the same preemptions.</param>
internal sealed record GoodputFigures(
    double Rate, int Lost, double Goodput, double OfPresent, double LossSeconds, double Restart);

/// <summary>Measures simulated stages.</summary>
internal static class GoodputBench
{
    /// <summary>Simulates a stage under random preemptions.</summary>
    /// <param name="settings">The stage and its devices.</param>
    /// <param name="hours">Simulated time.</param>
    /// <param name="seed">Seed of the preemptions.</param>
    public static GoodputFigures Measure(GoodputSettings settings, double hours, int seed)
    {
        (double shard, double step) = GoodputSimulation.Calibrate(settings);
        GoodputSimulation run = Begin(settings, shard);
        (double from, int steps) = (run.Now, run.Steps);
        double to = from + (3600 * hours);
        IReadOnlyList<Preemption> trace = PreemptionTrace.Of(settings, from, to, seed);
        foreach (Preemption one in trace)
        {
            run.Take(one);
        }

        run.Run(to);
        double useful = (run.Steps - steps) * step, all = to - from;
        double missing = PreemptionTrace.Missing(trace, settings.ReplacedAfter, to) / settings.Devices;
        return new GoodputFigures(
            settings.Rate, trace.Count, useful / all, useful / (all - missing),
            trace.Count == 0 ? 0 : (all - missing - useful) / trace.Count,
            CheckpointRestart.Useful(settings, trace, from, to) / all);
    }

    /// <summary>
    /// Seconds that a single preemption costs, besides the missing device itself, at evenly spread times of a step.
    /// </summary>
    /// <param name="settings">The stage and its devices.</param>
    /// <param name="times">How many times of a step.</param>
    public static IReadOnlyList<double> LossCosts(GoodputSettings settings, int times)
    {
        (double shard, double step) = GoodputSimulation.Calibrate(settings);
        var costs = new List<double>();
        for (int i = 0; i < times; i++)
        {
            GoodputSimulation run = Begin(settings, shard);
            int before = run.Steps;
            double at = run.AppliedAt(before) + (settings.IsNoticed ? settings.NoticeSeconds : 0)
                + (step * (1 + ((i + 0.5) / times)));
            run.Take(new Preemption(at, settings.Devices / 2));
            run.Run(at + settings.ReplacedAfter);
            run.Run(double.PositiveInfinity, () => run.Members == settings.Members);
            int after = run.Steps + 3;
            run.Run(double.PositiveInfinity, () => run.Steps >= after);
            costs.Add(
                run.AppliedAt(after) - run.AppliedAt(before) - ((after - before) * step)
                - (settings.ReplacedAfter / settings.Devices));
        }

        return costs;
    }

    private static GoodputSimulation Begin(GoodputSettings settings, double shard)
    {
        var run = new GoodputSimulation(settings, shard);
        run.Run(double.PositiveInfinity, () => run.Steps >= 3 && run.Members == settings.Members);
        return run;
    }
}
