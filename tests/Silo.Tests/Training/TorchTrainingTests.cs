// Goal: a stage that is trained through the grains' port, shard by shard and in slices, has the bits of the same stage
// trained in one process, also after its state went to another device; and pictures come in between, with their own
// bytes. Method: the toy stage of the engine's tests beside a tiny model's device.
using Atelier.Contracts.Generations;
using Atelier.Grains.Ports;
using Atelier.Model.Tests.Training;
using Atelier.Model.Tests.Training.Runs;
using Atelier.Silo.Devices;
using Atelier.Silo.Tests.Devices;
using Atelier.Silo.Training;
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Silo.Tests.Training;

public sealed class TorchTrainingTests : IDisposable
{
    private const int Steps = 8;
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(5);
    private static readonly StagePlan s_plan = new("run", "toy", "", []);

    private readonly string _folder = Directory.CreateTempSubdirectory("atelier-stage").FullName;
    private readonly TorchDeviceOptions _options = new();
    private readonly DeviceLane _lane;

    public TorchTrainingTests() => _lane = DeviceLane.Of(_options, TimeProvider.System);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _lane.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task StageThroughThePort_HasTheBitsOfTrain_WhilePicturesAreDrawn()
    {
        string expected = ToyStage.Run(ToyStage.Config(Path.Combine(_folder, "alone")) with { Steps = Steps });
        GenerationSpec spec = TinyModels.Spec(TinyModels.First);
        using var device = new TorchDeviceHost([TinyModels.First], _options, _lane);
        await device.LoadAsync(spec.Model, Cancellation);
        await using TorchStageWork first = Work("one");
        await using TorchStageWork second = Work("two");
        await first.ResetAsync(null);
        Task<string> training = TrainAsync(first, second);
        byte[] picture = TinyModels.Expected(TinyModels.First, spec);
        for (int i = 0; i < 2 || !training.IsCompleted; i++)
        {
            byte[] caption = await device.EncodeAsync(spec, Cancellation);
            using IDenoising drawing = await device.BeginAsync(spec, caption, null, Cancellation);
            while (!drawing.IsDone)
            {
                await device.EvaluateAsync([drawing], Cancellation);
            }

            Assert.Equal(picture, await device.DecodeAsync(spec, drawing.Latent(), Cancellation));
        }

        Assert.Equal(expected, await training);
    }

    [Fact]
    public async Task WhatIsNotOfTheStage_IsRefused_AndChangesNothing()
    {
        await using TorchStageWork work = Work("one");
        string before = await DigestAsync(work);
        ShardSum part = await work.ComputeShardAsync(0, 0);
        BatchOutcome batch = await work.MeasureAsync(part);
        await Assert.ThrowsAsync<ArgumentException>(() => work.UpdateAsync(0, part, batch));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => work.ComputeShardAsync(0, ToyRun.Settings.Shards));
        IReadOnlyList<StateVector> state = await work.ExportAsync();
        await Assert.ThrowsAsync<ArgumentException>(() => work.ImportAsync(
            [.. state.Select(vector => vector with { Values = vector.Values[1..] })], 0));
        await Assert.ThrowsAsync<InvalidOperationException>(() => work.ResetAsync(null));
        Assert.Equal(before, await DigestAsync(work));
    }

    [Fact]
    public async Task StageThatCannotBeOpened_IsRefused_WithTheReason()
    {
        var training = new TorchTraining(_lane, _options);
        StageRefusedException refusal = await Assert.ThrowsAsync<StageRefusedException>(
            () => training.OpenAsync(s_plan with { Configuration = "seed: 1" }, Cancellation));
        Assert.Contains("exp_name", refusal.Message);
    }

    // Shards in any order, summed in two slices; half way the state moves to another device.
    private static async Task<string> TrainAsync(TorchStageWork first, TorchStageWork second)
    {
        TorchStageWork work = first;
        RunPosition position = RunPosition.Start;
        for (int step = 0; step < Steps; step++)
        {
            if (step == Steps / 2)
            {
                work = second;
                await work.ImportAsync(await first.ExportAsync(), position.Updates);
            }

            int half = (int)work.Facts.Parameters / 2;
            int shards = work.Facts.Shards;
            ReductionTree<GradientSlice>[] trees =
                [.. Enumerable.Range(0, 2).Select(_ => new ReductionTree<GradientSlice>(shards, GradientSlice.Merge))];
            for (int shard = shards - 1; shard >= 0; shard--)
            {
                ShardSum sum = await work.ComputeShardAsync(step, shard);
                trees[0].Add(shard, new GradientSlice(sum.Gradient.AsMemory(0, half), sum.Sums));
                trees[1].Add(shard, new GradientSlice(sum.Gradient.AsMemory(half), null));
            }

            BatchSums sums = trees[0].Total!.Sums!;
            var total = new ShardSum(
                [.. trees[0].Total!.Values.ToArray(), .. trees[1].Total!.Values.ToArray()], sums);
            Assert.Equal(ToyRun.Settings.GlobalBatch, sums.SampleIds.Length);
            BatchOutcome batch = await work.MeasureAsync(total);
            StepDecision decision = work.Facts.Rules.Decide(position, batch, work.Place);
            Assert.Equal(StepVerdict.Apply, decision.Verdict);
            await work.UpdateAsync(step, total, batch);
            position = decision.Position;
        }

        return TrainingState.Digest((await work.ExportAsync())[0]);
    }

    private static async Task<string> DigestAsync(TorchStageWork work) =>
        TrainingState.Digest(await work.ExportAsync());

    private TorchStageWork Work(string name) => new(
        ToyStage.Config(Path.Combine(_folder, name)) with { Steps = Steps }, s_plan, ToyStage.Data,
        new TrainingLane(_lane, s_limit));
}
