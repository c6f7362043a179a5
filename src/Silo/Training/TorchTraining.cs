// The grains' port for training, implemented with libtorch: a stage's network, weights and data on the silo's device.
// Every piece of work borrows the device's lane, so that pictures can be drawn in between.
using Atelier.Grains.Ports;
using Atelier.Model;
using Atelier.Model.Data.Caching;
using Atelier.Model.Networks;
using Atelier.Model.Training;
using Atelier.Model.Training.Runs;
using Atelier.Model.Weights;
using Atelier.Silo.Devices;
using Atelier.Training;
using Atelier.Training.Checkpoints;
using static TorchSharp.torch;

namespace Atelier.Silo.Training;

/// <summary>Trains stages on a libtorch device.</summary>
/// <param name="lane">The device's lane.</param>
/// <param name="options">Options of the device.</param>
/// <param name="sets">Opens the data sets of stages.</param>
public sealed class TorchTraining(DeviceLane lane, TorchDeviceOptions options, IDataSets sets) : ITrainingWork
{
    /// <inheritdoc/>
    public string Device => options.Name;

    /// <inheritdoc/>
    public async Task ProbeAsync(CancellationToken cancellation)
    {
        using DeviceLoan loan = await lane.AcquireAsync("probes", cancellation);
        await loan.RunAsync("A probe", options.WorkTimeout, DeviceProbe.Run);
    }

    /// <inheritdoc/>
    public Task<IStageWork> OpenAsync(StagePlan plan, CancellationToken cancellation) =>
        Task.Run<IStageWork>(async () => await OpenStageAsync(plan, cancellation), cancellation);

    private async Task<TorchStageWork> OpenStageAsync(StagePlan plan, CancellationToken cancellation)
    {
        LatentData? data = null;
        try
        {
            StageConfig config = WithOrder(
                StageConfig.Parse(plan.Name, plan.Configuration, plan.Overrides), plan);
            LatentData opened = await LatentData.OpenAsync(config, sets, cancellation);
            data = opened;
            return new TrainingLane(lane, options.LoadTimeout).Run(
                $"Building the network of {plan.Name}",
                () => new TorchStageWork(
                    config, plan, opened, new TrainingLane(lane, options.WorkTimeout), options.Threads));
        }
        catch (Exception error) when (error is RefusedFileException or IOException or ArgumentException
            or UnauthorizedAccessException or OutOfMemoryException or DeviceException or InvalidDataException)
        {
            data?.Dispose();
            throw new StageRefusedException($"{plan.Name} cannot be trained on this device: {error.Message}", error);
        }
    }

    private static StageConfig WithOrder(StageConfig config, StagePlan plan) =>
        plan.OrderVersion is { } version
            ? SampleOrder.IsKnown(version) ? config with { OrderVersion = version } : throw new ArgumentException(
                $"its samples are in order {version}, which this release does not know; update this silo.")
        : plan.Resumes ? CheckpointStore.WithOrderOf(config) : config;
}

/// <summary>A stage on the silo's device.</summary>
internal sealed class TorchStageWork : IStageWork
{
    // Vectors of P numbers in memory: weights, gradients, two moments, an average, the total of a batch, and four in a
    // copy of the state that is being stored.
    private const int VectorsInMemory = 10;

    private static readonly string[] s_ignored = ["pos_embed", "mask_token"];

    private readonly StageConfig _config;
    private readonly ITrainingData _data;
    private readonly TrainingLane _lane;
    private readonly MicroDiT _network;
    private readonly ReadShards _shards;
    private readonly TrainingEngine _engine;
    private readonly bool _startsFromRun;
    private bool _isPristine = true;

    // The batch that was measured last and not applied yet.
    private GradientSum? _measured;

