// Goal: a stage that silos of a cluster train together ends with the bits of one process, whichever trainers join,
// leave, fall silent or compute wrong numbers; its checkpoints are kept as long as they are needed, and the next stage
// starts from its result. Method: grains, trainers and sessions in an in-process cluster; fake devices; connections in
// memory.
using Atelier.Contracts;
using Atelier.Contracts.Training;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Grains.Training;
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;
using Microsoft.Extensions.DependencyInjection;
using Xunit;
using TestCluster = Atelier.Grains.Tests.Cluster.TestCluster;

namespace Atelier.Grains.Tests.Training;

public sealed class StageClusterTests : IAsyncDisposable
{
    private const int Steps = 30;
    private static readonly RunId s_run = new("run");

    private readonly MemoryNetwork _network = new();
    private readonly Dictionary<string, FakeTraining> _devices = [];
    private readonly List<TestCluster> _clusters = [];

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private TestCluster Cluster => _clusters[^1];

    private ITrainingRunGrain Run => Cluster.Grains.GetGrain<ITrainingRunGrain>(s_run.Value);

    private FakeTraining[] Devices
    {
        get
        {
            lock (_devices)
            {
                return [.. _devices.OrderBy(one => one.Key, StringComparer.Ordinal).Select(one => one.Value)];
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (string line in _clusters.SelectMany(cluster => cluster.Logs))
        {
            TestContext.Current.TestOutputHelper?.WriteLine(line);
        }

        foreach (TestCluster cluster in _clusters)
        {
            await cluster.DisposeAsync();
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public async Task AStage_EndsWithTheBitsOfOneProcess_AndOneRecordForEachStep(short silos)
    {
        await StartAsync(silos);
        using var measurements = new Measurements(Cluster.Meters);
        await SubmitAsync($"steps={Steps}", "kept=2");

        RunView run = await EndAsync();

        StageView stage = Assert.Single(run.Stages);
        Assert.Equal((RunPhase.Done, 1), (run.Phase, run.StageCount));
        Assert.Equal(FakeTraining.AloneDigest(Steps), stage.Weights);
        Assert.Equal(TrainingState.Digest(FakeTraining.Alone(Steps).Vectors), stage.State);
        Assert.Equal((Steps, Steps, Steps), (stage.Step, stage.Steps, stage.SafeStep));
        Assert.Null(stage.Trouble);
        Assert.Equal(Enumerable.Range(0, Steps), Records(stage).Select(record => (int)record.Step));
        Assert.Equal(
            Enumerable.Range(0, Steps * FakeTraining.Batch),
            Records(stage).SelectMany(record => record.Samples));

        Assert.Equal(3, measurements["atelier.training.checkpoints"]);
        Assert.InRange(measurements["atelier.training.worlds"], 1, 5);
        Assert.InRange(measurements["atelier.training.samples"], Steps * FakeTraining.Batch, 1000);
        Assert.InRange(measurements.Count("atelier.training.apply.duration{atelier.checkpoint=True}"), 3, 9);
        Assert.InRange(
            measurements.Count("atelier.training.step.duration{atelier.checkpoint=False}"), Steps - 10, 90);

        // Two checkpoints of a slice each, and the records of all intervals.
        await TestCluster.UntilAsync(() => Task.FromResult(Cluster.Blobs.Count == 2 + (Steps / 10)));
    }

    [Fact]
    public async Task ADeviceWithSeveralLanes_ComputesShardsAtTheSameTime_WithTheSameBits()
    {
        await StartAsync(2);
        Devices[0].Lanes = 2;
        Devices[1].Lanes = 8;
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        await SubmitAsync("steps=20");
        await MembersAsync(2);

        RunView run = await EndAsync();

        Assert.Equal(FakeTraining.AloneDigest(20), run.Stages[0].Weights);
        Assert.Equal(2, Devices[0].LargestGroup);
        Assert.InRange(Devices[1].LargestGroup, 2, FakeTraining.Shards);
    }

    [Fact]
    public async Task TheNextStage_StartsFromTheResult_AndAFailedOneEndsTheRun()
    {
        await StartAsync(2);
        StageSource first = Stage("first", "steps=10"), second = Stage("second", "steps=20");
        Assert.Equal(RunAnswer.Accepted, await Run.SubmitAsync([first, second with { StartsFrom = 0 }]));

        RunView run = await EndAsync();

        Assert.Equal(RunPhase.Done, run.Phase);
        Assert.Equal(FakeTraining.AloneDigest(10), run.Stages[0].Weights);
        Assert.Equal(FakeTraining.AloneDigest(20, FakeTraining.Alone(10).Vectors), run.Stages[1].Weights);

        Array.ForEach(Devices, device => device.GivesNaN = (step, _) => step >= 2);
        ITrainingRunGrain bad = Cluster.Grains.GetGrain<ITrainingRunGrain>("bad");
        await bad.SubmitAsync([first, second]);
        RunView failed = await EndAsync(bad);
        Assert.Equal((RunPhase.Failed, 1), (failed.Phase, failed.Stages.Length));
        Assert.Contains("before its first checkpoint", failed.Stages[0].Trouble, StringComparison.Ordinal);
        Assert.Empty(await Cluster.Grains.GetGrain<ITrainingBoardGrain>(0).ListAsync());
    }

    [Fact]
    public async Task ASubmission_IsIdempotent_AndAnotherOneUnderItsId_IsAConflict()
    {
        await StartAsync(1);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(200));
        StageSource stage = Stage("toy", "steps=10");
        Assert.Null(await Run.ViewAsync());
        Assert.Null(await Run.CurrentAsync());
        await Assert.ThrowsAsync<ArgumentException>(() => Run.SubmitAsync([]));
        await Assert.ThrowsAsync<ArgumentException>(() => Run.SubmitAsync([.. Enumerable.Repeat(stage, 17)]));

        Assert.Equal(RunAnswer.Accepted, await Run.SubmitAsync([stage]));
        Assert.Equal(RunAnswer.Accepted, await Run.SubmitAsync([stage with { }]));
        foreach (StageSource other in (StageSource[])[
            stage with { Name = "x" }, stage with { Configuration = "x" }, stage with { Overrides = ["steps=11"] },
            stage with { StartsFrom = 0 }, stage with { Resumes = true }])
        {
            Assert.Equal(RunAnswer.Conflict, await Run.SubmitAsync([other]));
        }

        Assert.Equal(RunAnswer.Conflict, await Run.SubmitAsync([stage, stage]));
        (StageSource source, int index) = (await Run.CurrentAsync())!.Value;
        Assert.Equal((stage.Name, 0), (source.Name, index));
    }

    [Fact]
    public async Task ACancelledRun_EndsItsStage_AndTrainersTakeTheNext()
    {
        await StartAsync(2);
        await SubmitAsync("steps=100000");
        await ViewAsync(run => run.Stages[0].SafeStep >= 10);

        // A cancellation that is interrupted is completed by the next one.
        Cluster.Calling = (method, _, _) => method == nameof(ITrainingStageGrain.EndAsync)
            ? Task.FromException(new TimeoutException()) : Task.CompletedTask;
        await Assert.ThrowsAsync<TimeoutException>(Run.CancelAsync);
        Cluster.Calling = null;
        await Run.CancelAsync();

        Assert.Equal(RunPhase.Cancelled, (await Run.ViewAsync())!.Phase);
        Assert.NotEqual(0, Cluster.Blobs.Count);
        ITrainingRunGrain next = Cluster.Grains.GetGrain<ITrainingRunGrain>("next");
        await next.SubmitAsync([Stage("toy", "steps=10")]);
        Assert.Equal(FakeTraining.AloneDigest(10), (await EndAsync(next)).Stages[0].Weights);
        Assert.Equal(RunPhase.Cancelled, (await Run.ViewAsync())!.Phase);
    }

    [Fact]
    public async Task LostTrainersThatReturn_AndRestartedManagers_ChangeNoBit()
    {
        await StartAsync(3);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(15));
        await SubmitAsync("steps=400");
        await MembersAsync(3);
        Cluster.Calling = (method, _, argument) => method == "ReportJsonAsync" && $"{argument}".Contains("Silo_1/")
            ? Task.FromException(new TimeoutException()) : Task.CompletedTask;
        await TestCluster.UntilAsync(
            () => Task.FromResult(Cluster.Logs.Any(text => text.Contains("were lost: Silo_1/"))));
        Cluster.Calling = null;
        await TestCluster.DeactivateAsync(Cluster.Grains.GetGrain<ITrainingStageGrain>($"{s_run}/0"));
        await Cluster.Silos.StartAdditionalSiloAsync(false);
        await MembersAsync(4);
        await Cluster.Silos.StopSiloAsync(Cluster.Silos.Silos[^1], Cancellation);

        RunView run = await EndAsync();

        Assert.Equal(FakeTraining.AloneDigest(400), run.Stages[0].Weights);
        Assert.Equal(Enumerable.Range(0, 400), Records(run.Stages[0]).Select(record => (int)record.Step));
        Assert.InRange(run.Stages[0].World, 4, 50);
        Assert.Contains(Cluster.Logs, text => text.Contains("is leaving", StringComparison.Ordinal));
    }

    [Fact]
    public async Task ARestartedCluster_ContinuesFromTheLastCheckpoint()
    {
        await StartAsync(2);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(50));
        await SubmitAsync("steps=40");
        await StepAsync(12);
        TestCluster before = Cluster;
        await before.Silos.StopAllSilosAsync(Cancellation);
        Assert.DoesNotContain(before.Logs, text => text.Contains("is over: complete", StringComparison.Ordinal));

        await StartAsync(2, twin: before);
        long safe = (await Run.ViewAsync())!.Stages[0].SafeStep;
        RunView run = await EndAsync();

        Assert.InRange(safe, 10, 39);
        Assert.Equal(FakeTraining.AloneDigest(40), run.Stages[0].Weights);
        Assert.Equal(Enumerable.Range(0, 40), Records(run.Stages[0]).Select(record => (int)record.Step));
    }

    [Fact]
    public async Task ATrainerWithDamagedWeights_IsRemoved_AndItsStepsAreComputedAgain()
    {
        await StartAsync(3);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        Devices[1].DamagedBefore = 43;
        await SubmitAsync("steps=60");

        RunView run = await EndAsync();

        Assert.Equal(FakeTraining.AloneDigest(60), run.Stages[0].Weights);
        Assert.Contains(Cluster.Logs, text => text.Contains("differs from the majority's", StringComparison.Ordinal));
        Assert.Equal(Enumerable.Range(0, 60), Records(run.Stages[0]).Select(record => (int)record.Step));
    }

    [Fact]
    public async Task WithoutAMajority_TheStagePauses_UntilItIsResumed()
    {
        await StartAsync(2);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(50));
        Devices[0].DamagedBefore = 18;
        await SubmitAsync("steps=30");
        StageView paused = (await ViewAsync(run => run.Stages[0].Trouble?.Contains("cannot be determined") == true))
            .Stages[0];
        Assert.Null(paused.Weights);
        Assert.Equal(10, paused.SafeStep);
        Assert.Null(await Cluster.Grains.GetGrain<ITrainingStageGrain>($"{s_run}/0").PlanAsync());

        await Run.ResumeAsync();

        Assert.Equal(FakeTraining.AloneDigest(30), (await EndAsync()).Stages[0].Weights);
        Assert.Contains(Cluster.Logs, text => text.Contains("is paused until", StringComparison.Ordinal));
    }

