// Goal: the bits of a training depend on the threads of a shard, which the run fixes, and neither on the threads of the
// process nor on its lanes. Method: the same stage and the same batches with several numbers of each.
using System.Collections.Concurrent;
using System.Security.Cryptography;
using Atelier.Model.Networks;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Tests.Training.Runs;
using Atelier.Model.Tests.Verify;
using Atelier.Model.Training;
using Atelier.Model.Training.Runs;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Training;

// Runs alone, because it changes the number of threads of the process.
[Collection(nameof(LongRunTests))]
public sealed class ThreadsTests : IDisposable
{
    private readonly int _before = get_num_threads();

    public void Dispose() => set_num_threads(_before);

    // The checkpoint holds weights, moments, average, ledger and the policy's memory of every norm.
    [Theory]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16)]
    public void Stage_EndsWithTheSameCheckpoint_WithOneTwoAndFourThreads(ScalarType compute)
    {
        using var folder = new TemporaryFolder();
        string[] digests = [.. new[] { 1, 2, 4 }.Select(threads =>
        {
            set_num_threads(threads);
            StageConfig config = ToyStage.Config(folder[$"{threads}"], compute);
            ToyStage.Run(config);
            using var run = new StageState(config, ToyStage.Data, _ => { });
            Assert.Equal(threads, run.Lanes.Lanes);
            return Convert.ToHexString(SHA256.HashData(
                File.ReadAllBytes(folder[$"{threads}/stop-000000020.safetensors"])));
        })];
        Assert.Single(digests.Distinct());
    }

    // Products whose bits differ between one thread and two.
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Batches_GiveTheSameBits_WithAnyNumberOfThreadsAndLanes(int threadsPerShard)
    {
        string expected = Run(1, 1);
        foreach ((int threads, int lanes) in new[] { (2, 1), (4, 1), (1, 2), (2, 2), (4, 4), (3, 100) })
        {
            Assert.Equal(expected, Run(threads, lanes));
        }

        string Run(int threads, int lanes)
        {
            set_num_threads(threads);
            TrainingSettings settings = ToyRun.Settings with { ThreadsPerShard = threadsPerShard };
            using var network = new MicroDiT(SmallNetworks.Realistic);
            MicroDiTInitializer.Initialize(network, 17);
            var shards = new SeededShards(
                new ToyData(13, SmallNetworks.Realistic), settings, SmallNetworks.Realistic, 1, captionDrop: 0.1);
            using var engine = new TrainingEngine(network, settings, shards, parallel: lanes);
            string norms = "";
            for (int step = 0; step < 2; step++)
            {
                norms += $"{engine.Apply(step, engine.ComputeBatch(step))} ";
            }

            return norms + Bits(engine.Master);
        }
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 4)]
    [InlineData(3, 1)]
    [InlineData(3, 2)]
    public void Shard_IsComputedByItsOwnThreads_AndTheCallersAreUnchanged(int threadsPerShard, int lanes)
    {
        set_num_threads(2);
        TrainingSettings settings = ToyRun.Settings with { ThreadsPerShard = threadsPerShard };
        using var network = new MicroDiT(SmallNetworks.Tiny);
        var source = new Counting(ToyRun.Shards(settings));
        using var engine = new TrainingEngine(network, settings, source, parallel: lanes);
        engine.ComputeBatch(0).Dispose();
        Assert.Equal(2, get_num_threads());
        using GradientSum one = engine.ComputeShard(0, 0);
        engine.Measure(one);
        Assert.Equal(2, get_num_threads());
        Assert.Equal(settings.Shards + 1, source.Threads.Count);
        Assert.All(source.Threads, count => Assert.Equal(threadsPerShard, count));
    }

    // A total is applied by all threads of the process. Neither count is a multiple of a vector's width.
    [Theory]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16)]
    public void Update_GivesTheSameBits_WithAnyNumberOfThreads(ScalarType compute)
    {
        string[] states = [.. new[] { 1, 2, 3, 4, 7 }.Select(threads =>
        {
            set_num_threads(threads);
            using var network = new Linear(631, 997, bias: true);
            using Tensor weight = SmallNetworks.Normal(1, [997, 631]), bias = SmallNetworks.Normal(2, [997]);
            using (no_grad())
            {
                network.get_parameter("weight")!.copy_(weight);
                network.get_parameter("bias")!.copy_(bias);
            }

            using var master = new MasterWeights(
                network, compute, new UpdateSettings { Average = new AverageSettings(0.999), ClipNorm = 0.5 });
            for (int step = 0; step < 3; step++)
            {
                using Tensor gradient = SmallNetworks.Normal((ulong)step, [(997 * 631) + 997]);
                master.Update(step, gradient, samples: 3, norm: 7, learningRate: 1e-2);
            }

            return Bits(master);
        })];
        Assert.Single(states.Distinct());
    }

    private static string Bits(MasterWeights master) => string.Join(' ', new[]
    {
        master.Weights, master.Average!, master.Optimizer.FirstMoment, master.Optimizer.SecondMoment,
    }.Select(tensor => Convert.ToHexString(SHA256.HashData(FormulaCase.Bits(tensor)))));

    private sealed class Counting(IShardSource source) : IShardSource
    {
        public ConcurrentBag<int> Threads { get; } = [];

        public ShardBatch Read(long step, int shard)
        {
            Threads.Add(get_num_threads());
            return source.Read(step, shard);
        }
    }
}
