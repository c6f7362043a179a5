// Goal: training on a device's lane ends in the bits of training without one, whether the engine is given the lane or
// shards are called for by the grains' port; and pictures come in between, with their own bytes. Method: the toy run of
// the engine's tests beside a tiny model's device.
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Atelier.Contracts.Generations;
using Atelier.Grains.Ports;
using Atelier.Model.Networks;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Tests.Training;
using Atelier.Model.Training;
using Atelier.Silo.Devices;
using Atelier.Training;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Silo.Tests.Devices;

public sealed class TorchTrainingWorkTests : IDisposable
{
    private const int Steps = 3;
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(5);

    // With one thread of libtorch's, as the lane has.
    private static readonly Lazy<string> s_expected = new(() =>
    {
        set_num_threads(1);
        using var own = new Worker(null);
        for (int step = 0; step < Steps; step++)
        {
            own.Engine.Apply(step, own.Engine.ComputeBatch(step));
        }

        return own.Digest();
    });

    private readonly TorchDeviceOptions _options = new();
    private readonly DeviceLane _lane;

    public TorchTrainingWorkTests() => _lane = DeviceLane.Of(_options, TimeProvider.System);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => _lane.Dispose();

    [Fact]
    public async Task EngineOnTheLane_EndsInTheSameBits_WhilePicturesAreDrawn()
    {
        GenerationSpec spec = TinyModels.Spec(TinyModels.First);
        using var device = new TorchDeviceHost([TinyModels.First], _options, _lane);
        await device.LoadAsync(spec.Model, Cancellation);
        using var worker = new Worker(new TrainingLane(_lane, s_limit));
        Task training = Task.Run(
            () =>
            {
                for (int step = 0; step < Steps; step++)
                {
                    worker.Engine.Apply(step, worker.Engine.ComputeBatch(step));
                }
            },
            Cancellation);
        byte[] expected = TinyModels.Expected(TinyModels.First, spec);
        for (int i = 0; i < 3 || !training.IsCompleted; i++)
        {
            byte[] caption = await device.EncodeAsync(spec, Cancellation);
            using IDenoising picture = await device.BeginAsync(spec, caption, null, Cancellation);
            while (!picture.IsDone)
            {
                await device.EvaluateAsync([picture], Cancellation);
            }

            Assert.Equal(expected, await device.DecodeAsync(spec, picture.Latent(), Cancellation));
        }

        await training;
        Assert.Equal(s_expected.Value, worker.Digest());
    }

    [Fact]
    public async Task ShardsThroughThePort_EndInTheSameBits_WhoeverHasTheDeviceInBetween()
    {
        using var worker = new Worker(new TrainingLane(_lane, s_limit));
        var work = new TorchTrainingWork(worker.Engine, _lane, s_limit);
        for (int step = 0; step < Steps; step++)
        {
            var tree = new ReductionTree<ShardSum>(ToyRun.Settings.Shards, Merge);
            for (int shard = ToyRun.Settings.Shards - 1; shard >= 0; shard--)
            {
                using ITrainingLoan loan = await work.BorrowAsync(Cancellation);
                tree.Add(shard, await loan.ComputeShardAsync(step, shard));
                Task<DeviceLoan> others = _lane.AcquireAsync("others", Cancellation);
                Assert.True(loan.IsWanted);
                loan.Dispose();
                (await others).Dispose();
            }

            using ITrainingLoan last = await work.BorrowAsync(Cancellation);
            BatchOutcome batch = await last.MeasureAsync(tree.Total!);
            Assert.Equal(ToyRun.Settings.GlobalBatch, batch.Samples);
            await last.ApplyAsync(step, tree.Total!, batch);
        }

        Assert.Equal(s_expected.Value, worker.Digest());
    }

    [Fact]
    public async Task TotalsThatAreNotOfTheRun_AreRefused_AndChangeNothing()
    {
        using var worker = new Worker(null);
        string before = worker.Digest();
        var work = new TorchTrainingWork(worker.Engine, _lane, s_limit);
        using ITrainingLoan loan = await work.BorrowAsync(Cancellation);
        ShardSum part = await loan.ComputeShardAsync(0, 0);
        BatchOutcome numbers = await loan.MeasureAsync(part);
        await Assert.ThrowsAsync<ArgumentException>(() => loan.ApplyAsync(0, part, numbers));
        await Assert.ThrowsAsync<ArgumentException>(() => loan.MeasureAsync(part with { Gradient = [1, 2, 3, 4] }));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => loan.ComputeShardAsync(0, -1));
        loan.Dispose();
        await Assert.ThrowsAsync<InvalidOperationException>(() => loan.ComputeShardAsync(0, 0));
        Assert.Equal(before, worker.Digest());
    }

    private static ShardSum Merge(ShardSum left, ShardSum right)
    {
        var sum = new byte[left.Gradient.Length];
        Span<float> into = MemoryMarshal.Cast<byte, float>(sum.AsSpan());
        ReadOnlySpan<float> a = MemoryMarshal.Cast<byte, float>(left.Gradient);
        ReadOnlySpan<float> b = MemoryMarshal.Cast<byte, float>(right.Gradient);
        for (int i = 0; i < into.Length; i++)
        {
            into[i] = a[i] + b[i];
        }

        return new ShardSum(sum, left.LossSum + right.LossSum, left.Samples + right.Samples);
    }

    private sealed class Worker : IDisposable
    {
        private readonly MicroDiT _network = new(SmallNetworks.Tiny);

        public Worker(IComputeLane? lane)
        {
            MicroDiTInitializer.Initialize(_network, 17);
            Engine = new TrainingEngine(_network, ToyRun.Settings, ToyRun.Shards(ToyRun.Settings), lane: lane);
        }

        public TrainingEngine Engine { get; }

        public string Digest()
        {
            using Tensor all = cat([Engine.Master.Weights.detach(), Engine.Master.Average!]);
            return Convert.ToHexStringLower(SHA256.HashData(all.bytes));
        }

        public void Dispose()
        {
            Engine.Dispose();
            _network.Dispose();
        }
    }
}
