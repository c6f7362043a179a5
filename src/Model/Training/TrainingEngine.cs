// The training step. A batch consists of V shards, which any process may compute; their sums are added along one tree
// (ReductionTree), and every process applies the total in the same way. With a device's lane, an engine computes while
// it has the lane; without a lane, it has the processor to itself.
using System.Runtime.ExceptionServices;
using Atelier.Model.Networks;
using Atelier.Model.Runtime;
using Atelier.Training;
using Atelier.Training.Worlds;
using TorchSharp;
using static TorchSharp.torch;

namespace Atelier.Model.Training;

/// <summary>The outcome of a step.</summary>
/// <param name="Loss">Mean loss of the batch, before the step.</param>
/// <param name="GradientNorm">2-norm of the mean gradient, before clipping.</param>
/// <param name="LearningRate">Learning rate of the step.</param>
public readonly record struct StepOutcome(double Loss, double GradientNorm, double LearningRate);

/// <summary>
/// Computes shards and applies totals. Master weights, moments and averages are float32; the network may compute in
/// bfloat16, and is then refreshed from the master weights after every step. Not thread-safe.
/// </summary>
public sealed class TrainingEngine : IDisposable
{
    private readonly TrainingSettings _settings;
    private readonly IShardSource _source;

    private readonly IComputeLane? _lane;

    // Copies of the network. Each computes one shard at a time, with the shared weights and its own gradients. The
    // first is the caller's network.
    private readonly (MicroDiT Network, FlatParameters Flat)[] _copies;
    private readonly Lock _reading = new();

    /// <summary>Prepares a network for training; the caller keeps ownership.</summary>
    /// <param name="network">
    /// Network with its initial weights, float32; its parameters are moved into one buffer.
    /// </param>
    /// <param name="settings">Settings of a step.</param>
    /// <param name="source">Source of shards.</param>
    /// <param name="compute">Precision of the network's computation: float32 or bfloat16.</param>
    /// <param name="parallel">
    /// Number of shards that <see cref="ComputeBatch"/> computes at the same time, each with
    /// <see cref="TrainingSettings.ThreadsPerShard"/> threads. Small networks gain more from parallel shards than from
    /// threads that share a matrix product. The sums equal, bit for bit, those of one shard at a time with the same
    /// number of threads.
    /// </param>
    /// <param name="lane">
    /// The lane on which shards are computed and totals applied, one piece of work after the other. Null to use the
    /// calling threads. In both cases threads of the pool help when several shards are computed at the same time. The
    /// sums are equal bit for bit if shards have the same number of libtorch threads.
    /// </param>
    /// <exception cref="ArgumentException">A setting is out of range, or the network is not float32.</exception>
    public TrainingEngine(
        MicroDiT network, TrainingSettings settings, IShardSource source, ScalarType compute = ScalarType.Float32,
        int parallel = 1, IComputeLane? lane = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(parallel);
        (_settings, _source, _lane) = (settings.Checked(), source, lane);
        network.train();
        Master = new MasterWeights(network, compute, settings.Update);
        IEnumerable<int> others = Enumerable.Range(1, Math.Min(parallel, settings.Shards) - 1);
        _copies = [(network, Master.Computing), .. others.Select(_ => Copy(network.Config))];
    }

    /// <summary>Weights, average and moments.</summary>
    public MasterWeights Master { get; }

    /// <summary>Number of shards that are computed at the same time.</summary>
    public int ParallelShards => _copies.Length;

    /// <summary>Computes the gradient and loss sums of one shard. The caller disposes or merges them.</summary>
    public GradientSum ComputeShard(long step, int shard) => ComputeShards(step, [shard])[0];

