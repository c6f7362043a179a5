// The cost of a stage: floating-point operations per sample, and the machine's peak rate.
using System.Diagnostics;
using Atelier.Model.Networks;
using static TorchSharp.torch;

namespace Atelier.Model.Training.Runs;

/// <summary>Estimates a stage's cost.</summary>
public static class StageCost
{
    /// <summary>
    /// Floating-point operations of a training step for one sample: a forward pass, plus twice that for the backward
    /// pass.
    /// </summary>
    public static double SampleFlops(StageConfig stage)
    {
        var cost = new MicroDiTCost(stage.Network);
        double forward =
            cost.Caption(stage.CaptionLength) + cost.Evaluation(stage.CaptionLength, stage.StepSettings.MaskRatio);
        return 3 * forward;
    }

    /// <summary>
    /// Measures this machine's peak rate in matrix products of a given precision, in floating-point operations per
    /// second.
    /// </summary>
    public static double MatmulRate(ScalarType type)
    {
        // Larger products come closer to the peak, but take minutes in a precision that the processor does not support
        // natively.
        (double rate, double seconds) = (0, 0);
        for (int size = 256; size <= 2048 && seconds < 0.1; size *= 2)
        {
            using Tensor a = randn(size, size).to(type), b = randn(size, size).to(type);
            seconds = double.PositiveInfinity;
            for (int i = 0; i < 4; i++)
            {
                long start = Stopwatch.GetTimestamp();
                using Tensor product = a.mm(b);
                seconds = Math.Min(seconds, Stopwatch.GetElapsedTime(start).TotalSeconds);
            }

            rate = Math.Max(rate, 2.0 * size * size * size / seconds);
        }

        return rate;
    }
}

/// <summary>The time of a step in a cluster of equal devices, calculated.</summary>
/// <param name="Seconds">Seconds of a step.</param>
/// <param name="ExchangeSeconds">
/// Seconds of the step in which gradients are exchanged; it is assumed that nothing is computed meanwhile.
/// </param>
public readonly record struct ClusterStep(double Seconds, double ExchangeSeconds)
{
    /// <summary>Calculates a step of a stage.</summary>
    /// <param name="stage">The stage.</param>
    /// <param name="parameters">Number of the network's parameters; a gradient has 4 bytes for each.</param>
    /// <param name="devices">Number of devices; no more of them compute than the batch has shards.</param>
    /// <param name="flops">Sustained rate of a device, in floating-point operations per second.</param>
    /// <param name="bits">Network of a device in bits per second, in each direction.</param>
    public static ClusterStep Of(StageConfig stage, double parameters, int devices, double flops, double bits)
    {
        int shards = stage.StepSettings.Shards, members = Math.Min(devices, shards);
        double shard = StageCost.SampleFlops(stage) * stage.StepSettings.Microbatch / flops;

        // Each device sends a sum of its shards to the owners of the slices, and its own slice's total to all.
        double exchange = 2 * 4 * parameters * (members - 1) / members * 8 / bits;
        return new ClusterStep((Math.Ceiling(shards / (double)members) * shard) + exchange, exchange);
    }
}