    // One device gives NaN: the step is not skipped, and its trainer is removed.
    [Fact]
    public async Task ADeviceThatGivesNaN_IsRemoved_AndNoStepIsSkipped()
    {
        await StartAsync(3);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        Devices[2].GivesNaN = (step, _) => step >= 60;
        await SubmitAsync("steps=80");

        RunView run = await EndAsync();

        Assert.Equal(FakeTraining.AloneDigest(80), run.Stages[0].Weights);
        Assert.All(Records(run.Stages[0]), record => Assert.Equal(StepVerdict.Apply, record.Verdict));
        Assert.Contains(Cluster.Logs, text => text.Contains("computes wrong numbers: NaN", StringComparison.Ordinal));
    }

    // All devices agree that three batches in a row have no finite loss: the run rolls back, as one process would.
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task ARollback_ReturnsToTheLastPlannedCheckpoint(short silos)
    {
        await StartAsync(silos);
        Array.ForEach(Devices, device => device.GivesNaN = (step, shard) => step is >= 14 and < 17 && shard == 1);
        await SubmitAsync("steps=30");

        RunView run = await EndAsync();

        StepRecord[] records = Records(run.Stages[0]);
        Assert.Equal(StepVerdict.Skip, records[14].Verdict);
        Assert.Equal(StepVerdict.Skip, records[15].Verdict);
        Assert.Equal((StepVerdict.RollBack, 10), (records[16].Verdict, records[16].UndoneFrom));
        Assert.Contains(Cluster.Logs, text => text.Contains("rolled back to the weights of step 10"));

        // The weights of step 10, and then the batches from step 17 on.
        Assert.Equal(await RolledBackAsync(), run.Stages[0].Weights);
    }

