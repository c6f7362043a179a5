// Goal: a stage that is trained through the grains' port, shard by shard and in slices, has the bits of the same stage
// trained in one process, also after its state moved to another device; and pictures are drawn in between, with their
// own bytes. Method: the toy stage of the engine's tests beside a tiny model's device.
using System.Security.Cryptography;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Grains.Ports;
using Atelier.Model;
using Atelier.Model.Data.Caching;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Tests.Training;
using Atelier.Model.Tests.Training.Runs;
using Atelier.Model.Training.Runs;
using Atelier.Silo.Blobs;
using Atelier.Silo.Devices;
using Atelier.Silo.Tests.Devices;
using Atelier.Silo.Training;
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;
using TorchSharp;
using Xunit;

namespace Atelier.Silo.Tests.Training;

public sealed class TorchTrainingTests : IDisposable
{
    private const int Steps = 8;
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(5);
    private static readonly StagePlan s_plan = new("run", "toy", "", []);

    private static readonly StageConfig s_tooLarge = ToyStage.Config("unused") with
    {
        Network = SmallNetworks.Tiny with { Dim = 4096, Depth = 512 },
    };

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
        await using TorchStageWork second = Work("two", threads: 2);
        Assert.Equal((1, 2), (first.ParallelShards, second.ParallelShards));
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
    public async Task Run_MovesFromTrainToTheCluster_AndBack_WithTheSameBits()
    {
        const int all = 14, begun = 5, moved = 9;
        StageConfig config = ToyStage.Config(Path.Combine(_folder, "moved")) with { Steps = all };
        string expected = ToyStage.Run(config with { Folder = Path.Combine(_folder, "alone") });
        ToyStage.Run(config, begun);
        TrainingState state;
        CheckpointManifest checkpoint;
        var blobs = new FolderBlobStore(
            new FolderBlobStoreOptions { Folder = Path.Combine(_folder, "blobs") }, TimeProvider.System);
        await using (TorchStageWork work = Work(config))
        {
            state = (await work.ReadFolderAsync(plannedOnly: false))!;
            Assert.Equal((begun, 0), (state.Position.Step, state.LastPlanned));
            Assert.Null(await work.ReadFolderAsync(plannedOnly: true));
            await work.ImportAsync(state.Vectors, state.Position.Updates);
            RunPosition position = await AdvanceAsync(work, state.Position, moved);
            state = new TrainingState(position, moved, await work.ExportAsync(), []);
            checkpoint = await StoreAsync(blobs, state, work.Facts);
        }

        Assert.True(checkpoint.Parts.Length > 3); // More than one slice.
        var export = new CheckpointExport(blobs);
        string path = await export.WriteAsync(checkpoint, config.Folder, Cancellation);
        Assert.Equal(CheckpointStore.PathOf(config.Folder, moved, isPlanned: true), path);
        RefusedFileException refusal = await Assert.ThrowsAsync<RefusedFileException>(
            () => export.WriteAsync(checkpoint, config.Folder, Cancellation));
        Assert.Contains("has a checkpoint of step 9", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(expected, ToyStage.Run(config));
    }

    [Fact]
    public async Task CheckpointsOfAnotherRun_AreNotResumed()
    {
        StageConfig config = ToyStage.Config(Path.Combine(_folder, "other")) with { Steps = Steps };
        ToyStage.Run(config, 2);
        await using TorchStageWork work = Work(config with { Seed = 8 });
        StageRefusedException refusal = await Assert.ThrowsAsync<StageRefusedException>(
            () => work.ReadFolderAsync(plannedOnly: false));
        Assert.Contains("seed", refusal.Message, StringComparison.Ordinal);
        await using TorchStageWork wider = Work(config with { Network = config.Network with { Dim = 48 } });
        refusal = await Assert.ThrowsAsync<StageRefusedException>(() => wider.ReadFolderAsync(plannedOnly: false));
        Assert.Contains($"{config.Folder}: checkpoints", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("use another folder", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("dim", refusal.Message, StringComparison.Ordinal);
        await using TorchStageWork fresh = Work("none");
        Assert.Null(await fresh.ReadFolderAsync(plannedOnly: false));
    }

    // As trainers of a cluster store it, in several slices.
    private static async Task<CheckpointManifest> StoreAsync(
        FolderBlobStore blobs, TrainingState state, StageFacts facts)
    {
        var owner = new BlobOwner(BlobOwnerType.Run, "run");
        var layout = new CheckpointLayout(state.Parameters) { SliceMax = (int)(state.Parameters / 3) };
        var parts = new List<CheckpointPart>();
        for (int i = 0; i < layout.Parts; i++)
        {
            byte[] bytes = CheckpointFile.Write(state, i, facts.Metadata, layout);
            var part = new CheckpointPart(Convert.ToHexStringLower(SHA256.HashData(bytes)), bytes.Length);
            using var stream = new MemoryStream(bytes);
            await blobs.PutAsync(
                BlobName.OfCluster(BlobKind.Checkpoint, part.Digest), owner, stream, bytes.Length, Cancellation);
            parts.Add(part);
        }

        return new CheckpointManifest(state.Position.Step, 1, true, [.. facts.Vectors], [.. parts]);
    }

    [Fact]
    public async Task WhatIsNotOfTheStage_IsRefused_AndChangesNothing()
    {
        await using TorchStageWork work = Work("one");
        string before = await DigestAsync(work);
        ShardSum part = (await work.ComputeShardsAsync(0, [0]))[0];
        BatchOutcome batch = await work.MeasureAsync(part);
        await Assert.ThrowsAsync<ArgumentException>(() => work.UpdateAsync(0, batch));
        await Assert.ThrowsAsync<InvalidOperationException>(() => work.UpdateAsync(0, batch)); // Nothing is kept.
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(
            () => work.ComputeShardsAsync(0, [ToyRun.Settings.Shards]));
        IReadOnlyList<StateVector> state = await work.ExportAsync();
        await Assert.ThrowsAsync<ArgumentException>(() => work.ImportAsync(
            [.. state.Select(vector => vector with { Values = vector.Values[1..] })], 0));
        Assert.Equal(before, await DigestAsync(work));
    }

    // A tensor that another thread creates or frees would change the count of the lane's thread.
    [Fact]
    public async Task Tensors_AreCreatedAndFreed_OnTheLane()
    {
        ToyStage.Run(ToyStage.Config(Path.Combine(_folder, "one")) with { Steps = Steps }, 2);
        await AdvanceOneAsync(); // Some tensors are created once in a process.
        long before = AliveOnTheLane();
        await AdvanceOneAsync();
        Assert.Equal(before, AliveOnTheLane());
        Assert.Throws<ArgumentException>(() => Work(s_tooLarge));
        Assert.Equal(before, AliveOnTheLane());

        async Task AdvanceOneAsync()
        {
            await using TorchStageWork work = Work("one");
            RunPosition position = await AdvanceAsync(work, RunPosition.Start, 2);
            IReadOnlyList<StateVector> state = await work.ExportAsync();
            await work.ImportAsync(state, position.Updates);
            await work.ResetAsync(state);
            Assert.NotNull(await work.ReadFolderAsync(plannedOnly: false));
            ShardSum part = (await work.ComputeShardsAsync(2, [0]))[0];
            await work.MeasureAsync(part); // Left behind, like a batch that is skipped.
        }
    }

    // All members return to the beginning if they must return to a checkpoint and there is none.
    [Fact]
    public async Task AResetStage_HasTheBitsOfAFreshOne()
    {
        string expected = ToyStage.Run(ToyStage.Config(Path.Combine(_folder, "alone")) with { Steps = Steps });
        await using TorchStageWork work = Work("one");
        string before = await DigestAsync(work);
        await AdvanceAsync(work, RunPosition.Start, 3);
        Assert.NotEqual(before, await DigestAsync(work));
        await work.ResetAsync(null);
        Assert.Equal(before, await DigestAsync(work));
        await AdvanceAsync(work, RunPosition.Start, Steps);
        Assert.Equal(expected, TrainingState.Digest((await work.ExportAsync())[0]));
    }

    [Fact]
    public async Task StageThatCannotBeOpened_IsRefused_WithTheReason()
    {
        const string configuration =
            "exp_name: toy\nseed: 3\nmodel: {dit_arch: custom, dim: 32, depth: 2, head_dim: 16, multiple_of: 16, "
            + "patch_mixer_depth: 1, patch_mixer_dim: 32, num_experts: 4, caption_channels: 128, latent_res: 16, "
            + "p_mean: -0.6, p_std: 1.2, train_mask_ratio: 0.5, dtype: float32}\n"
            + "dataset: {image_size: 64, caption_length: 32, train_batch_size: 8, train: {datadir: [nowhere]}}\n"
            + "optimizer: {lr: 1.0e-3}\nscheduler: {name: cosine, t_warmup: 5ba}\n"
            + "trainer: {shards: 4, max_duration: 300ba, save_interval: 20ba}\n";
        var training = new TorchTraining(_lane, _options, new FolderDataSets());
        foreach ((string text, string said) in new[] { ("seed: 1", "exp_name"), (configuration, "nowhere") })
        {
            StageRefusedException refusal = await Assert.ThrowsAsync<StageRefusedException>(
                () => training.OpenAsync(s_plan with { Configuration = text }, Cancellation));
            Assert.StartsWith("toy cannot be trained on this device: ", refusal.Message, StringComparison.Ordinal);
            Assert.Contains(said, refusal.Message, StringComparison.Ordinal);
            await training.ProbeAsync(Cancellation); // The device still serves.
        }
    }

    // Its memory is reserved and never used.
    [Fact]
    public async Task ANetworkThatNoMemoryHolds_IsRefused_WithItsSize()
    {
        ArgumentException refusal = Assert.Throws<ArgumentException>(() => Work(s_tooLarge));
        Assert.Matches("million weights.* MiB, and this machine has .* MiB", refusal.Message);
        Assert.Contains("Use a smaller network (model.dim, model.depth)", refusal.Message, StringComparison.Ordinal);
        await new TorchTraining(_lane, _options, new FolderDataSets()).ProbeAsync(Cancellation);
    }

    // Shards in any order, summed in two slices; halfway the state moves to another device.
    private static async Task<string> TrainAsync(TorchStageWork first, TorchStageWork second)
    {
        RunPosition position = await AdvanceAsync(first, RunPosition.Start, Steps / 2);
        await second.ImportAsync(await first.ExportAsync(), position.Updates);
        await AdvanceAsync(second, position, Steps);
        return TrainingState.Digest((await second.ExportAsync())[0]);
    }

    private static async Task<RunPosition> AdvanceAsync(TorchStageWork work, RunPosition position, long until)
    {
        for (long step = position.Step; step < until; step++)
        {
            int half = (int)work.Facts.Parameters / 2;
            int shards = work.Facts.Shards;
            ReductionTree<GradientSlice>[] trees =
                [.. Enumerable.Range(0, 2).Select(_ => new ReductionTree<GradientSlice>(shards, GradientSlice.Merge))];
            int[] order = [.. Enumerable.Range(0, shards).Reverse()];
            IReadOnlyList<ShardSum> all = await work.ComputeShardsAsync(step, order);
            foreach ((int shard, ShardSum sum) in order.Zip(all))
            {
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
            await work.UpdateAsync(step, batch);
            position = decision.Position;
        }

        return position;
    }

    private static async Task<string> DigestAsync(TorchStageWork work) =>
        TrainingState.Digest(await work.ExportAsync());

    private TorchStageWork Work(string name, int threads = 1) =>
        Work(ToyStage.Config(Path.Combine(_folder, name)) with { Steps = Steps }, threads);

    private TorchStageWork Work(StageConfig config, int threads = 1)
    {
        var lane = new TrainingLane(_lane, s_limit);
        return lane.Run("a stage", () => new TorchStageWork(config, s_plan, ToyStage.Data, lane, threads));
    }

    private long AliveOnTheLane() => new TrainingLane(_lane, s_limit).Run(
        "a count", () => DisposeScopeManager.Statistics.ThreadTotalLiveCount);
}
