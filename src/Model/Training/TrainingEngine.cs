// The training step without a loop and without a world. A batch is V shards; any shard may be computed anywhere, their
// sums meet along one tree (ReductionTree), and applying the total is the same everywhere.
using System.Runtime.ExceptionServices;
using Atelier.Model.Diffusion;
using Atelier.Model.Networks;
using Atelier.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace Atelier.Model.Training;

/// <summary>What a training step does, apart from the data.</summary>
public sealed record TrainingSettings
{
    /// <summary>Noise levels and preconditioning.</summary>
    public Edm Edm { get; init; } = new();

    /// <summary>Part of the patches that the backbone does not see.</summary>
    public double MaskRatio { get; init; }

    /// <summary>Shards of a batch, V: a power of two. The batch is V microbatches, whoever computes them.</summary>
    public int Shards { get; init; } = 1;

    /// <summary>Samples of a shard.</summary>
    public int Microbatch { get; init; } = 1;

    /// <summary>Learning rate by batch.</summary>
    public LearningRate LearningRate { get; init; } = new();

    /// <summary>Optimizer.</summary>
    public AdamWSettings Optimizer { get; init; } = new();

    /// <summary>Gradients longer than this are scaled down to it.</summary>
    public double ClipNorm { get; init; } = double.PositiveInfinity;

    /// <summary>
    /// Smoothing s of the average of weights, W_ema ← s W_ema + (1 - s) W after each batch; none if not set.
    /// </summary>
    public double? EmaSmoothing { get; init; }

    /// <summary>
    /// Batches after which the average starts as a copy of the weights: 0 starts from the initial weights; 1 is what
    /// Composer does with an ema_start of 0.
    /// </summary>
    public long EmaStart { get; init; }

    /// <summary>Samples of a batch, G.</summary>
    public int GlobalBatch => Slices.GlobalBatch;

    /// <summary>How batches cut the run's order.</summary>
    public BatchSlices Slices => new(Shards, Microbatch);

    /// <summary>These settings, if an engine can follow them.</summary>
    /// <exception cref="ArgumentException">A number is out of range; the message says what would be right.</exception>
    public TrainingSettings Checked()
    {
        const int shardsMax = ReductionTree<object>.ShardsMax;
        Require(
            Edm.SigmaData > 0 && double.IsFinite(Edm.SigmaData), $"SigmaData must be positive, not {Edm.SigmaData}.");
        Require(
            double.IsFinite(Edm.PMean) && Edm.PStd >= 0 && double.IsFinite(Edm.PStd),
            $"Noise levels must have a finite PMean and a PStd of at least 0, not {Edm.PMean} and {Edm.PStd}.");
        Require(MaskRatio is >= 0 and < 1, $"MaskRatio must lie in 0..1 without 1, not be {MaskRatio}.");
        Require(
            Shards is >= 1 and <= shardsMax && int.IsPow2(Shards),
            $"Shards must be a power of two in 1..{shardsMax}, not {Shards}.");
        Require(Microbatch >= 1, $"Microbatch must be at least 1, not {Microbatch}.");
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
            $"Betas must lie in 0..1 without 1, not be {Optimizer.Beta1} and {Optimizer.Beta2}.");
        Require(
            Optimizer.Epsilon >= 0 && double.IsFinite(Optimizer.Epsilon),
            $"Epsilon must be at least 0, not {Optimizer.Epsilon}.");
        Require(
            Optimizer.WeightDecay >= 0 && double.IsFinite(Optimizer.WeightDecay),
            $"WeightDecay must be at least 0, not {Optimizer.WeightDecay}.");
        Require(ClipNorm > 0, $"ClipNorm must be positive, not {ClipNorm}; infinity clips nothing.");
        Require(EmaSmoothing is null or >= 0 and <= 1, $"EmaSmoothing must lie in 0..1, not be {EmaSmoothing}.");
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

/// <summary>
/// The samples of one shard with every random number that their loss needs. There are b of them, as many as the shard
/// has that can be trained on; it may be none.
/// </summary>
/// <param name="Latents">Clean latents [b, C, H, W], float32.</param>
/// <param name="Captions">Caption features [b, L, channels]; zeros where the caption was dropped.</param>
/// <param name="NoiseLevels">σ per sample, b.</param>
/// <param name="UnitNoise">Standard normal noise [b, C, H, W].</param>
/// <param name="Mask">Patches that the backbone sees, or all.</param>
public sealed record ShardBatch(
    Tensor Latents, Tensor Captions, double[] NoiseLevels, Tensor UnitNoise, PatchMask? Mask) : IDisposable
{
    /// <summary>Numbers of the b samples in the data, if they are known.</summary>
    public IReadOnlyList<int> Samples { get; init; } = [];

    /// <summary>Samples of the shard that are not among them.</summary>
    public IReadOnlyList<BadSample> LeftOut { get; init; } = [];

    /// <summary>The same shard on a device.</summary>
    public ShardBatch To(Device device) => device.type == Latents.device_type
        ? this
        : new ShardBatch(Latents.to(device), Captions.to(device), NoiseLevels, UnitNoise.to(device), Mask?.To(device))
        {
            Samples = Samples, LeftOut = LeftOut,
        };

    /// <inheritdoc/>
    public void Dispose()
    {
        Latents.Dispose();
        Captions.Dispose();
        UnitNoise.Dispose();
        Mask?.Dispose();
    }
}

/// <summary>Where shards come from. The same step and shard always give the same numbers.</summary>
public interface IShardSource
{
    /// <summary>
    /// Samples [step G + shard B, step G + (shard + 1) B) of the run's order, B to a shard, without those that cannot
    /// be trained on. The caller disposes them.
    /// </summary>
    ShardBatch Read(long step, int shard);
}

/// <summary>Sums over samples: of gradients, [P] float32, and of losses.</summary>
/// <param name="Gradient">Sum of the gradients of the samples' losses.</param>
/// <param name="Loss">Sum of the samples' losses.</param>
/// <param name="Samples">Samples in the sums.</param>
public sealed record GradientSum(Tensor Gradient, double Loss, long Samples) : IDisposable
{
    /// <summary>Samples that are in no sum, in the run's order.</summary>
    public IReadOnlyList<BadSample> LeftOut { get; init; } = [];