    [Fact]
    public async Task AnotherKindOfDevice_IsRefused_AndTheOthersTrain()
    {
        await StartAsync(2);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        Devices[1].Kind = "other";
        await SubmitAsync("steps=30");

        // One of the two comes first and decides the kind; the other is named while the stage is trained.
        RunView training = await ViewAsync(run => run.Stages[0].Trouble?.Contains("would not compute") == true);
        Assert.Contains("the kind of device is", training.Stages[0].Trouble, StringComparison.Ordinal);
        RunView run = await EndAsync();
        Assert.Equal(FakeTraining.AloneDigest(30), run.Stages[0].Weights);
        Assert.Null(run.Stages[0].Trouble);
    }

    [Fact]
    public async Task AStageThatResumes_BeginsWithTheFoldersCheckpoint()
    {
        await StartAsync(2);
        Array.ForEach(Devices, device => device.Folder = FakeTraining.Alone(13) with { LastPlanned = 10 });
        await Run.SubmitAsync([Stage("toy", "steps=30") with { Resumes = true }]);

        RunView run = await EndAsync();

        Assert.Equal(FakeTraining.AloneDigest(30), run.Stages[0].Weights);
        Assert.Equal(Enumerable.Range(13, 17), Records(run.Stages[0]).Select(record => (int)record.Step));
    }

