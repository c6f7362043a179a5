// How fast a worker denoises, which predicts how many devices a pool needs.
namespace Atelier.Grains.Workers;

/// <summary>Operations per second of a device's evaluations, averaged over the last minute of evaluating.</summary>
internal sealed class SpeedMeter
{
    // Time constant of the average. Time in which the device evaluates nothing does not count.
    private const double Window = 60;

    private double _operations, _seconds;

    // Read by the worker's loop while an evaluation, which runs as a pending call, may write it.
    private double _speed;

    /// <summary>Operations per second; null before the first evaluation.</summary>
    public double? Speed => Volatile.Read(ref _speed) is > 0 and var speed ? speed : null;

    /// <summary>Counts an evaluation. There is one at a time.</summary>
    /// <param name="operations">Its floating-point operations, as predicted for the queue.</param>
    /// <param name="time">How long it took.</param>
    public void Count(double operations, TimeSpan time)
    {
        double kept = Math.Exp(-time.TotalSeconds / Window);
        (_operations, _seconds) = ((_operations * kept) + operations, (_seconds * kept) + time.TotalSeconds);
        if (_seconds > 0)
        {
            Volatile.Write(ref _speed, _operations / _seconds);
        }
    }
}