    /// <summary>Builds the stage's network; must be called on the device's lane.</summary>
    /// <param name="config">The stage.</param>
    /// <param name="plan">The plan with the configuration.</param>
    /// <param name="data">The data; the stage disposes it.</param>
    /// <param name="lane">The device's lane.</param>
    /// <param name="threads">
    /// Number of the device's threads, which decides how many shards are computed at the same time.
    /// </param>
    public TorchStageWork(
        StageConfig config, StagePlan plan, ITrainingData data, TrainingLane lane, int threads = 1)
    {
        (_config, _data, _lane, _startsFromRun) = (config, data, lane, plan.From is not null);
        TrainingSettings settings = StageIdentity.Settings(config);
        _shards = new ReadShards(new SeededShards(
            data, settings, config.Network, config.Seed, config.CaptionDrop, config.OrderVersion));
        RunIdentity identity = StageIdentity.Of(config, data);
        _network = Initial();
        int lanes = LanePlan.OfProcess(
            settings.Shards, settings.ThreadsPerShard!.Value, threads, _network.parameters().Sum(p => p.numel())).Lanes;
        try
        {
            _engine = new TrainingEngine(_network, settings, _shards, config.Compute, lanes, lane);
        }
        catch
        {
            _network.Dispose();
            throw;
        }

        Facts = new StageFacts(
            config.Rules, settings.Shards, Master.Weights.numel(),
            [.. Vectors().Select(vector => vector.Name)], identity.ToJson())
        {
            LearningRate = settings.LearningRate.At,
            Batch = settings.GlobalBatch,
            VerifyInterval = config.VerifyInterval,
            CheckpointsKept = config.CheckpointsKept,
            PanelInterval = config.Panel?.Interval ?? 0,

            // Trainers of earlier releases, which write no streams, must write the same records.
            Streams = config.OrderVersion == SampleOrder.UniformVersion ? null : (data as LatentData)?.Streams,
            Metadata = CheckpointStore.MetadataOf(identity),
        };
    }

    public StageFacts Facts { get; }

    private MasterWeights Master => _engine.Master;

    public int ParallelShards => _engine.ParallelShards;

    public Task<IReadOnlyList<ShardSum>> ComputeShardsAsync(long step, IReadOnlyList<int> shards) =>
        Task.Run<IReadOnlyList<ShardSum>>(() =>
        {
            try
            {
                // Without the device: the data may have to be fetched first.
                _shards.Prepare(step, shards);
                return _lane.Run($"Shards {string.Join(", ", shards)} of batch {step}", () => Compute(step, shards));
            }
            catch (RefusedFileException error)
            {
                throw new StageRefusedException(
                    $"{_config.Name} cannot be trained on this device at step {step}: {error.Message}", error);
            }
        });

    public Task<BatchOutcome> MeasureAsync(ShardSum total) => OnLaneAsync("Measuring a batch", () =>
    {
        Forget();
        _measured = SumOf(total);
        return _engine.Measure(_measured);
    });

    public Task UpdateAsync(long step, BatchOutcome batch) => OnLaneAsync($"Applying batch {step}", () =>
    {
        try
        {
            return _engine.Apply(
                step, _measured ?? throw new InvalidOperationException($"Batch {step} was not measured."), batch);
        }
        finally
        {
            Forget();
        }
    });

    public Task<IReadOnlyList<StateVector>> ExportAsync() => OnLaneAsync("Copying the state", Numbers);

    public Task ImportAsync(IReadOnlyList<StateVector> vectors, long updates) => OnLaneAsync("Loading a state", () =>
    {
        _isPristine = false;
        Forget();
        Set(vectors, updates);
        return true;
    });

    public Task ResetAsync(IReadOnlyList<StateVector>? from) => OnLaneAsync("Beginning a stage", () =>
    {
        Forget();
        if (!_isPristine)
        {
            using MicroDiT initial = Initial();
            Master.Reset(initial);
            _isPristine = true;
        }

        if (from is not null)
        {
            StateVector weights = from.FirstOrDefault(vector => vector.Name == "ema" && _config.Start.Average)
                ?? from.Single(vector => vector.Name == "weights");
            using IDisposable noGradients = no_grad();
            using var scope = NewDisposeScope();
            Tensor all = zeros_like(Master.Weights);
            Copy(weights, all);
            IEnumerable<(string Name, Tensor View)> targets = Master.Named(Master.Weights);
            foreach (((string name, Tensor own), (_, Tensor other)) in targets.Zip(Master.Named(all)))
            {
                if (!s_ignored.Contains(name))
                {
                    own.copy_(other);
                }
            }

            Master.Average?.copy_(Master.Weights);
            Master.Refresh();
        }

        return true;
    });

