// The learning rate over a stage, as Composer's schedulers compute it.
namespace Atelier.Training;

/// <summary>Shape of a learning-rate schedule.</summary>
public enum ScheduleShape
{
    /// <summary>Constant, after a linear warm-up if there is one.</summary>
    Constant,

    /// <summary>
    /// Half a cosine from the base rate to <see cref="LearningRate.FinalFraction"/> of it, after a linear warm-up.
    /// </summary>
    Cosine,
}

/// <summary>Learning rate as a function of the batch number.</summary>
public sealed record LearningRate
{
    /// <summary>Shape after the warm-up.</summary>
    public ScheduleShape Shape { get; init; }

    /// <summary>Base rate, which is multiplied by <see cref="Multiplier"/>.</summary>
    public double Base { get; init; } = 1e-4;

    /// <summary>Number of batches of linear warm-up from a rate of 0.</summary>
    public long WarmupSteps { get; init; }

    /// <summary>Total number of batches; the cosine ends there.</summary>
    public long TotalSteps { get; init; } = 1;

    /// <summary>Multiplier at the cosine's end, α_f.</summary>
    public double FinalFraction { get; init; }

    /// <summary>
    /// Composer advances its scheduler before its clock, so batch k runs with the multiplier of timestamp max(k - 1,
    /// 0), and the first two batches of a warm-up have rate 0. True reproduces that (the published weights were trained
    /// this way); false uses timestamp k.
    /// </summary>
    public bool LagsOneBatch { get; init; } = true;

    /// <summary>
    /// A schedule with a warm-up and half a cosine, without the one-batch lag. The demo model's parts use it.
    /// </summary>
    public static LearningRate Cosine(
        double highest, long warmupSteps, long totalSteps, double finalFraction = 0) => new()
        {
            Shape = ScheduleShape.Cosine,
            Base = highest,
            WarmupSteps = warmupSteps,
            TotalSteps = totalSteps,
            FinalFraction = finalFraction,
            LagsOneBatch = false,
        };

    /// <summary>Learning rate of batch <paramref name="step"/>, counted from 0.</summary>
    public double At(long step) => Base * Multiplier(LagsOneBatch ? Math.Max(step - 1, 0) : step);

    /// <summary>
    /// Multiplier at timestamp <paramref name="t"/>: t / t_warmup while t &lt; t_warmup, then 1 or
    /// α_f + (1 - α_f) (1 + cos(π min(1, (t - t_warmup) / (t_max - t_warmup)))) / 2. If the warm-up is at least as
    /// long as the run, there is no room for the cosine, and the multiplier stays 1 after the warm-up.
    /// </summary>
    public double Multiplier(double t)
    {
        if (t < WarmupSteps)
        {
            return t / WarmupSteps;
        }

        if (Shape == ScheduleShape.Constant)
        {
            return 1;
        }

        double way = TotalSteps > WarmupSteps ? Math.Min(1, (t - WarmupSteps) / (TotalSteps - WarmupSteps)) : 0;
        return FinalFraction + ((1 - FinalFraction) * 0.5 * (1 + Math.Cos(Math.PI * way)));
    }
}
