// The settings of a training step.
using Atelier.Model.Diffusion;
using Atelier.Training;

namespace Atelier.Model.Training;

/// <summary>Settings of a training step, apart from the data.</summary>
public sealed record TrainingSettings
{
    /// <summary>Maximum number of threads for a shard: no processor has more.</summary>
    public const int ThreadsPerShardMax = 1024;

    /// <summary>Noise levels and preconditioning.</summary>
    public Edm Edm { get; init; } = new();

    /// <summary>Fraction of the patches that the backbone does not see.</summary>
    public double MaskRatio { get; init; }

    /// <summary>Number of shards in a batch, V: a power of two. It does not depend on the number of workers.</summary>
    public int Shards { get; init; } = 1;

    /// <summary>Number of samples in a shard.</summary>
    public int Microbatch { get; init; } = 1;

    /// <summary>
    /// Number of libtorch threads that compute a shard and measure a total. The bits of the results depend on it. Null
    /// to use the calling thread's number, which lanes divide among themselves.
    /// </summary>
    public int? ThreadsPerShard { get; init; }

    /// <summary>Learning rate of each batch.</summary>
    public LearningRate LearningRate { get; init; } = new();

    /// <summary>Settings of the optimizer.</summary>
    public AdamWSettings Optimizer { get; init; } = new();

    /// <summary>Maximum 2-norm of a gradient. Gradients with a larger norm are scaled down to it.</summary>
    public double ClipNorm { get; init; } = double.PositiveInfinity;

    /// <summary>
    /// Smoothing s of the average of weights, W_ema ← s W_ema + (1 - s) W after each batch; null for no average.
    /// </summary>
    public double? EmaSmoothing { get; init; }

    /// <summary>
    /// Batches after which the average starts as a copy of the weights: 0 starts from the initial weights; 1 is
    /// Composer's behavior for an ema_start of 0.
    /// </summary>
    public long EmaStart { get; init; }

    /// <summary>Number of samples in a batch, G.</summary>
    public int GlobalBatch => Slices.GlobalBatch;

    /// <summary>The settings of an update of the weights.</summary>
    internal UpdateSettings Update => new()
    {
        Optimizer = Optimizer,
        ClipNorm = ClipNorm,
        Average = EmaSmoothing is { } smoothing ? new AverageSettings(smoothing, EmaStart) : null,
    };

    /// <summary>The slicing of the run's order into batches and shards.</summary>
    public BatchSlices Slices => new(Shards, Microbatch);

    /// <summary>Returns these settings if they are valid.</summary>
    /// <exception cref="ArgumentException">A number is out of range; the message gives the valid range.</exception>
    public TrainingSettings Checked()
    {
        const int shardsMax = ReductionTree<object>.ShardsMax;
        Require(
            Edm.SigmaData > 0 && double.IsFinite(Edm.SigmaData), $"SigmaData must be positive, not {Edm.SigmaData}.");
        Require(
            double.IsFinite(Edm.PMean) && Edm.PStd >= 0 && double.IsFinite(Edm.PStd),
            $"Noise levels must have a finite PMean and a PStd of at least 0, not {Edm.PMean} and {Edm.PStd}.");
        Require(MaskRatio is >= 0 and < 1, $"MaskRatio must be in [0, 1), not {MaskRatio}.");
        Require(
            Shards is >= 1 and <= shardsMax && int.IsPow2(Shards),
            $"Shards must be a power of two in 1..{shardsMax}, not {Shards}.");
        Require(Microbatch >= 1, $"Microbatch must be at least 1, not {Microbatch}.");
        Require(
            ThreadsPerShard is null or (>= 1 and <= ThreadsPerShardMax),
            $"ThreadsPerShard must be in 1..{ThreadsPerShardMax}, not {ThreadsPerShard}.");
        Require((long)Shards * Microbatch <= int.MaxValue, $"A batch has at most {int.MaxValue} samples.");
        Require(
            LearningRate.Base >= 0 && double.IsFinite(LearningRate.Base),
            $"The learning rate must be at least 0, not {LearningRate.Base}.");
        Require(
            LearningRate.WarmupSteps >= 0 && LearningRate.TotalSteps >= 1,
            "The learning rate's schedule must have WarmupSteps of at least 0 and TotalSteps of at least 1.");
        Require(
            LearningRate.FinalFraction >= 0 && double.IsFinite(LearningRate.FinalFraction),
            $"FinalFraction must be at least 0, not {LearningRate.FinalFraction}.");
        Require(
            Optimizer.Beta1 is >= 0 and < 1 && Optimizer.Beta2 is >= 0 and < 1,
            $"Betas must be in [0, 1), not {Optimizer.Beta1} and {Optimizer.Beta2}.");
        Require(
            Optimizer.Epsilon >= 0 && double.IsFinite(Optimizer.Epsilon),
            $"Epsilon must be at least 0, not {Optimizer.Epsilon}.");
        Require(
            Optimizer.WeightDecay >= 0 && double.IsFinite(Optimizer.WeightDecay),
            $"WeightDecay must be at least 0, not {Optimizer.WeightDecay}.");
        Require(ClipNorm > 0, $"ClipNorm must be positive, not {ClipNorm}; infinity disables clipping.");
        Require(EmaSmoothing is null or >= 0 and <= 1, $"EmaSmoothing must be in 0..1, not {EmaSmoothing}.");
        Require(EmaStart >= 0, $"EmaStart must be at least 0, not {EmaStart}.");
        return this;

        static void Require(bool holds, string rule)
        {
            if (!holds)
            {
                throw new ArgumentException(rule);
            }
        }
    }
}
