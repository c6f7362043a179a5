// What a preemption costs, as a bound that the simulation's tests hold, for estimates.
namespace Atelier.Cli.Bench.Goodput;

/// <summary>The cost of a preemption.</summary>
internal static class LossModel
{
    /// <summary>Seconds from the loss of a device until its replacement begins, as assumed for estimates.</summary>
    public const double ReplacedAfter = 90;

    /// <summary>
    /// Seconds for which a preemption stops a stage, at most: the step in progress is computed again when a trainer
    /// leaves, the others do its share until its replacement joins, and all agree on a world both times. A device takes
    /// over more than its share only if the batch has several shards for each.
    /// </summary>
    /// <param name="step">Seconds of a step.</param>
    public static double LossSeconds(double step) => 5 + (2 * step);

    /// <summary>Factor by which a stage takes longer; infinite if it does not advance.</summary>
    /// <param name="devices">Number of devices.</param>
    /// <param name="rate">Preemptions per device and hour.</param>
    /// <param name="step">Seconds of a step.</param>
    public static double Slowdown(int devices, double rate, double step)
    {
        double lost = rate / 3600 * ((devices * LossSeconds(step)) + ReplacedAfter);
        return lost < 1 ? 1 / (1 - lost) : double.PositiveInfinity;
    }
}
