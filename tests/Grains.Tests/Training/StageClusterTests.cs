// Goal: a stage that silos of a cluster train together ends with the bits of one process; its checkpoints are kept as
// long as they are needed, and the next stage starts from its result. Method: grains, trainers and sessions in an
// in-process cluster; fake devices; connections in memory.
using Atelier.Contracts;
using Atelier.Contracts.Training;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Grains.Training;
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Xunit;
using TestCluster = Atelier.Grains.Tests.Cluster.TestCluster;

namespace Atelier.Grains.Tests.Training;

public sealed class StageClusterTests : StageCluster
{
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
        Assert.All(Records(stage), record => Assert.Equal(
            record.Step % FakeTraining.SaveInterval == 0 ? FakeTraining.Streams : null, record.Streams));

        Assert.Equal(3, measurements["atelier.training.checkpoints"]);
        Assert.Equal(Steps, measurements["atelier.training.steps.safe"]);
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
        Assert.Equal(RunAnswer.Accepted, await Run.SubmitStagesAsync([first, second with { StartsFrom = 0 }]));

        RunView run = await EndAsync();

        Assert.Equal(RunPhase.Done, run.Phase);
        Assert.Equal(FakeTraining.AloneDigest(10), run.Stages[0].Weights);
        Assert.Equal(FakeTraining.AloneDigest(20, FakeTraining.Alone(10).Vectors), run.Stages[1].Weights);

