// The usual way to train on preemptible devices, for comparison: a job of a fixed size that stops when a device is
// lost, waits for its replacement, and starts again from the last checkpoint.
namespace Atelier.Cli.Bench.Goodput;

/// <summary>Training by checkpoint and restart.</summary>
internal static class CheckpointRestart
{
    /// <summary>Seconds to start the processes of a job, favorable to it; reading the checkpoint is added.</summary>
    public const double StartSeconds = 30;

    /// <summary>Seconds between two checkpoints. Writing them takes no time, which is favorable, too.</summary>
    public const double IntervalSeconds = 1800;

    /// <summary>Seconds of training that are not lost at the end of a time.</summary>
    /// <param name="settings">The stage and its devices.</param>
    /// <param name="trace">The preemptions.</param>
    /// <param name="from">Beginning, in seconds.</param>
    /// <param name="to">End, in seconds.</param>
    public static double Useful(
        GoodputSettings settings, IReadOnlyList<Preemption> trace, double from, double to)
    {
        double start = StartSeconds + (settings.StateBytes / settings.Bandwidth);
        double kept = 0, runsFrom = from;
        foreach (Preemption one in trace.Where(one => one.At < to))
        {
            if (one.At > runsFrom)
            {
                kept += Math.Floor((one.At - runsFrom) / IntervalSeconds) * IntervalSeconds;
            }

            // Another loss during the wait begins it again.
            runsFrom = Math.Max(runsFrom, one.At + settings.ReplacedAfter + start);
        }

        return kept + Math.Max(0, to - runsFrom);
    }
}
