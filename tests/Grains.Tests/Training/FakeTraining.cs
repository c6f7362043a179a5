// A device that trains a stage of a few weights: sines instead of a network, so that a step takes no time and every
// weight depends on all earlier steps.
using System.Globalization;
using Atelier.Grains.Ports;
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Grains.Tests.Training;

/// <summary>Lends a fake device to training. What tests set applies to every stage that is opened on it.</summary>
internal sealed class FakeTraining : ITrainingWork
{
    public const int Parameters = 40;
    public const int Shards = 4;
    public const int Batch = 8;
    public const int SaveInterval = 10;
    private const double Rate = 0.1;

    public static IReadOnlyList<DataStream> Streams { get; } = [new("one", 0, 400), new("two", 400, 600)];

    public string Device => "cpu";

    /// <summary>Time that a shard takes.</summary>
    public TimeSpan Pace { get; set; } = TimeSpan.FromMilliseconds(2);

    /// <summary>Whether this device returns NaN for a shard of a step.</summary>
    public Func<long, int, bool> GivesNaN { get; set; } = (_, _) => false;

    /// <summary>Whether this device measures a batch as not finite, although it is.</summary>
    public Func<long, bool> MeasuresNaN { get; set; } = _ => false;

    /// <summary>Whether the device fails when it computes a shard of a step.</summary>
    public Func<long, bool> Breaks { get; set; } = _ => false;

    /// <summary>Why the device cannot read the stage's data; null if it can.</summary>
    public string? DataFault { get; set; }

    /// <summary>Called before the device computes the first of some shards of a step, which waits for it.</summary>
    public Func<long, int, Task> Computing { get; set; } = (_, _) => Task.CompletedTask;

    /// <summary>The step before which a weight changes by itself, once; null for never.</summary>
    public long? DamagedBefore { get; set; }

    /// <summary>A part of the stage's identity that differs between kinds of devices.</summary>
    public string Kind { get; set; } = "fake";

    /// <summary>Version of the sample order with which the device begins stages.</summary>
    public int OrderVersion { get; set; } = SampleOrder.Version;

    /// <summary>The checkpoints in the folders of stages, by the stages' names.</summary>
    public Dictionary<string, TrainingState> Folders { get; init; } = [];

    public int Opened { get; private set; }

    /// <summary>Number of shards that are computed at the same time.</summary>
    public int Lanes { get; set; } = 1;

    /// <summary>The largest number of shards that were computed at the same time.</summary>
    public int LargestGroup { get; private set; }

    /// <summary>Lets devices compute for a while.</summary>
    public static Task LetPassAsync(TimeSpan time) => Task.Delay(time, TestContext.Current.CancellationToken);

    public Task ProbeAsync(CancellationToken cancellation) => Task.CompletedTask;

    public Task<IStageWork> OpenAsync(StagePlan plan, CancellationToken cancellation)
    {
        Opened++;
        CheckData();
        return Task.FromResult<IStageWork>(new FakeStage(this, plan));
    }

    /// <summary>The state of a stage that one process trained to the given step, without any fault.</summary>
    public static TrainingState Alone(long steps, IReadOnlyList<StateVector>? from = null)
    {
        float[] weights = Initial(from), moment = new float[Parameters];
        RunPosition position = RunPosition.Start;
        StageRules rules = Rules(steps);
        for (long step = 0; step < steps; step++)
        {
            var tree = new ReductionTree<GradientSlice>(Shards, GradientSlice.Merge);
            for (int shard = 0; shard < Shards; shard++)
            {
                ShardSum sum = Compute(weights, step, shard);
                tree.Add(shard, new GradientSlice(sum.Gradient, sum.Sums));
            }

            var total = new ShardSum(tree.Total!.Values.ToArray(), tree.Total.Sums!);
            StepDecision decision = rules.Decide(position, Measure(total), _ => "");
            Update(weights, moment, total);
            position = decision.Position;
        }

        return new TrainingState(
            position, steps, [new StateVector("weights", weights), new StateVector("moment1", moment)], []);
    }

    /// <summary>Digest of the weights of a stage that one process trained.</summary>
    public static string AloneDigest(long steps, IReadOnlyList<StateVector>? from = null) =>
        TrainingState.Digest(Alone(steps, from).Vectors[0]);

    public static StageRules Rules(long steps) => new(
        "toy", steps, Batch, SaveInterval, new StepPolicy { Patience = 2, ReturnsMax = 1 });

    private void CheckData()
    {
        if (DataFault is { } fault)
        {
            throw new StageRefusedException(fault);
        }
    }

    private static float[] Initial(IReadOnlyList<StateVector>? from) =>
        from is null ? [.. Enumerable.Range(0, Parameters).Select(i => (float)i)] : [.. from[0].Values];