    /// <summary>The sample with the largest loss, NaN being the largest; none if samples are not known.</summary>
    public SampleLoss? Largest { get; init; }

    /// <summary>Samples whose own loss is not finite.</summary>
    public long NotFinite { get; init; }

    /// <summary>The sum of two, in the buffer of <paramref name="left"/>; both are consumed.</summary>
    public static GradientSum Merge(GradientSum left, GradientSum right)
    {
        using var noGradients = no_grad();
        left.Gradient.add_(right.Gradient);
        right.Dispose();
        return left with
        {
            Loss = left.Loss + right.Loss,
            Samples = left.Samples + right.Samples,
            LeftOut = right.LeftOut.Count == 0 ? left.LeftOut : [.. left.LeftOut, .. right.LeftOut],
            Largest = SampleLoss.Larger(left.Largest, right.Largest),
            NotFinite = left.NotFinite + right.NotFinite,
        };
    }

    /// <inheritdoc/>
    public void Dispose() => Gradient.Dispose();
}

/// <summary>What a step did.</summary>
/// <param name="Loss">Mean loss of the batch, before the step.</param>
/// <param name="GradientNorm">2-norm of the mean gradient, before clipping.</param>
/// <param name="LearningRate">Learning rate of the step.</param>
public readonly record struct StepOutcome(double Loss, double GradientNorm, double LearningRate);

/// <summary>
/// Computes shards and applies totals. Master weights, moments and averages are float32; the network itself may compute
/// in bfloat16, and is then refreshed from the master weights after every step. Not for use by two threads at once.
/// </summary>
public sealed class TrainingEngine : IDisposable
{
    private readonly TrainingSettings _settings;
    private readonly IShardSource _source;
    private readonly FlatParameters _flat;
    private readonly AdamW _optimizer;

    // Each computes a shard at a time, on the same weights, with gradients of its own. The first is the caller's network.
    private readonly (MicroDiT Network, FlatParameters Flat)[] _lanes;
    private readonly Lock _reading = new();