    [Fact]
    public async Task APinnedCheckpoint_IsKept_UntilItsTimeIsOver()
    {
        await StartAsync(1);
        await SubmitAsync("steps=100000");
        ITrainingStageGrain stage = Cluster.Grains.GetGrain<ITrainingStageGrain>($"{s_run}/0");
        await StepAsync(12);
        await TestCluster.UntilAsync(async () => await stage.LastAsync() is not null);
        CheckpointManifest pinned = (await stage.PinLastAsync(TimeSpan.FromHours(1)))!;
        BlobName blob = CheckpointBlobs.NameOf(pinned.Parts[0]);

        await StepAsync(pinned.Step + 45);
        Assert.True(Cluster.Blobs.Has(blob));
        Assert.Equal(pinned.Step, (await stage.CheckpointAsync(pinned.Step))!.Step);
        Assert.Null(await stage.CheckpointAsync(pinned.Step + 10));

        Cluster.Clock.Shift = TimeSpan.FromHours(2);
        await TestCluster.UntilAsync(() => Task.FromResult(!Cluster.Blobs.Has(blob)));
        Assert.Null(await stage.CheckpointAsync(pinned.Step));
    }

    // A checkpoint's part that cannot be stored is stored later. No step is lost, and the reason is shown.
    [Fact]
    public async Task AFullBlobStore_DelaysCheckpoints_AndIsReported()
    {
        await StartAsync(2);
        Cluster.Blobs.Refusals = 1_000_000;
        await SubmitAsync("steps=30");
        RunView full = await ViewAsync(run => run.Stages[0].Trouble?.Contains("cannot store") == true);
        Assert.Contains(
            "cannot store checkpoints: No space left on device", full.Stages[0].Trouble, StringComparison.Ordinal);
        Cluster.Blobs.Refusals = 0;
        RunView run = await EndAsync();
        Assert.Equal(FakeTraining.AloneDigest(30), run.Stages[0].Weights);
        Assert.Equal(Enumerable.Range(0, 30), Records(run.Stages[0]).Select(record => (int)record.Step));
        Assert.Contains(Cluster.Logs, text => text.Contains("will be retried", StringComparison.Ordinal));
    }

    // Its weights are not those of the others, who continue without it.
    [Fact]
    public async Task ASingleTrainerThatFails_IsRemoved_AndTheRunContinues()
    {
        await StartAsync(3);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        Devices[1].MeasuresNaN = step => step is >= 12 and < 40;
        await SubmitAsync("steps=60", "verify=50");

        RunView run = await EndAsync();

        Assert.Equal(RunPhase.Done, run.Phase);
        Assert.Equal(FakeTraining.AloneDigest(60), run.Stages[0].Weights);
        Assert.All(Records(run.Stages[0]), record => Assert.Equal(StepVerdict.Apply, record.Verdict));
    }

