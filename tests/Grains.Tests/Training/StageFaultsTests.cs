// Goal: a stage ends with the bits of one process although trainers leave, fall silent or compute wrong numbers, or
// stores, disks, clocks and data have faults. Method: grains, trainers and sessions in an in-process cluster; fake
// devices; connections in memory.
using Atelier.Contracts.Training;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Workers;
using Atelier.Grains.Training;
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Microsoft.Extensions.DependencyInjection;
using Xunit;
using ShiftedClock = Atelier.Grains.Tests.Cluster.ShiftedClock;
using TestCluster = Atelier.Grains.Tests.Cluster.TestCluster;

namespace Atelier.Grains.Tests.Training;

public sealed class StageFaultsTests : StageCluster
{
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

        await Run.ResumeAsync(null);

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

        // What was computed in between is not part of the stage's result.
        ITrainingStageGrain stage = Cluster.Grains.GetGrain<ITrainingStageGrain>($"{s_run}/0");
        Assert.Equal(
            Enumerable.Range(11, 6),
            await Enumerable.Range(0, 31).ToAsyncEnumerable()
                .Where(async (step, _) => await stage.IsUndoneAsync(step)).ToArrayAsync(Cancellation));

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

    [Fact]
    public async Task AFullDiskOnOneNode_IsNamed_AndTheOthersStoreTheCheckpoints()
    {
        await StartAsync(2, services: (name, services) =>
        {
            if (name.EndsWith('0'))
            {
                services.AddSingleton(_ => GrainProxy.Make<IBlobStore>((method, arguments) =>
                    method.Name == nameof(IBlobStore.PutAsync)
                        ? Task.FromException(new IOException("No space left on device."))
                        : method.Invoke(Cluster.Blobs, arguments)));
            }
        });
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        await SubmitAsync("steps=60");
        RunView full = await ViewAsync(run => run.Stages[0].Trouble?.Contains("cannot store") == true);
        Assert.Contains(
            "0/cpu cannot store checkpoints: No space left on device.", full.Stages[0].Trouble,
            StringComparison.Ordinal);
        RunView run = await EndAsync();
        Assert.Equal((RunPhase.Done, FakeTraining.AloneDigest(60)), (run.Phase, run.Stages[0].Weights));
    }

    [Fact]
    public async Task ClocksAnHourApart_ChangeNothing()
    {
        var fast = new ShiftedClock();
        await StartAsync(2, services: (name, services) => services.AddSingleton<TimeProvider>(
            name.EndsWith('0') ? fast : new ShiftedClock()));
        fast.Shift = TimeSpan.FromHours(1); // Orleans' membership removes a silo that begins to join at such a time.
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        await SubmitAsync("steps=200");
        await MembersAsync(2);
        RunView run = await EndAsync();
        Assert.Equal(FakeTraining.AloneDigest(200), run.Stages[0].Weights);
        Assert.DoesNotContain(Cluster.Logs, text => text.Contains("were lost", StringComparison.Ordinal));
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

    [Fact]
    public async Task DataThatChanges_LetsTheStageWait_AndSaysWhichFile()
    {
        const string fault = "/data/shard.00003.mds: file: has changed since it was first read";
        await StartAsync(2);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        await SubmitAsync("steps=60");
        await MembersAsync(2);
        Devices[0].DataFault = fault;
        RunView one = await ViewAsync(run => run.Stages[0].Trouble?.Contains(fault) == true);
        Assert.DoesNotContain("the trainer failed", one.Stages[0].Trouble, StringComparison.Ordinal);

        Devices[1].DataFault = fault;
        RunView all = await ViewAsync(
            run => run.Stages[0].Trouble?.Split(fault).Length == 3 && run.Stages[0].Trainers.Length == 0);
        Assert.StartsWith("No trainer is available; the stage waits.", all.Stages[0].Trouble, StringComparison.Ordinal);
        Assert.InRange(all.Stages[0].Step, 0, 59);

        Array.ForEach(Devices, device => device.DataFault = null);
        Assert.Equal(FakeTraining.AloneDigest(60), (await EndAsync()).Stages[0].Weights);
    }
}