    /// <summary>Prepares a network, which stays the caller's, for training.</summary>
    /// <param name="network">
    /// Network with its initial weights, float32; its parameters are moved into one buffer.
    /// </param>
    /// <param name="settings">What a step does.</param>
    /// <param name="source">Where shards come from.</param>
    /// <param name="compute">Precision of the network's computation: float32 or bfloat16.</param>
    /// <param name="lanes">
    /// Shards computed at the same time by <see cref="ComputeBatch"/>, each by its part of the processor's threads: small
    /// networks gain more by that than by threads that share a product. The sums are the same to the bit as those of one
    /// lane with as many threads as each lane has.
    /// </param>
    /// <exception cref="ArgumentException">A setting is out of range, or the network is not float32.</exception>
    public TrainingEngine(
        MicroDiT network, TrainingSettings settings, IShardSource source, ScalarType compute = ScalarType.Float32,
        int lanes = 1)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(lanes);
        (_settings, _source) = (settings.Checked(), source);
        if (network.parameters().Any(parameter => parameter.dtype != ScalarType.Float32))
        {
            throw new ArgumentException(
                "The network must hold float32 weights; the precision of computing is a choice of its own.",
                nameof(network));
        }

        network.train();
        if (compute == ScalarType.Float32)
        {
            _flat = new FlatParameters(network);
            Weights = _flat.Values;
        }
        else
        {
            // The master weights are taken before the network loses their precision.
            using var exact = new FlatParameters(network);
            Weights = exact.Values.clone().DetachFromDisposeScope();
            network.to(compute);
            _flat = new FlatParameters(network);
        }

        Ema = settings.EmaSmoothing is null ? null : Weights.detach().clone().DetachFromDisposeScope();
        _optimizer = new AdamW(settings.Optimizer, Weights);
        _lanes = [(network, _flat), .. Enumerable.Range(1, Math.Min(lanes, settings.Shards) - 1).Select(_ => Replica(network.Config))];
    }

    /// <summary>Master weights, [P] float32.</summary>
    public Tensor Weights { get; }

    /// <summary>Average of the weights, [P] float32, if one is kept.</summary>
    public Tensor? Ema { get; }

    /// <summary>First and second moments, [P] each, and updates made.</summary>
    public AdamW Optimizer => _optimizer;

    /// <summary>Views of a flat tensor [P] by parameter name. The caller disposes them.</summary>
    public IEnumerable<(string Name, Tensor View)> Named(Tensor flat) => _flat.Views(flat);

