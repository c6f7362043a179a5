// Goal: the weights that a run ends with do not depend on who computed what, in which order, or who came and went; and
// a step does what it says. Method: simulated workers, each with a network and an engine of its own, that exchange
// bytes.
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Atelier.Model.Networks;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Tests.Verify;
using Atelier.Model.Training;
using Atelier.Training;
using Atelier.Training.Worlds;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Training;

// Runs alone: MKL's number of threads is the whole process's, bits depend on it, and tests of shards at the same time
// change it.
[Collection(nameof(LongRunTests))]
public sealed class TrainingEngineTests
{
    private const int Steps = 4;

    private static readonly Lazy<string> s_oneProcess = new(() =>
    {
        (MicroDiT network, TrainingEngine engine) = ToyRun.Worker(ToyRun.Settings);
        using (network)
        using (engine)
        {
            for (int step = 0; step < Steps; step++)
            {
                engine.Apply(step, engine.ComputeBatch(step));
            }

            return State(engine);
        }
    });

    public static TheoryData<TrainingSettings, string> WrongSettings => new()
    {
        { new() { Microbatch = 0 }, "Microbatch must be at least 1, not 0." },
        { new() { Shards = 3 }, "Shards must be a power of two in 1..1048576, not 3." },
        { new() { ThreadsPerShard = 0 }, "ThreadsPerShard must be in 1..1024, not 0." },
        { new() { Shards = 1 << 20, Microbatch = 1 << 12 }, "A batch has at most 2147483647 samples." },
        { new() { MaskRatio = 1 }, "MaskRatio must be in [0, 1), not 1." },
        { new() { ClipNorm = double.NaN }, "ClipNorm must be positive, not NaN; infinity disables clipping." },
        { new() { ClipNorm = 0 }, "ClipNorm must be positive, not 0; infinity disables clipping." },
        { new() { EmaSmoothing = 1.5 }, "EmaSmoothing must be in 0..1, not 1.5." },
        { new() { EmaStart = -1 }, "EmaStart must be at least 0, not -1." },
        { new() { LearningRate = new() { Base = double.NaN } }, "The learning rate must be at least 0, not NaN." },
        { new() { LearningRate = new() { TotalSteps = 0 } }, "The learning rate's schedule must have " },
        { new() { LearningRate = new() { FinalFraction = -1 } }, "FinalFraction must be at least 0, not -1." },
        { new() { Optimizer = new() { Beta2 = 1 } }, "Betas must be in [0, 1), not 0.9 and 1." },
        { new() { Optimizer = new() { Epsilon = double.NaN } }, "Epsilon must be at least 0, not NaN." },
        { new() { Optimizer = new() { WeightDecay = -0.1 } }, "WeightDecay must be at least 0, not -0.1." },
        { new() { Edm = new() { SigmaData = 0 } }, "SigmaData must be positive, not 0." },
        { new() { Edm = new() { PStd = double.NaN } }, "Noise levels must have a finite PMean" },
    };