    [Fact]
    public async Task AFailedTrainer_ReportsTheReason_AndRetries()
    {
        await StartAsync(1);
        Devices[0].Breaks = step => step == 5;
        await SubmitAsync("steps=10");
        RunView broken = await ViewAsync(run => run.Stages[0].Trouble?.Contains("the device broke") == true);
        Assert.Contains("the trainer failed", broken.Stages[0].Trouble, StringComparison.Ordinal);
        Devices[0].Breaks = _ => false;
        Assert.Equal(FakeTraining.AloneDigest(10), (await EndAsync()).Stages[0].Weights);
    }

    private async Task StartAsync(short silos, TestCluster? twin = null)
    {
        _clusters.Add(await TestCluster.StartAsync(
            silos, _ => null,
            options =>
            {
                options.Trainer.HeartbeatPeriod = TimeSpan.FromMilliseconds(50);
                options.Trainer.IdlePeriod = TimeSpan.FromMilliseconds(50);
                options.Trainer.LostAfter = TimeSpan.FromSeconds(1);
                options.Trainer.StallAfter = TimeSpan.FromSeconds(5);
                options.Trainer.RefusedPause = TimeSpan.FromSeconds(2);
                options.Trainer.LeaveTimeout = TimeSpan.FromSeconds(1);
            },
            twin,
            (name, services) =>
            {
                services.AddSingleton<ITrainerNetwork>(_network);
                services.AddSingleton<ITrainingWork>(_ =>
                {
                    var device = new FakeTraining();
                    lock (_devices)
                    {
                        return _devices[name] = device;
                    }
                });
            }));
    }

    private static StageSource Stage(string name, params string[] overrides) => new()
    {
        Name = name, Configuration = "", Overrides = overrides,
    };

    private async Task SubmitAsync(params string[] overrides) =>
        Assert.Equal(RunAnswer.Accepted, await Run.SubmitAsync([Stage("toy", overrides)]));

    private Task<RunView> MembersAsync(int members) =>
        ViewAsync(run => run.Stages[0].Trainers.Count(one => one.Shards > 0) == members);

    private Task<RunView> StepAsync(long step) => ViewAsync(run => run.Stages[0].Step >= step);

    private Task<RunView> EndAsync(ITrainingRunGrain? run = null) =>
        ViewAsync(view => view.Phase != RunPhase.Running, run);

    private async Task<RunView> ViewAsync(Func<RunView, bool> condition, ITrainingRunGrain? run = null)
    {
        RunView? view = null;
        try
        {
            await TestCluster.UntilAsync(async () =>
            {
                view = await GrainCalls.TryAsync((run ?? Run).ViewAsync) ?? view;
                return view is not null && condition(view);
            });
        }
        catch (OperationCanceledException)
        {
            Assert.Fail($"{view}: {string.Join("; ", view?.Stages.Select(stage => stage.ToString()) ?? [])}\n"
                + string.Join('\n', Cluster.Logs.TakeLast(40)));
        }

        return view!;
    }

    // All step records of a stage, in order, from the newest file to the oldest and back.
    private StepRecord[] Records(StageView stage)
    {
        var all = new List<StepRecord>();
        for (string? digest = stage.Records; digest is not null;)
        {
            (IReadOnlyList<StepRecord> records, digest) = StepRecord.Read(
                Cluster.Blobs[BlobName.OfCluster(BlobKind.Checkpoint, digest)]);
            all.InsertRange(0, records);
        }

        return [.. all];
    }

    // By one device in one process, without grains.
    private static async Task<string> RolledBackAsync()
    {
        var device = new FakeTraining { Pace = TimeSpan.Zero };
        await using IStageWork work = await device.OpenAsync(
            new StagePlan("run", "toy", "", []), Cancellation);
        TrainingState ten = FakeTraining.Alone(10);
        await work.ImportAsync(ten.Vectors, 10);
        for (long step = 17; step < 30; step++)
        {
            var tree = new ReductionTree<GradientSlice>(FakeTraining.Shards, GradientSlice.Merge);
            for (int shard = 0; shard < FakeTraining.Shards; shard++)
            {
                ShardSum sum = (await work.ComputeShardsAsync(step, [shard]))[0];
                tree.Add(shard, new GradientSlice(sum.Gradient, sum.Sums));
            }

            var total = new ShardSum(tree.Total!.Values.ToArray(), tree.Total.Sums!);
            await work.UpdateAsync(step, total, await work.MeasureAsync(total));
        }

        return TrainingState.Digest((await work.ExportAsync())[0]);
    }
}
