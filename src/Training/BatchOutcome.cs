// The totals of a batch as plain numbers, without tensors. The rules decide from these numbers.
namespace Atelier.Training;

/// <summary>The loss of one sample.</summary>
/// <param name="Sample">Index of the sample in the data.</param>
/// <param name="Loss">Weighted loss of the sample.</param>
public sealed record SampleLoss(int Sample, float Loss)
{
    /// <summary>
    /// Returns the sample with the larger loss; null counts as the smallest loss and NaN as the largest. If the losses
    /// are equal, the first sample is returned.
    /// </summary>
    public static SampleLoss? Larger(SampleLoss? first, SampleLoss? second) =>
        second is null ? first
        : first is null ? second
        : float.IsNaN(first.Loss) || first.Loss >= second.Loss ? first
        : second;
}

/// <summary>
/// The totals of a batch over all of its shards: everything on which the decision about the batch depends.
/// </summary>
/// <param name="LossSum">Sum of the samples' losses.</param>
/// <param name="GradientNorm">2-norm of the mean gradient; NaN if the batch has no samples.</param>
/// <param name="Samples">Number of samples in the sums.</param>
public sealed record BatchOutcome(double LossSum, double GradientNorm, long Samples)
{
    /// <summary>Mean loss of the batch's samples; NaN if the batch has no samples.</summary>
    public double Loss => LossSum / Samples;

    /// <summary>Samples excluded from the sums, in the run's sample order.</summary>
    public IReadOnlyList<BadSample> LeftOut { get; init; } = [];

    /// <summary>
    /// The sample with the largest loss, where NaN counts as the largest; null if the losses of single samples are not
    /// known.
    /// </summary>
    public SampleLoss? Largest { get; init; }

    /// <summary>Number of samples whose own loss is not finite.</summary>
    public long NotFinite { get; init; }
}

/// <summary>The result of one step of a run.</summary>
/// <param name="Step">Number of the batch, from 0.</param>
/// <param name="Loss">Mean loss of the batch's samples; NaN if the batch has no samples.</param>
/// <param name="GradientNorm">2-norm of the mean gradient; NaN if the batch has no samples.</param>
/// <param name="LearningRate">Learning rate of the step.</param>
/// <param name="Verdict">Whether the batch was applied, skipped or rolled back.</param>
/// <param name="Seconds">Duration of the step in seconds.</param>
/// <param name="LeftOut">Number of the batch's samples that could not be trained on.</param>
public readonly record struct StepResult(
    long Step, double Loss, double GradientNorm, double LearningRate, StepVerdict Verdict, double Seconds,
    int LeftOut = 0);