    private static ShardSum Compute(float[] weights, long step, int shard)
    {
        float[] gradient = [.. weights.Select((weight, i) => (float)Math.Sin(weight + (0.1 * step) + shard + i))];
        int first = (int)(step * Batch) + (2 * shard);
        return new ShardSum(gradient, new BatchSums
        {
            LossSum = 1 + Math.Abs(gradient[0]), Samples = 2, SampleIds = [first, first + 1],
            Largest = new SampleLoss(first, 1),
        });
    }

    private static BatchOutcome Measure(ShardSum total) => total.Sums.Outcome(
        Math.Sqrt(total.Gradient.Sum(number => (double)number * number)) / total.Sums.Samples);

    private static void Update(float[] weights, float[] moment, ShardSum total)
    {
        for (int i = 0; i < weights.Length; i++)
        {
            moment[i] = (0.5f * moment[i]) + (total.Gradient[i] / total.Sums.Samples);
            weights[i] -= (float)(Rate * moment[i]);
        }
    }

    private sealed class FakeStage : IStageWork
    {
        private readonly FakeTraining _device;
        private readonly string _name;
        private readonly float[] _moment = new float[Parameters];
        private readonly float[] _weights = Initial(null);
        private ShardSum? _measured;

        public FakeStage(FakeTraining device, StagePlan plan)
        {
            (_device, _name) = (device, plan.Name);
            long Setting(string key, long otherwise) => plan.Overrides
                .Where(one => one.StartsWith(key + "=", StringComparison.Ordinal))
                .Select(one => long.Parse(one[(key.Length + 1)..], CultureInfo.InvariantCulture))
                .DefaultIfEmpty(otherwise).Last();
            var identity = new RunIdentity
            {
                Stage = plan.Name, Network = "{}", Seed = 1, Batch = Batch, Shards = FakeTraining.Shards,
                ThreadsPerShard = 1, Precision = "float32", MaskRatio = 0, LatentColumn = "latents", Samples = 1000,
                Data = "data", OrderVersion = plan.OrderVersion ?? device.OrderVersion,
                Device = device.Kind,
            };
            Facts = new StageFacts(
                Rules(Setting("steps", 30)), FakeTraining.Shards, Parameters, ["weights", "moment1"],
                identity.ToJson())
            {
                Streams = FakeTraining.Streams, Batch = Batch, LearningRate = _ => Rate,
                VerifyInterval = Setting("verify", 5),
                CheckpointsKept = (int)Setting("kept", 1), PanelInterval = Setting("panel", 0),
            };
        }

        public StageFacts Facts { get; }

        public int ParallelShards => _device.Lanes;

        public async Task<IReadOnlyList<ShardSum>> ComputeShardsAsync(long step, IReadOnlyList<int> shards)
        {
            _device.CheckData();
            if (_device.Breaks(step))
            {
                throw new InvalidOperationException("the device broke");
            }

            _device.LargestGroup = Math.Max(_device.LargestGroup, shards.Count);
            await _device.Computing(step, shards[0]);
            await Task.Delay(_device.Pace, TimeProvider.System);
            return [.. shards.Select(shard => ComputeOne(step, shard))];
        }

        private ShardSum ComputeOne(long step, int shard)
        {
            if (step == _device.DamagedBefore)
            {
                _device.DamagedBefore = null;
                _weights[3] += 1;
            }

            ShardSum sum = Compute(_weights, step, shard);
            return !_device.GivesNaN(step, shard) ? sum : new ShardSum(
                [.. sum.Gradient.Select(_ => float.NaN)],
                sum.Sums with { LossSum = double.NaN, NotFinite = 2, Largest = new SampleLoss(0, float.NaN) });
        }

        public Task<BatchOutcome> MeasureAsync(ShardSum total)
        {
            _measured = total;
            return Task.FromResult(_device.MeasuresNaN(total.Sums.SampleIds[0] / Batch)
                ? Measure(total) with { LossSum = double.NaN } : Measure(total));
        }

        public Task UpdateAsync(long step, BatchOutcome batch)
        {
            Update(_weights, _moment, _measured!);
            _measured = null;
            return Task.CompletedTask;
        }

        public Task<IReadOnlyList<StateVector>> ExportAsync() => Task.FromResult<IReadOnlyList<StateVector>>(
            [new StateVector("weights", [.. _weights]), new StateVector("moment1", [.. _moment])]);

        public Task ImportAsync(IReadOnlyList<StateVector> vectors, long updates)
        {
            vectors[0].Values.CopyTo(_weights, 0);
            vectors[1].Values.CopyTo(_moment, 0);
            return Task.CompletedTask;
        }

        public Task ResetAsync(IReadOnlyList<StateVector>? from)
        {
            Initial(from).CopyTo(_weights, 0);
            Array.Clear(_moment);
            return Task.CompletedTask;
        }

        public Task<TrainingState?> ReadFolderAsync(bool plannedOnly) => Task.FromResult(
            _device.Folders.GetValueOrDefault(_name));

        public string Place(int sample) => $"sample {sample}";

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