        Array.ForEach(Devices, device => device.GivesNaN = (step, _) => step >= 2);
        ITrainingRunGrain bad = Cluster.Grains.GetGrain<ITrainingRunGrain>("bad");
        await bad.SubmitStagesAsync([first, second]);
        RunView failed = await EndAsync(bad);
        Assert.Equal((RunPhase.Failed, 1), (failed.Phase, failed.Stages.Length));
        Assert.Contains("before its first checkpoint", failed.Stages[0].Trouble, StringComparison.Ordinal);
        Assert.Empty(await Cluster.Grains.GetGrain<ITrainingBoardGrain>(0).ListOpenAsync());
    }

    [Fact]
    public async Task ASubmission_IsIdempotent_AndAnotherOneUnderItsId_IsAConflict()
    {
        await StartAsync(1);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(200));
        StageSource stage = Stage("toy", "steps=10");
        Assert.Null(await Run.ViewAsync());
        Assert.Null(await Run.CurrentAsync());
        await Assert.ThrowsAsync<ArgumentException>(() => Run.SubmitStagesAsync([]));
        await Assert.ThrowsAsync<ArgumentException>(() => Run.SubmitStagesAsync([.. Enumerable.Repeat(stage, 17)]));

        Assert.Equal(RunAnswer.Accepted, await Run.SubmitStagesAsync([stage]));
        Assert.Equal(RunAnswer.Accepted, await Run.SubmitStagesAsync([stage with { }]));
        foreach (StageSource other in (StageSource[])[
            stage with { Name = "x" }, stage with { Configuration = "x" }, stage with { Overrides = ["steps=11"] },
            stage with { StartsFrom = 0 }, stage with { Resumes = true }])
        {
            Assert.Equal(RunAnswer.Conflict, await Run.SubmitStagesAsync([other]));
        }

        Assert.Equal(RunAnswer.Conflict, await Run.SubmitStagesAsync([stage, stage]));
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
        await next.SubmitStagesAsync([Stage("toy", "steps=10")]);
        Assert.Equal(FakeTraining.AloneDigest(10), (await EndAsync(next)).Stages[0].Weights);
        Assert.Equal(RunPhase.Cancelled, (await Run.ViewAsync())!.Phase);
    }

    [Fact]
    public async Task ABegunStage_KeepsItsSampleOrder_WhicheverTheTrainersWouldBeginWith()
    {
        await StartAsync(2);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        Devices[1].OrderVersion = SampleOrder.UniformVersion;
        await SubmitAsync("steps=150");
        await MembersAsync(2); // The one that comes second takes the order of the first.
        Assert.Null((await EndAsync()).Stages[0].Trouble);
    }

    [Fact]
    public async Task AStageThatResumes_BeginsWithTheFoldersCheckpoint()
    {
        await StartAsync(2);
        Array.ForEach(
            Devices, device => device.Folders["toy"] = FakeTraining.Alone(13) with { LastPlanned = 10 });
        await Run.SubmitStagesAsync([Stage("toy", "steps=30") with { Resumes = true }]);

        RunView run = await EndAsync();

        Assert.Equal(FakeTraining.AloneDigest(30), run.Stages[0].Weights);
        Assert.Equal(Enumerable.Range(13, 17), Records(run.Stages[0]).Select(record => (int)record.Step));
    }

    // The first stage is complete in its folder, so only the rest of the second one is trained.
    [Fact]
    public async Task StagesThatResume_ContinueInTheFirstThatIsNotComplete()
    {
        await StartAsync(2);
        TrainingState first = FakeTraining.Alone(10);
        Array.ForEach(Devices, device =>
        {
            device.Folders["first"] = first;
            device.Folders["second"] = FakeTraining.Alone(13, first.Vectors) with { LastPlanned = 10 };
            device.Breaks = step => step < 13;
        });
        await Run.SubmitStagesAsync(
        [
            Stage("first", "steps=10") with { Resumes = true },
            Stage("second", "steps=30") with { Resumes = true, StartsFrom = 0 },
        ]);

        RunView run = await EndAsync();

        Assert.Equal(RunPhase.Done, run.Phase);
        Assert.Equal(TrainingState.Digest(first.Vectors), run.Stages[0].State);
        Assert.Equal(FakeTraining.AloneDigest(30, first.Vectors), run.Stages[1].Weights);
        Assert.Equal(Enumerable.Range(13, 17), Records(run.Stages[1]).Select(record => (int)record.Step));
    }

    [Fact]
    public async Task ASweep_KeepsWhatARunNeeds_AndRemovesTheRest()
    {
        await StartAsync(1);
        await SubmitAsync("steps=100000");
        ITrainingStageGrain stage = Cluster.Grains.GetGrain<ITrainingStageGrain>($"{s_run}/0");
        await ViewAsync(run => run.Stages[0].SafeStep >= 10);
        CheckpointManifest pinned = (await stage.PinLastAsync(TimeSpan.FromHours(1)))!;
        await ViewAsync(run => run.Stages[0].SafeStep >= pinned.Step + 30);
        BlobName left = await LeaveAsync(s_run, 1), unknown = await LeaveAsync(new RunId("unknown"), 2);

        Assert.Equal(0, (await SweepAsync()).InDoubt.Blobs);
        Assert.True(Cluster.Blobs.Has(left)); // An open run may need everything.
        Assert.False(Cluster.Blobs.Has(unknown));

        await Run.CancelAsync();
        CheckpointManifest last = (await stage.LastAsync())!;
        StageView view = (await Run.ViewAsync())!.Stages[0];
        BlobName[] needed =
        [
            .. pinned.Parts.Concat(last.Parts).Select(CheckpointBlobs.NameOf).Union(RecordFiles(view).Names),
        ];
        await TestCluster.UntilAsync(async () =>
        {
            await SweepAsync(); // A trainer may still store a part.
            return needed.ToHashSet().SetEquals(Cluster.Blobs.Names);
        });
        Assert.Equal(
            Enumerable.Range(0, (int)last.Step), Records(view).Select(record => (int)record.Step));

        // If a file of records is missing, nobody knows the earlier ones, and nothing is removed.
        await TestCluster.DeactivateAsync(stage);
        BlobName missing = CheckpointBlobs.NameOf(last.Parts[^1]);
        await Cluster.Blobs.ReleaseAsync(missing, new BlobOwner(BlobOwnerType.Run, s_run.Value), Cancellation);
        Assert.Equal(needed.Length - 1, (await SweepAsync()).InDoubt.Blobs);
        Assert.Equal(needed.Length - 1, Cluster.Blobs.Count);
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
        Assert.Null(await stage.PinAsync(pinned.Step + 10, TimeSpan.FromHours(1)));
        Assert.Equal(pinned.Parts, (await stage.PinAsync(pinned.Step, TimeSpan.FromHours(1)))!.Parts);

        Cluster.Clock.Shift = TimeSpan.FromHours(2);
        await TestCluster.UntilAsync(() => Task.FromResult(!Cluster.Blobs.Has(blob)));
        Assert.Null(await stage.CheckpointAsync(pinned.Step));
    }
}