    [Theory]
    [MemberData(nameof(WrongSettings))]
    public void WrongSetting_IsRefused(TrainingSettings settings, string sentence) =>
        Assert.StartsWith(sentence, Assert.Throws<ArgumentException>(settings.Checked).Message);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(5)]
    public void AnyNumberOfWorkers_EndsInTheSameBits_HoweverShardsAndPartialsAreDealt(int workers)
    {
        var random = new Random(workers);
        List<(MicroDiT Network, TrainingEngine Engine)> world =
            [.. Enumerable.Range(0, workers).Select(_ => ToyRun.Worker(ToyRun.Settings))];
        for (int step = 0; step < Steps; step++)
        {
            Step(world, step, random);
        }

        Assert.All(world, worker => Assert.Equal(s_oneProcess.Value, State(worker.Engine)));
        Dispose(world);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(100)]
    public void ShardsAtTheSameTime_EndInTheSameBitsAsOneByOne_WithAsManyThreadsAsEachHas(int parallel)
    {
        int before = get_num_threads();
        try
        {
            Assert.Equal(Run(1, 1), Run(parallel, Math.Min(parallel, ToyRun.Settings.Shards)));
        }
        finally
        {
            set_num_threads(before);
        }

        static string Run(int parallel, int threads)
        {
            set_num_threads(threads);
            (MicroDiT network, TrainingEngine engine) = ToyRun.Worker(ToyRun.Settings, parallel);
            using (network)
            using (engine)
            {
                for (int step = 0; step < Steps; step++)
                {
                    engine.Apply(step, engine.ComputeBatch(step));
                    Assert.Equal(threads, get_num_threads());
                }

                return State(engine);
            }
        }
    }

    // Threads of the pool help only if several shards are computed at the same time, and only within the lane's work.
    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void EngineWithALane_ComputesOnlyInTheLanesWork_AndEndsInTheSameBits(int parallel)
    {
        using var lane = new Lane();
        var reads = new List<(Thread Thread, bool IsInWork)>();
        var network = new MicroDiT(SmallNetworks.Tiny);
        MicroDiTInitializer.Initialize(network, 17);
        var source = new Watched(ToyRun.Shards(ToyRun.Settings), () => reads.Add((Thread.CurrentThread, lane.IsBusy)));
        var engine = new TrainingEngine(network, ToyRun.Settings, source, parallel: parallel, lane: lane);
        for (int step = 0; step < Steps; step++)
        {
            engine.Apply(step, engine.ComputeBatch(step));
        }

        engine.ComputeShard(0, 0).Dispose();
        Assert.Equal(s_oneProcess.Value, State(engine));
        Assert.All(reads, read => Assert.True(read.IsInWork));
        Assert.All(reads, read => Assert.True(parallel > 1 || read.Thread == lane.Thread));
        string[] computed = parallel == 1
            ? [.. Enumerable.Range(0, ToyRun.Settings.Shards).Select(shard => $"Shard {shard} of batch 1")]
            : ["Shards 0, 1, 2 of batch 1", "Shards 3, 4, 5 of batch 1", "Shards 6, 7 of batch 1"];
        int items = computed.Length + 2;
        Assert.Equal([.. computed, "Measuring a batch", "Applying batch 1"], lane.Work.Skip(items).Take(items));
        Dispose([(network, engine)]);
    }

    [Fact]
    public void ShardWithoutItsSamples_SaysWhatIsWrong()
    {
        using var network = new MicroDiT(SmallNetworks.Tiny);
        using var engine = new TrainingEngine(network, ToyRun.Settings, new Broken(), parallel: 2);
        Assert.Equal("shard 5", Assert.Throws<InvalidDataException>(() => engine.ComputeBatch(0)).Message);
    }

    [Fact]
    public void WorkersThatComeAndGo_ChangeNothing()
    {
        var random = new Random(99);
        List<(MicroDiT Network, TrainingEngine Engine)> world =
            [ToyRun.Worker(ToyRun.Settings), ToyRun.Worker(ToyRun.Settings)];
        int[] sizes = [2, 4, 1, 3];
        for (int step = 0; step < Steps; step++)
        {
            while (world.Count < sizes[step])
            {
                world.Add(CopyOf(world[0].Engine));
            }

            // The newest leave first; the peer that newcomers copy changes too.
            Dispose(world[sizes[step]..]);
            world = [.. world[..sizes[step]].AsEnumerable().Reverse()];
            Step(world, step, random);
        }

        Assert.All(world, worker => Assert.Equal(s_oneProcess.Value, State(worker.Engine)));
        Dispose(world);
    }

    [Fact]
    public void AShard_GivesTheSameBitsEachTime_WhateverWasComputedBefore()
    {
        (MicroDiT network, TrainingEngine engine) = ToyRun.Worker(ToyRun.Settings);
        using var owner = network;
        using var second = engine;
        string before = State(engine);
        using GradientSum first = engine.ComputeShard(2, 3);
        using GradientSum other = engine.ComputeShard(5, 7);
        using GradientSum again = engine.ComputeShard(2, 3);
        Assert.Equal(FormulaCase.Bits(first.Gradient), FormulaCase.Bits(again.Gradient));
        Assert.Equal((first.Sums.LossSum, first.Sums.Samples), (again.Sums.LossSum, again.Sums.Samples));
        Assert.NotEqual(FormulaCase.Bits(first.Gradient), FormulaCase.Bits(other.Gradient));
        Assert.Equal(before, State(engine));
        Assert.Throws<ArgumentOutOfRangeException>(() => engine.ComputeShard(-1, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => engine.ComputeShard(0, -1));
        Assert.Throws<ArgumentOutOfRangeException>(() => engine.ComputeShard(0, 8));
    }

    [Fact]
    public void Apply_RefusesATotalOfAPartialBatch_AndChangesNothing()
    {
        (MicroDiT network, TrainingEngine engine) = ToyRun.Worker(ToyRun.Settings);
        using var owner = network;
        using var second = engine;
        string before = State(engine);
        using GradientSum part = GradientSum.Merge(engine.ComputeShard(0, 0), engine.ComputeShard(0, 1));
        var error = Assert.Throws<ArgumentException>(() => engine.Apply(0, part));
        Assert.Contains("The total has 4 samples and leaves out 0; a batch has 16", error.Message);
        Assert.Equal(before, State(engine));
    }

    // With one sample per shard, a batch without some of them is the sum of the other shards, divided by their number.
    [Fact]
    public void BatchWithoutSomeSamples_IsTheMeanOfTheOthers_HoweverItIsCutAndComputed()
    {
        using var scope = NewDisposeScope();
        int[] bad = [2, 7];
        TrainingSettings single = ToyRun.Settings with { Shards = 16, Microbatch = 1 };
        (MicroDiT network, TrainingEngine engine) = Spoiled(single, bad, 1);
        SeededShards shards = ToyRun.Shards(single);
        int[] sound = [.. Enumerable.Range(0, 16).Where(shard => !bad.Contains(shards.Read(0, shard).Samples[0]))];
        Assert.InRange(sound.Length, 12, 14); // A batch of 16 of 13 samples holds some twice.
        GradientSum total = engine.ComputeBatch(0);
        Assert.Equal((sound.Length, 16 - sound.Length), (total.Sums.Samples, total.Sums.LeftOut.Length));
        GradientSum[] parts = [.. sound.Select(shard => engine.ComputeShard(0, shard))];
        double loss = parts.Sum(part => part.Sums.LossSum) / sound.Length;
        Tensor gradient =
            stack(parts.Select(part => part.Gradient.to(ScalarType.Float64))).sum([0]) / sound.Length; // [P]
        BatchOutcome batch = total.Measure();
        (double measured, double norm) = (batch.Loss, batch.GradientNorm);
        Assert.Equal(loss, measured, 1e-6);
        Assert.Equal(linalg.norm(gradient).to(ScalarType.Float64).item<double>(), norm, 1e-5);
        string[] leftOut = [.. total.Sums.LeftOut.Select(sample => $"{sample.Sample}")];
        StepOutcome outcome = engine.Apply(0, total);
        Assert.Equal(measured, outcome.Loss);
        Dispose([(network, engine)]);

        foreach ((int shardCount, int parallel) in new[] { (16, 4), (8, 1), (2, 2), (1, 1) })
        {
            TrainingSettings settings = ToyRun.Settings with { Shards = shardCount, Microbatch = 16 / shardCount };
            (network, engine) = Spoiled(settings, bad, parallel);
            GradientSum again = engine.ComputeBatch(0);
            Assert.Equal(leftOut, again.Sums.LeftOut.Select(sample => $"{sample.Sample}"));
            BatchOutcome other = again.Measure();
            Assert.Equal(measured, other.Loss, 1e-5);
            Assert.Equal(norm, other.GradientNorm, 1e-5);
            again.Dispose();
            Dispose([(network, engine)]);
        }
    }

    [Fact]
    public void BatchWithoutAnySample_HasNoLoss_AndIsNotApplied()
    {
        (MicroDiT network, TrainingEngine engine) = Spoiled(ToyRun.Settings, [.. Enumerable.Range(0, 13)], 2);
        string before = State(engine);
        using GradientSum total = engine.ComputeBatch(0);
        Assert.Equal((0, 16), (total.Sums.Samples, total.Sums.LeftOut.Length));
        Assert.True(double.IsNaN(total.Measure().Loss));
        Assert.Throws<ArgumentException>(() => engine.Apply(0, total));
        Assert.Equal(before, State(engine));
        Dispose([(network, engine)]);
    }

    private static (MicroDiT Network, TrainingEngine Engine) Spoiled(TrainingSettings settings, int[] bad, int parallel)
    {
        var network = new MicroDiT(SmallNetworks.Tiny);
        MicroDiTInitializer.Initialize(network, 17);
        var data = new Runs.ToyStage.SpoiledData(
            new ToyData(13, SmallNetworks.Tiny), sample => bad.Contains(sample) ? float.NaN : null);
        var source = new SeededShards(data, settings, SmallNetworks.Tiny, 1, captionDrop: 0.1);
        return (network, new TrainingEngine(network, settings, source, parallel: parallel));
    }

    [Theory]
    [InlineData(1e-3)]
    [InlineData(0.1)]
    [InlineData(double.PositiveInfinity)]
    public void Clipping_ShortensTheMeanGradientToItsBound_AndKeepsItsDirection(double bound)
    {
        using var scope = NewDisposeScope();
        (MicroDiT network, TrainingEngine engine) = ToyRun.Worker(ToyRun.Settings with { ClipNorm = bound });
        using var owner = network;
        using var second = engine;
        GradientSum total = engine.ComputeBatch(0);
        Tensor mean = total.Gradient.clone() / 16;
        double norm = linalg.norm(mean).item<float>();
        StepOutcome outcome = engine.Apply(0, total);

        // After one update the first moment is a tenth of the gradient.
        Tensor arrived = engine.Master.Optimizer.FirstMoment / 0.1;
        double length = linalg.norm(arrived).item<float>();
        Assert.Equal(norm, outcome.GradientNorm, norm * 1e-5);
        Assert.Equal(Math.Min(norm, bound), length, length * 1e-4);
        Assert.Equal(1, (mean * arrived).sum().item<float>() / (norm * length), 1e-4);
        Assert.True(norm > 0.1, "the bounds are meant to act");
    }

    [Fact]
    public void TheAverageOfWeights_FollowsItsRecursion_FromTheStepWhereItStarts()
    {
        foreach (long start in new long[] { 0, 2 })
        {
            using var scope = NewDisposeScope();
            (MicroDiT network, TrainingEngine engine) = ToyRun.Worker(ToyRun.Settings with { EmaStart = start });
            using var owner = network;
            using var second = engine;
            Tensor expected = engine.Master.Weights.detach().clone();
            for (int step = 0; step < Steps; step++)
            {
                engine.Apply(step, engine.ComputeBatch(step));
                expected = step + 1 <= start ? engine.Master.Weights.detach().clone()
                    : (expected * 0.9) + (engine.Master.Weights.detach() * 0.1);
            }

            Assert.InRange((engine.Master.Average! - expected).abs().max().item<float>(), 0, 1e-6);
            Assert.True((engine.Master.Average! - engine.Master.Weights).abs().max().item<float>() > 1e-4);
        }
    }

    [Fact]
    public void TheAverageOfWeights_HoldsNothingOfTheInitialOnes_WhereTheBatchBeforeItsStartWasSkipped()
    {
        (MicroDiT network, TrainingEngine engine) = ToyRun.Worker(ToyRun.Settings with { EmaStart = 2 });
        using var owner = network;
        using var second = engine;
        using var scope = NewDisposeScope();
        engine.Apply(0, engine.ComputeBatch(0));
        Tensor first = engine.Master.Weights.detach().clone();
        engine.Apply(2, engine.ComputeBatch(2));
        Tensor expected = (first * 0.9) + (engine.Master.Weights.detach() * 0.1);
        Assert.InRange((engine.Master.Average! - expected).abs().max().item<float>(), 0, 1e-6);
    }

    [Theory]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16)]
    public void AFewDozenSteps_ReduceTheLoss_AndMasterWeightsStayFloat32(ScalarType compute)
    {
        using var scope = NewDisposeScope();
        var network = new MicroDiT(SmallNetworks.Tiny);
        MicroDiTInitializer.Initialize(network, 17);
        TrainingSettings settings = ToyRun.Settings with
        {
            Shards = 1,
            Microbatch = 16,
            ClipNorm = 1,
            MaskRatio = 0,
            LearningRate = new LearningRate { Base = 5e-3 },
        };
        using var engine = new TrainingEngine(network, settings, ToyRun.Shards(settings), compute);
        double[] losses =
            [.. Enumerable.Range(0, 48).Select(step => engine.Apply(step, engine.ComputeBatch(step)).Loss)];
        (double first, double last) = (losses[..8].Average(), losses[^8..].Average());
        Assert.True(last < 0.7 * first, $"{first} to {last}");
        Assert.Equal(ScalarType.Float32, engine.Master.Weights.dtype);
        Assert.Equal(ScalarType.Float32, engine.Master.Optimizer.SecondMoment.dtype);
        Dictionary<string, Tensor> master = engine.Master.Named(engine.Master.Weights).ToDictionary(
            view => view.Name, view => view.View);
        Assert.All(
            network.named_parameters(), p => Assert.True(master[p.name].to(compute).Equals(p.parameter), p.name));
        bool finer =
            engine.Master.Weights.to(ScalarType.BFloat16).to(ScalarType.Float32).ne(engine.Master.Weights).any()
                .item<bool>();
        Assert.True(finer, "bfloat16 would lose what the master weights hold");
        network.Dispose();
    }

    // One step of a world: shards dealt at random, partial sums exchanged as bytes, in a different order for every
    // receiver.
    private static void Step(List<(MicroDiT Network, TrainingEngine Engine)> world, long step, Random random)
    {
        List<(TreeNode Node, float[] Gradient, BatchSums Sums)> messages = [];
        int[] owner = [.. Enumerable.Range(0, ToyRun.Settings.Shards).Select(_ => random.Next(world.Count))];
        for (int rank = 0; rank < world.Count; rank++)
        {
            var tree = new ReductionTree<GradientSum>(ToyRun.Settings.Shards, GradientSum.Merge);
            int[] mine = [.. Enumerable.Range(0, owner.Length).Where(shard => owner[shard] == rank)];
            random.Shuffle(mine);
            foreach (int shard in mine)
            {
                tree.Add(shard, world[rank].Engine.ComputeShard(step, shard));
            }

            foreach ((TreeNode node, GradientSum sum) in tree.Partials)
            {
                messages.Add((node, SmallNetworks.Floats(sum.Gradient), sum.Sums));
                sum.Dispose();
            }
        }

        foreach ((_, TrainingEngine engine) in world)
        {
            var tree = new ReductionTree<GradientSum>(ToyRun.Settings.Shards, GradientSum.Merge);
            var received = CollectionsMarshal.AsSpan(messages);
            random.Shuffle(received);
            foreach ((TreeNode node, float[] gradient, BatchSums sums) in received)
            {
                tree.Add(node, new GradientSum(tensor(gradient), sums));
            }

            engine.Apply(step, tree.Total!);
        }
    }

    private static (MicroDiT Network, TrainingEngine Engine) CopyOf(TrainingEngine peer)
    {
        (MicroDiT network, TrainingEngine engine) = ToyRun.Worker(ToyRun.Settings);
        using var noGradients = no_grad();
        engine.Master.Weights.copy_(peer.Master.Weights);
        engine.Master.Average!.copy_(peer.Master.Average!);
        engine.Master.Optimizer.FirstMoment.copy_(peer.Master.Optimizer.FirstMoment);
        engine.Master.Optimizer.SecondMoment.copy_(peer.Master.Optimizer.SecondMoment);
        engine.Master.Optimizer.Updates = peer.Master.Optimizer.Updates;
        engine.Master.Refresh();
        return (network, engine);
    }

    private static void Dispose(IEnumerable<(MicroDiT Network, TrainingEngine Engine)> workers)
    {
        foreach ((MicroDiT network, TrainingEngine engine) in workers)
        {
            engine.Dispose();
            network.Dispose();
        }
    }

    private static string State(TrainingEngine engine) => string.Join(' ', new[]
    {
        engine.Master.Weights, engine.Master.Average!, engine.Master.Optimizer.FirstMoment,
        engine.Master.Optimizer.SecondMoment,
    }.Select(tensor => Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(FormulaCase.Bits(tensor)))));

    // A thread with as many threads of libtorch's as the caller's.
    private sealed class Lane : IComputeLane, IDisposable
    {
        private readonly BlockingCollection<Task> _items = [];

        public Lane()
        {
            int threads = get_num_threads();
            Thread = new Thread(() =>
            {
                set_num_threads(threads);
                foreach (Task item in _items.GetConsumingEnumerable())
                {
                    item.RunSynchronously();
                }
            });
            Thread.Start();
        }

        public Thread Thread { get; }

        public List<string> Work { get; } = [];

        public bool IsBusy { get; private set; }

        public T Run<T>(string what, Func<T> work)
        {
            Work.Add(what);
            var item = new Task<T>(() =>
            {
                IsBusy = true;
                try
                {
                    return work();
                }
                finally
                {
                    IsBusy = false;
                }
            });
            _items.Add(item);
#pragma warning disable VSTHRD002 // The engine is synchronous, and this thread is not the lane's.
            return item.GetAwaiter().GetResult();
#pragma warning restore VSTHRD002
        }

        public void Dispose()
        {
            _items.CompleteAdding();
            Thread.Join();
            _items.Dispose();
        }
    }

    private sealed class Watched(IShardSource source, Action reading) : IShardSource
    {
        public ShardBatch Read(long step, int shard)
        {
            reading();
            return source.Read(step, shard);
        }
    }

    private sealed class Broken : IShardSource
    {
        private readonly SeededShards _whole = ToyRun.Shards(ToyRun.Settings);

        public ShardBatch Read(long step, int shard) =>
            shard == 5 ? throw new InvalidDataException("shard 5") : _whole.Read(step, shard);
    }
}