    /// <summary>
    /// Computes the gradient and loss sums of several shards, <see cref="ParallelShards"/> of them at the same time.
    /// The caller disposes or merges them.
    /// </summary>
    /// <param name="step">Index of the batch.</param>
    /// <param name="shards">The shards.</param>
    /// <returns>The sums, in the order of <paramref name="shards"/>.</returns>
    public IReadOnlyList<GradientSum> ComputeShards(long step, IReadOnlyList<int> shards)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        foreach (int shard in shards)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(shard, nameof(shards));
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(shard, _settings.Shards, nameof(shards));
        }

        return OnLane<IReadOnlyList<GradientSum>>(Description(step, shards), () =>
        {
            var sums = new GradientSum?[shards.Count];
            try
            {
                ComputeAtOnce(step, shards, (i, sum) => sums[i] = sum);
            }
            catch
            {
                Array.ForEach(sums, sum => sum?.Dispose());
                throw;
            }

            return [.. sums.OfType<GradientSum>()];
        });
    }

    /// <summary>Computes the gradient and loss sums of all shards in this process.</summary>
    public GradientSum ComputeBatch(long step)
    {
        var tree = new ReductionTree<GradientSum>(_settings.Shards, GradientSum.Merge);
        int[] shards = [.. Enumerable.Range(0, _settings.Shards)];

        // With a lane, others may use it in between.
        foreach (int[] some in _lane is null ? [shards] : shards.Chunk(_copies.Length))
        {
            OnLane(Description(step, some), () =>
            {
                ComputeAtOnce(step, some, (i, sum) =>
                {
                    lock (tree)
                    {
                        tree.Add(some[i], sum);
                    }
                });
                return step;
            });
        }

        return tree.Total!;
    }

    /// <summary>Measures a total and applies it.</summary>
    /// <exception cref="ArgumentException">The total does not cover a whole batch, or has no samples.</exception>
    public StepOutcome Apply(long step, GradientSum total) => Apply(step, total, Measure(total));

    /// <summary>Measures a total: plain numbers, from which the caller can decide not to apply it.</summary>
    public BatchOutcome Measure(GradientSum total) => OnLane("Measuring a batch", () =>
    {
        // The norm is a sum that threads divide among themselves, so its bits depend on their number. Applying a total
        // works element by element and gives the same bits with any number of threads.
        using var threads = new PinnedThreads(_settings.ThreadsPerShard);
        return total.Measure();
    });

    /// <summary>
    /// Clips the mean gradient of the samples in the total, updates weights and average, and consumes the total.
    /// </summary>
    /// <param name="step">Index of the batch.</param>
    /// <param name="total">The batch's total.</param>
    /// <param name="batch">The totals as numbers.</param>
    /// <exception cref="ArgumentException">The total does not cover a whole batch, or has no samples.</exception>
    public StepOutcome Apply(long step, GradientSum total, BatchOutcome batch)
    {
        (long samples, int leftOut) = (total.Sums.Samples, total.Sums.LeftOut.Length);
        if (samples + leftOut != _settings.GlobalBatch || samples == 0)
        {
            throw new ArgumentException(
                $"The total has {samples} samples and leaves out {leftOut}; a batch has {_settings.GlobalBatch}.",
                nameof(total));
        }

        double rate = _settings.LearningRate.At(step);
        return OnLane($"Applying batch {step}", () =>
        {
            Master.Update(step, total.Gradient, samples, batch.GradientNorm, rate);
            total.Dispose();
            return new StepOutcome(batch.Loss, batch.GradientNorm, rate);
        });
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Master.Dispose();
        foreach ((MicroDiT network, FlatParameters flat) in _copies.Skip(1))
        {
            network.Dispose();
            flat.Dispose();
        }
    }

    private static string Description(long step, IReadOnlyList<int> shards) =>
        $"{(shards.Count == 1 ? "Shard" : "Shards")} {string.Join(", ", shards)} of batch {step}";

    // Calls done with the index of each shard and its sums, on any thread.
    private void ComputeAtOnce(long step, IReadOnlyList<int> shards, Action<int, GradientSum> done)
    {
        int count = Math.Min(_copies.Length, shards.Count), next = -1, working = count, threads = get_num_threads();
        if (count == 1)
        {
            using var pinned = new PinnedThreads(_settings.ThreadsPerShard ?? Math.Max(1, threads / _copies.Length));
            for (int i = 0; i < shards.Count; i++)
            {
                done(i, ComputeShard(_copies[0], step, shards[i]));
            }

            return;
        }

        try
        {
            Parallel.ForEach(
                _copies.Take(count), new ParallelOptions { MaxDegreeOfParallelism = count }, Work);
        }
        catch (AggregateException error)
        {
            ExceptionDispatchInfo.Throw(error.InnerExceptions[0]);
        }
        finally
        {
            set_num_threads(threads);
        }

        void Work((MicroDiT Network, FlatParameters Flat) copy)
        {
            // The number of libtorch threads is a setting of each thread, and this thread is only borrowed.
            set_num_threads(_settings.ThreadsPerShard ?? Math.Max(1, threads / _copies.Length));
            try
            {
                for (int i; (i = Interlocked.Increment(ref next)) < shards.Count;)
                {
                    done(i, ComputeShard(copy, step, shards[i]));
                }
            }
            finally
            {
                // The matrix library has one number of threads for the whole process, which must not change while
                // another copy computes.
                if (Interlocked.Decrement(ref working) == 0)
                {
                    set_num_threads(threads);
                }
            }
        }
    }

    private (MicroDiT Network, FlatParameters Flat) Copy(MicroDiTConfig config)
    {
        var network = new MicroDiT(config);
        network.to(Master.Computing.Values.device, Master.Computing.Values.dtype);
        network.train();
        return (network, new FlatParameters(network, Master.Computing.Values));
    }

    private GradientSum ComputeShard((MicroDiT Network, FlatParameters Flat) copy, long step, int shard)
    {
        using var scope = NewDisposeScope();
        using ShardBatch batch = Read(step, shard).To(Master.Weights.device);
        using (no_grad())
        {
            copy.Flat.Gradients.zero_();
        }

        if (batch.Latents.shape[0] == 0)
        {
            return new GradientSum(Gradient(copy.Flat), new BatchSums { LeftOut = [.. batch.LeftOut] });
        }

        using CaptionContext captions = copy.Network.Caption(batch.Captions);
        (Tensor perSample, _) = _settings.Edm.Loss(
            copy.Network, batch.Latents, captions, batch.NoiseLevels, batch.UnitNoise, batch.Mask);
        Tensor loss = perSample.sum();
        loss.backward();
        float[] losses = perSample.detach().to(ScalarType.Float32).cpu().data<float>().ToArray();
        return new GradientSum(Gradient(copy.Flat), new BatchSums
        {
            LossSum = loss.item<float>(),
            Samples = batch.Latents.shape[0],
            LeftOut = [.. batch.LeftOut],
            Largest = batch.Samples.Zip(losses, (sample, own) => new SampleLoss(sample, own))
                .Aggregate((SampleLoss?)null, SampleLoss.Larger),
            NotFinite = losses.Count(own => !float.IsFinite(own)),
            SampleIds = [.. batch.Samples],
        });

        static Tensor Gradient(FlatParameters flat) =>
            (flat.Values.dtype == ScalarType.Float32 ? flat.Gradients.clone() : flat.Gradients.to(ScalarType.Float32))
            .DetachFromDisposeScope();
    }

    private T OnLane<T>(string what, Func<T> work) => _lane is null ? work() : _lane.Run(what, work);

    private ShardBatch Read(long step, int shard)
    {
        lock (_reading)
        {
            return _source.Read(step, shard);
        }
    }
}
