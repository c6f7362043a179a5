// What a stage costs: floating-point operations of a sample, and how many this machine does in a second.
using System.Diagnostics;
using Atelier.Model.Networks;
using static TorchSharp.torch;

namespace Atelier.Model.Training.Runs;

/// <summary>Estimates a stage's cost.</summary>
public static class StageCost
{
    /// <summary>
    /// Floating-point operations of a training step for one sample: a forward pass, and twice that backwards.
    /// </summary>
    public static double SampleFlops(StageConfig stage)
    {
        var cost = new MicroDiTCost(stage.Network);
        double forward =
            cost.Caption(stage.CaptionLength) + cost.Evaluation(stage.CaptionLength, stage.StepSettings.MaskRatio);
        return 3 * forward;
    }

    /// <summary>Floating-point operations a second of this machine's best matrix product in a precision.</summary>
    public static double MatmulRate(ScalarType type)
    {
        // Larger products come nearer to the peak, but a precision that a processor lacks takes minutes for them.
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