    /// <summary>Gradient and loss sums of one shard. The caller disposes them, or merges them.</summary>
    public GradientSum ComputeShard(long step, int shard)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        ArgumentOutOfRangeException.ThrowIfNegative(shard);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(shard, _settings.Shards);
        return ComputeShard(_lanes[0], step, shard);
    }

    /// <summary>Gradient and loss sums of all shards, in this process.</summary>
    public GradientSum ComputeBatch(long step)
    {
        var tree = new ReductionTree<GradientSum>(_settings.Shards, GradientSum.Merge);
        int next = -1, working = _lanes.Length, threads = get_num_threads();
        try
        {
            Parallel.ForEach(_lanes, new ParallelOptions { MaxDegreeOfParallelism = _lanes.Length }, Work);
        }
        catch (AggregateException error)
        {
            ExceptionDispatchInfo.Throw(error.InnerExceptions[0]);
        }
        finally
        {
            set_num_threads(threads);
        }

        return tree.Total!;

        void Work((MicroDiT Network, FlatParameters Flat) lane)
        {
            // The number of threads is each thread's own, and this one is lent.
            set_num_threads(Math.Max(1, threads / _lanes.Length));
            try
            {
                for (int shard; (shard = Interlocked.Increment(ref next)) < _settings.Shards;)
                {
                    GradientSum sum = ComputeShard(lane, step, shard);
                    lock (tree)
                    {
                        tree.Add(shard, sum);
                    }
                }
            }
            finally
            {
                // The matrix library has one number for the whole process: it must not change while another lane computes.
                if (Interlocked.Decrement(ref working) == 0)
                {
                    set_num_threads(threads);
                }
            }
        }
    }

    /// <summary>A total in numbers, by which a step may be refused before it is applied.</summary>
    public static BatchOutcome Measure(GradientSum total)
    {
        using var noGradients = no_grad();
        using Tensor norm = linalg.norm(total.Gradient);
        return new BatchOutcome(total.Loss, norm.item<float>() / total.Samples, total.Samples)
        {
            LeftOut = total.LeftOut, Largest = total.Largest, NotFinite = total.NotFinite,
        };
    }

    /// <summary>Measures a total and applies it.</summary>
    /// <exception cref="ArgumentException">The total is not of a whole batch, or holds no sample.</exception>
    public StepOutcome Apply(long step, GradientSum total) => Apply(step, total, Measure(total));

    /// <summary>
    /// Clips the mean gradient of the samples in the total, updates weights and average, and consumes the total.
    /// </summary>
    /// <param name="step">The batch.</param>
    /// <param name="total">Its total.</param>
    /// <param name="batch">The total in numbers.</param>
    /// <exception cref="ArgumentException">The total is not of a whole batch, or holds no sample.</exception>
    public StepOutcome Apply(long step, GradientSum total, BatchOutcome batch)
    {
        if (total.Samples + total.LeftOut.Count != _settings.GlobalBatch || total.Samples == 0)
        {
            throw new ArgumentException(
                $"The total holds {total.Samples} samples and leaves out {total.LeftOut.Count}; a batch has "
                + $"{_settings.GlobalBatch}.",
                nameof(total));
        }

        using var noGradients = no_grad();
        using var scope = NewDisposeScope();

        // clip_grad_norm_: g ← g min(1, c / (|g| + 1e-6)), here together with the division by the batch.
        double clip = Math.Min(1, _settings.ClipNorm / (batch.GradientNorm + 1e-6));
        total.Gradient.mul_((float)(clip / total.Samples));
        double rate = _settings.LearningRate.At(step);
        _optimizer.Update(Weights, total.Gradient, rate);
        total.Dispose();
        UpdateEma(step);
        Refresh();
        return new StepOutcome(batch.Loss, batch.GradientNorm, rate);
    }

    /// <summary>Gives the network the master weights, after they were changed from outside.</summary>
    public void Refresh()
    {
        if (!ReferenceEquals(Weights, _flat.Values))
        {
            using var noGradients = no_grad();
            _flat.Values.copy_(Weights);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _optimizer.Dispose();
        Ema?.Dispose();
        Weights.Dispose();
        _flat.Dispose();
        foreach ((MicroDiT network, FlatParameters flat) in _lanes.Skip(1))
        {
            network.Dispose();
            flat.Dispose();
        }
    }

    private (MicroDiT Network, FlatParameters Flat) Replica(MicroDiTConfig config)
    {
        var network = new MicroDiT(config);
        network.to(_flat.Values.device, _flat.Values.dtype);
        network.train();
        return (network, new FlatParameters(network, _flat.Values));
    }

    private GradientSum ComputeShard((MicroDiT Network, FlatParameters Flat) lane, long step, int shard)
    {
        using var scope = NewDisposeScope();
        using ShardBatch batch = Read(step, shard).To(Weights.device);
        using (no_grad())
        {
            lane.Flat.Gradients.zero_();
        }

        if (batch.Latents.shape[0] == 0)
        {
            return new GradientSum(Gradient(lane.Flat), 0, 0) { LeftOut = batch.LeftOut };
        }

        using CaptionContext captions = lane.Network.Caption(batch.Captions);
        (Tensor perSample, _) = _settings.Edm.Loss(
            lane.Network, batch.Latents, captions, batch.NoiseLevels, batch.UnitNoise, batch.Mask);
        Tensor loss = perSample.sum();
        loss.backward();
        float[] losses = perSample.detach().to(ScalarType.Float32).cpu().data<float>().ToArray();
        return new GradientSum(Gradient(lane.Flat), loss.item<float>(), batch.Latents.shape[0])
        {
            LeftOut = batch.LeftOut,
            Largest = batch.Samples.Zip(losses, (sample, own) => new SampleLoss(sample, own))
                .Aggregate((SampleLoss?)null, SampleLoss.Larger),
            NotFinite = losses.Count(own => !float.IsFinite(own)),
        };

        static Tensor Gradient(FlatParameters flat) =>
            (flat.Values.dtype == ScalarType.Float32 ? flat.Gradients.clone() : flat.Gradients.to(ScalarType.Float32))
            .DetachFromDisposeScope();
    }

    private ShardBatch Read(long step, int shard)
    {
        lock (_reading)
        {
            return _source.Read(step, shard);
        }
    }

    private void UpdateEma(long step)
    {
        if (Ema is null)
        {
            return;
        }

        // Until then it is the weights, so that it starts from the last ones even where the batch before it was skipped.
        if (step < _settings.EmaStart)
        {
            Ema.copy_(Weights);
        }
        else
        {
            Ema.lerp_(Weights, 1 - _settings.EmaSmoothing!.Value);
        }
    }
}
