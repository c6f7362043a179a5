// A batch as the rules see it: numbers, without tensors.
namespace Atelier.Training;

/// <summary>The loss of one sample.</summary>
/// <param name="Sample">Its index in the data.</param>
/// <param name="Loss">Its weighted loss.</param>
public sealed record SampleLoss(int Sample, float Loss)
{
    /// <summary>The one with the larger loss, where NaN counts as the largest; the first if they are equal.</summary>
    public static SampleLoss? Larger(SampleLoss? first, SampleLoss? second) =>
        second is null ? first
        : first is null ? second
        : float.IsNaN(first.Loss) || first.Loss >= second.Loss ? first
        : second;
}

/// <summary>
/// The totals of a batch after its shards are added up: everything that a decision about it depends on.
/// </summary>
/// <param name="LossSum">Sum of its samples' losses.</param>
/// <param name="GradientNorm">2-norm of the mean gradient; NaN if the batch has no samples.</param>
/// <param name="Samples">Samples in the sums.</param>
public sealed record BatchOutcome(double LossSum, double GradientNorm, long Samples)
{
    /// <summary>Mean loss of its samples; NaN if it has none.</summary>
    public double Loss => LossSum / Samples;

    /// <summary>Samples excluded from the sums, in the run's order.</summary>
    public IReadOnlyList<BadSample> LeftOut { get; init; } = [];

    /// <summary>
    /// The sample with the largest loss, where NaN counts as the largest; null if single losses are not known.
    /// </summary>
    public SampleLoss? Largest { get; init; }

    /// <summary>Samples whose own loss is not finite.</summary>
    public long NotFinite { get; init; }
}

/// <summary>The result of one step of a run.</summary>
/// <param name="Step">Number of the batch, from 0.</param>
/// <param name="Loss">Mean loss of its samples; NaN if it has none.</param>
/// <param name="GradientNorm">2-norm of the mean gradient; NaN if the batch has no samples.</param>
/// <param name="LearningRate">Learning rate of the update.</param>
/// <param name="Verdict">Whether it was applied.</param>
/// <param name="Seconds">Duration in seconds.</param>
/// <param name="LeftOut">Samples of the batch that could not be trained on.</param>
public readonly record struct StepResult(
    long Step, double Loss, double GradientNorm, double LearningRate, StepVerdict Verdict, double Seconds,
    int LeftOut = 0);