    public Task<TrainingState?> ReadFolderAsync(bool plannedOnly) => OnLaneAsync(
        "Reading a checkpoint of single-process training",
        () =>
        {
            IReadOnlyList<StateVector> before = Numbers();
            long updates = Master.Optimizer.Updates;
            CheckpointStore store = CheckpointStore.Of(_config, _data);
            try
            {
                return store.Load(Master, _ => { }, plannedOnly) is { } position
                    ? new TrainingState(position, store.LastPlanned, Numbers(), []) : null;
            }
            catch (Exception error) when (error is RefusedFileException or IOException)
            {
                throw new StageRefusedException(error.Message, error);
            }
            finally
            {
                Set(before, updates);
            }
        });

    public string Place(int sample) => _data.Place(sample);

    public ValueTask DisposeAsync()
    {
        _lane.Free(() =>
        {
            Forget();
            _engine.Dispose();
            _network.Dispose();
        });
        (_data as IDisposable)?.Dispose();
        return ValueTask.CompletedTask;
    }

    // The network with its initial weights; those of an earlier stage of the run are loaded afterwards.
    private MicroDiT Initial()
    {
        var network = new MicroDiT(_config.Network);
        try
        {
            CheckMemory(network.parameters().Sum(parameter => parameter.numel()));
            MicroDiTInitializer.Initialize(network, _config.Seed);
            if (_config.Start.Path is not null && !_startsFromRun)
            {
                StageResult.Load(network, _config.Start);
            }

            return network;
        }
        catch
        {
            network.Dispose();
            throw;
        }
    }

    // Called when the network's memory is reserved but not used yet.
    private static void CheckMemory(long parameters)
    {
        long needed = parameters * sizeof(float) * VectorsInMemory;
        long available = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (needed > available)
        {
            throw new ArgumentException(
                $"its network has {parameters / 1e6:n0} million weights; with gradients, moments, average, a total and "
                + $"a copy, they take {needed >> 20:n0} MiB, and this machine has {available >> 20:n0} MiB. Use a "
                + "smaller network (model.dim, model.depth) or a larger machine.");
        }
    }

    private static ShardSum Numbers(GradientSum sum) => new(Numbers(sum.Gradient), sum.Sums);

    private static float[] Numbers(Tensor tensor)
    {
        float[] numbers = GC.AllocateUninitializedArray<float>(checked((int)tensor.numel()));
        TensorPieces.Read(tensor, numbers);
        return numbers;
    }

    private static void Copy(StateVector from, Tensor to)
    {
        if (from.Values.LongLength != to.numel())
        {
            throw new ArgumentException(
                $"{from.Name} has {from.Values.LongLength} numbers, but the network has {to.numel()} weights.",
                nameof(from));
        }

        TensorPieces.Write(from.Values, to);
    }

    private IReadOnlyList<StateVector> Numbers() =>
        [.. Vectors().Select(vector => new StateVector(vector.Name, Numbers(vector.Values)))];

    private void Set(IReadOnlyList<StateVector> vectors, long updates)
    {
        using IDisposable noGradients = no_grad();
        foreach ((string name, Tensor values) in Vectors())
        {
            Copy(vectors.Single(vector => vector.Name == name), values);
        }

        Master.Optimizer.Updates = updates;
        Master.Refresh();
    }

    private ShardSum[] Compute(long step, IReadOnlyList<int> shards)
    {
        _isPristine = false;
        IReadOnlyList<GradientSum> sums = _engine.ComputeShards(step, shards);
        try
        {
            return [.. sums.Select(Numbers)];
        }
        finally
        {
            foreach (GradientSum sum in sums)
            {
                sum.Dispose();
            }
        }
    }

    private Task<T> OnLaneAsync<T>(string what, Func<T> work) => Task.Run(() => _lane.Run(what, work));

    private GradientSum SumOf(ShardSum total)
    {
        Tensor gradient = empty([total.Gradient.LongLength], device: Master.Weights.device).DetachFromDisposeScope();
        TensorPieces.Write(total.Gradient, gradient);
        return new GradientSum(gradient, total.Sums);
    }

    private void Forget()
    {
        _measured?.Dispose();
        _measured = null;
    }

    private IEnumerable<(string Name, Tensor Values)> Vectors()
    {
        yield return ("weights", Master.Weights);
        yield return ("moment1", Master.Optimizer.FirstMoment);
        yield return ("moment2", Master.Optimizer.SecondMoment);
        if (Master.Average is { } average)
        {
            yield return ("ema", average);
        }
    }
}
