// Goal: what people and pictures ask of a run happens, and changes no bit: pauses, budgets, priorities, panels, devices
// that draw, and runs that end. Method: that of StageClusterTests.
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Contracts.Tenants;
using Atelier.Contracts.Training;
using Atelier.Grains.Pools;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Grains.Training;
using Atelier.Training.Checkpoints;
using Microsoft.Extensions.DependencyInjection;
using Xunit;
using FakeDevice = Atelier.Grains.Tests.Cluster.FakeDevice;
using TestCluster = Atelier.Grains.Tests.Cluster.TestCluster;

namespace Atelier.Grains.Tests.Training;

public sealed class StageControlTests : StageCluster
{
    private static string Stages(string use) => $"atelier.training.stages{{atelier.stage.use={use}}}";

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task APausedRun_Stops_AndContinuesWithTheSameBits(bool isImmediate)
    {
        await StartAsync(2);
        using var measurements = new Measurements(Cluster.Meters);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        await SubmitAsync("steps=60");
        await StepAsync(12);
        await ObserveAsync(measurements, () => measurements[Stages("training")] == 1);

        await Run.PauseAsync(isImmediate);
        RunView paused = await ViewAsync(run => run.Phase == RunPhase.Paused && run.Stages[0].Trainers.Length == 0);

        Assert.Equal("paused by request", paused.Stages[0].Trouble);
        Assert.True(paused.Stages[0].IsPaused);
        Assert.Equal(isImmediate ? 10 : 20, paused.Stages[0].SafeStep);
        Assert.Equal(paused.Stages[0].SafeStep, measurements["atelier.training.steps.safe"]);
        Assert.InRange(measurements["atelier.training.device.time"], 0.001, 3600);
        await ObserveAsync(measurements, () => measurements[Stages("paused")] == 1);
        Assert.Equal(0, measurements["atelier.training.idle.time"]);
        long devices = Devices.Sum(device => device.Opened);
        await Run.ResumeAsync(null);
        Assert.Equal(RunPhase.Running, (await Run.ViewAsync())!.Phase);
        Assert.Equal(FakeTraining.AloneDigest(60), (await EndAsync()).Stages[0].Weights);
        Assert.Equal(devices + 2, Devices.Sum(device => device.Opened));
        await ObserveAsync(measurements, () => measurements[Stages("paused")] == 0);
        await ObserveAsync(measurements, () => measurements[Stages("training")] == 0);
        await Run.PauseAsync(isImmediate: true);
        await Run.ResumeAsync(null);
        Assert.Equal(RunPhase.Done, (await Run.ViewAsync())!.Phase);
    }

    [Fact]
    public async Task AStageThatDoesNotAdvance_IsIdle_UntilItDoes()
    {
        await StartAsync(1);
        using var measurements = new Measurements(Cluster.Meters);
        Devices[0].Pace = TimeSpan.FromSeconds(2);
        await SubmitAsync("steps=3");
        await ObserveAsync(measurements, () => measurements["atelier.training.idle.time"] > 1);
        Devices[0].Pace = TimeSpan.FromMilliseconds(2);
        await EndAsync();
        await ObserveAsync(measurements, () => measurements["atelier.training.idle.time"] == 0);
    }

    [Fact]
    public async Task APauseThatHasNotBegun_IsWithdrawnByAResume()
    {
        await StartAsync(1);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        await SubmitAsync("steps=30");
        await StepAsync(2);
        await Run.PauseAsync(isImmediate: false);
        string? trouble = (await Run.ViewAsync())!.Stages[0].Trouble;
        Assert.Contains("Pauses at the next checkpoint", trouble, StringComparison.Ordinal);
        await Run.ResumeAsync(null);
        Assert.Equal(RunPhase.Done, (await EndAsync()).Phase);
    }

    [Fact]
    public async Task ARunWhoseBudgetIsUsedUp_PausesAtACheckpoint_UntilItGetsMore()
    {
        await StartAsync(2);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        await Run.SubmitAsync(new RunSubmission { Stages = [Stage("toy", "steps=100")], BudgetSeconds = 3 });

        RunView paused = await ViewAsync(run => run.Phase == RunPhase.Paused);

        Assert.Contains(
            "the budget of 3 device-seconds does not suffice", paused.Stages[0].Trouble, StringComparison.Ordinal);
        Assert.InRange(paused.DeviceSeconds, 1, 3.5);
        Assert.InRange(paused.Stages[0].SafeStep, 10, 90);
        await Run.ResumeAsync(1000);
        RunView done = await EndAsync();
        Assert.Equal(FakeTraining.AloneDigest(100), done.Stages[0].Weights);
        Assert.InRange(done.DeviceSeconds, paused.DeviceSeconds, 60);
        Assert.Equal(1000, done.BudgetSeconds);
    }

    [Fact]
    public async Task ARunOfHigherPriority_GetsAllDevices_AndTheOtherContinuesAfterIt()
    {
        await StartAsync(2);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        await SubmitAsync("steps=200");
        await MembersAsync(2);
        ITrainingRunGrain urgent = Cluster.Grains.GetGrain<ITrainingRunGrain>("urgent");
        await urgent.SubmitAsync(new RunSubmission { Stages = [Stage("toy", "steps=60")], Priority = 1 });

        await ViewAsync(run => run.Stages[0].Trainers.Count(one => one.Shards > 0) == 2, urgent);
        await ViewAsync(run => run.Stages[0].Trainers.Length == 0);
        Assert.Equal(FakeTraining.AloneDigest(60), (await EndAsync(urgent)).Stages[0].Weights);
        Assert.Equal(FakeTraining.AloneDigest(200), (await EndAsync()).Stages[0].Weights);
    }

    [Fact]
    public async Task ADeviceThatDraws_KeepsItsWeights_WithoutShards_AndComputesAgainAfterwards()
    {
        await StartAsync(2);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(10));
        await SubmitAsync("steps=1000000");
        await MembersAsync(2);
        DeviceShare drawing = Shares.OrderBy(one => one.Key, StringComparer.Ordinal).First().Value;

        drawing.SetServing(true);
        RunView alone = await MembersAsync(1);
        TrainerView idle = Assert.Single(alone.Stages[0].Trainers, one => one.Shards == 0);
        Assert.Contains("draws pictures", alone.Stages[0].Notes[^1].Text, StringComparison.Ordinal);
        await ViewAsync(run => run.Stages[0].Trainers.Single(one => one.Trainer == idle.Trainer).Position
            > idle.Position + 10);
        drawing.SetServing(false);
        await MembersAsync(2);

        int opened = Devices.Sum(device => device.Opened);
        Assert.Equal(2, opened);
        await Run.CancelAsync();
    }

    [Fact]
    public async Task WhileAllDevicesDraw_TheRunWaits_AndNothingIsComputedTwice()
    {
        await StartAsync(2);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(10));
        await SubmitAsync("steps=200");
        await MembersAsync(2);
        foreach (DeviceShare share in Shares.Values)
        {
            share.SetServing(true);
        }

        long? last = null;
        await TestCluster.UntilAsync(async () =>
        {
            long step = (await Run.ViewAsync())!.Stages[0].Step;
            (bool isSame, last) = (step == last, step);
            await FakeTraining.LetPassAsync(TimeSpan.FromSeconds(0.5));
            return isSame;
        });
        int world = (await Run.ViewAsync())!.Stages[0].World;
        foreach (DeviceShare share in Shares.Values)
        {
            share.SetServing(false);
        }

        RunView run = await EndAsync();
        Assert.Equal(FakeTraining.AloneDigest(200), run.Stages[0].Weights);
        Assert.InRange(run.Stages[0].World, world, world + 2);
    }

    // No silo draws here, so the panels are those that the test reports.
    [Fact]
    public async Task AStageWhoseScoreFell_IsHeld_UntilItIsResumed()
    {
        await StartAsync(1);
        var go = new TaskCompletionSource();
        Array.ForEach(Devices, device => device.Computing = (step, _) => step < 22 ? Task.CompletedTask : go.Task);
        await SubmitAsync("steps=55", "panel=10", "kept=1");
        ITrainingStageGrain stage = Cluster.Grains.GetGrain<ITrainingStageGrain>($"{s_run}/0");
        await ViewAsync(run => run.Stages[0].SafeStep == 20);
        Assert.NotNull(await stage.CheckpointAsync(10)); // Kept for its panel.
        await stage.PanelDrawnAsync(new DrawnPanel(10, new string('a', 64), 30) { DropMax = 5 });
        Assert.Null(await stage.CheckpointAsync(10));
        await Run.PauseAsync(isImmediate: true);
        await stage.PanelDrawnAsync(new DrawnPanel(20, new string('b', 64), 20) { DropMax = 5 });
        await stage.PanelDrawnAsync(new DrawnPanel(20, new string('b', 64), 20) { DropMax = 5 });
        go.SetResult();

        RunView held = await ViewAsync(run => run.Phase == RunPhase.Paused);
        Assert.StartsWith(
            "paused by request; also, the panel of step 20 has the CLIP score 20.00, more than 5 below",
            held.Stages[0].Trouble, StringComparison.Ordinal);
        Assert.Equal([(10, 30, false), (20, 20, true)], held.Stages[0].Panels.Select(
            panel => (panel.Step, panel.Score, panel.IsHeld)));
        await Run.ResumeAsync(null);
        RunView done = await EndAsync();
        Assert.Equal(FakeTraining.AloneDigest(55), done.Stages[0].Weights);

        // The result has a panel, which cannot hold what is over.
        await stage.PanelDrawnAsync(new DrawnPanel(30, new string('d', 64), 19) { DropMax = 5 });
        await stage.PanelDrawnAsync(new DrawnPanel(55, new string('e', 64), 1) { DropMax = 5 });
        StageView over = (await Run.ViewAsync())!.Stages[0];
        Assert.Equal((55, false), (over.Panels[^1].Step, over.Panels[^1].IsHeld));
        Assert.Null(over.Trouble);

        // The sheets are needed as long as the run; what was not a sheet is not.
        Assert.True(await Run.MayNeedAsync(BlobName.OfCluster(BlobKind.Checkpoint, new string('a', 64))));
        Assert.False(await Run.MayNeedAsync(BlobName.OfCluster(BlobKind.Checkpoint, new string('c', 64))));
    }

    [Fact]
    public async Task APanelThatCannotBeDrawn_IsTriedAgain_ThenNoted_AndTheStageContinues()
    {
        await StartAsync(1);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(10));
        await SubmitAsync("steps=60", "panel=10");
        ITrainingStageGrain stage = Cluster.Grains.GetGrain<ITrainingStageGrain>($"{s_run}/0");
        await ViewAsync(run => run.Stages[0].SafeStep >= 10);
        for (int i = 0; i < 5; i++)
        {
            Assert.DoesNotContain((await ViewAsync(_ => true)).Stages[0].Notes, IsAboutPanel);
            await stage.PanelFailedAsync(10, "the model does not fit");
        }

        await stage.PanelFailedAsync(10, "once more"); // It is not due anymore.

        RunView done = await EndAsync();
        Assert.Contains(done.Stages[0].Notes, note =>
            note.Step == 10 && note.Text == "the panel could not be drawn: the model does not fit");

        // Nobody draws, so one panel is being drawn, and the newest waits.
        Assert.Contains(done.Stages[0].Notes, note => note.Text.StartsWith("panel skipped", StringComparison.Ordinal));
        Assert.Equal(FakeTraining.AloneDigest(60), done.Stages[0].Weights);

        static bool IsAboutPanel(StageNote note) =>
            note.Text.StartsWith("the panel could not", StringComparison.Ordinal);
    }

    [Fact]
    public async Task APanelThatFailsOnOneSilo_IsDrawnByTheNext_AndItsModelIsWithdrawn()
    {
        var panels = new FakePanels();
        await StartAsync(
            2, services: (name, services) => services.AddSingleton<IPanelWork>(panels.On(name)), draws: true);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(5));
        await SubmitAsync("steps=25", "panel=100");
        await EndAsync();
        RunView run = await ViewAsync(run => run.Stages[0].Panels.Length == 1);

        PanelView panel = run.Stages[0].Panels[0];
        Assert.Equal((25, FakePanels.Sheet, 21.5), (panel.Step, panel.Sheet, panel.Score));
        Assert.Equal(2, panels.Silos.Distinct().Count());
        Assert.Contains(run.Stages[0].Notes, note => note.Text == "panel drawn, CLIP score 21.50");
        Assert.Contains(Cluster.Logs, line => line.Contains("The panel of step 25", StringComparison.Ordinal)
            && line.Contains("this silo has no models", StringComparison.Ordinal));
        IPublishedModelsGrain models = Cluster.Grains.PublishedModels();
        await TestCluster.UntilAsync(async () => (await models.ListAsync()).All(model => model.IsWithdrawn));
        await TestCluster.UntilAsync(() => Task.FromResult(
            !Cluster.Blobs.Names.Any(name => name.Value.Contains("training-panels", StringComparison.Ordinal))));
    }

    [Fact]
    public async Task AnEndedStage_HasAReminder_UntilItsLastPanelIsDrawn()
    {
        await StartAsync(1);
        await SubmitAsync("steps=20", "panel=10");
        await EndAsync();
        ITrainingStageGrain stage = Cluster.Grains.GetGrain<ITrainingStageGrain>($"{s_run}/0");
        for (int step = 10; step <= 20; step += 10)
        {
            Assert.Single(await RemindersAsync());
            await stage.PanelDrawnAsync(new DrawnPanel(step, new string('a', 64), 30));
        }

        Assert.Empty(await RemindersAsync());

        // The reminders of the stage that are left once it is reminded.
        async Task<IList<ReminderEntry>> RemindersAsync()
        {
            await stage.AsReference<IRemindable>().ReceiveReminder("panels", default);
            IReminderTable table = Cluster.Silos.Silos[0].ServiceProvider.GetRequiredService<IReminderTable>();
            return (await table.ReadRows(stage.GetGrainId())).Reminders;
        }
    }

    [Fact]
    public async Task DataThatOneNodeDoesNotSee_IsNamed_AndTheOtherTrains()
    {
        await StartAsync(2);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        Devices[0].DataFault = "dataset.train.datadir: /data/one: no such folder";
        await SubmitAsync("steps=60");
        RunView run = await ViewAsync(run => run.Stages[0].Trouble is not null && run.Stages[0].Step > 5);
        string blind = DevicesBySilo.Single(one => one.Value == Devices[0]).Key;
        Assert.Contains(
            $"{blind}/cpu: dataset.train.datadir: /data/one: no such folder", run.Stages[0].Trouble,
            StringComparison.Ordinal);
        Assert.Equal(FakeTraining.AloneDigest(60), (await EndAsync()).Stages[0].Weights);
    }

    [Fact]
    public async Task ACancelInTheMiddleOfACheckpoint_KeepsTheEarlierOne_AndASweepFindsTheRest()
    {
        await StartAsync(1);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        await SubmitAsync("steps=1000", "kept=2");
        await ViewAsync(run => run.Stages[0].SafeStep >= 10);
        var (held, let) = (new TaskCompletionSource(), new TaskCompletionSource());
        Cluster.Blobs.Putting = async _ =>
        {
            held.TrySetResult();
            await let.Task.WaitAsync(TimeSpan.FromMinutes(1), Cancellation);
        };
        await held.Task.WaitAsync(TimeSpan.FromSeconds(30), Cancellation);
        long safe = (await Run.ViewAsync())!.Stages[0].SafeStep;
        await Run.CancelAsync();
        let.SetResult();
        await ViewAsync(run => run.Phase == RunPhase.Cancelled && run.Stages[0].Trainers.Length == 0);

        CheckpointManifest last = (await Cluster.Grains.GetGrain<ITrainingStageGrain>($"{s_run}/0").LastAsync())!;
        Assert.Equal(safe, last.Step);
        TrainingState state = await new CheckpointBlobs(Cluster.Blobs, new BlobOwner(BlobOwnerType.Run, s_run.Value))
            .ReadAsync(last, ["weights"], FakeTraining.Parameters, Cancellation);
        Assert.Equal(FakeTraining.AloneDigest(safe), TrainingState.Digest(state.Vectors[0]));
        int unneeded = 0;
        foreach (BlobName blob in Cluster.Blobs.Names)
        {
            unneeded += await Run.MayNeedAsync(blob) ? 0 : 1;
        }

        Assert.InRange(unneeded, 0, 10); // The parts of the checkpoint that was not committed, if they were stored.
    }

    [Fact]
    public async Task ARunOfAClosedTenant_IsCancelled()
    {
        await StartAsync(1);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        var owner = new TenantId("studio");
        await Cluster.Grains.Tenant(owner).PutAsync(new TenantSettings { MayTrain = true });
        await Run.SubmitAsync(new RunSubmission { Stages = [Stage("toy", "steps=1000000")], Owner = owner });
        ITrainingRunGrain other = Cluster.Grains.GetGrain<ITrainingRunGrain>("other");
        await other.SubmitAsync(new RunSubmission { Stages = [Stage("toy", "steps=1000000")] });
        await StepAsync(2);

        await Cluster.Grains.Tenant(owner).CloseAsync();
        await ViewAsync(run => run.Phase == RunPhase.Cancelled);
        Assert.Equal(RunPhase.Running, (await other.ViewAsync())!.Phase);
        await other.CancelAsync();
    }

    [Fact]
    public async Task TheList_HasOpenRunsFirst_ThenEndedOnes_AndTheirProgress()
    {
        await StartAsync(1);
        ITrainingBoardGrain board = Cluster.Grains.GetGrain<ITrainingBoardGrain>(0);
        await SubmitAsync("steps=10");
        await EndAsync();
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        ITrainingRunGrain next = Cluster.Grains.GetGrain<ITrainingRunGrain>("next");
        await next.SubmitAsync(new RunSubmission { Stages = [Stage("a", "steps=1000"), Stage("b")], Weight = 2 });
        await ViewAsync(run => run.Stages[0].SafeStep >= 10, next);

        await TestCluster.UntilAsync(async () => (await board.ListAsync())[0].SafeStep >= 10);
        RunSummary[] runs = await board.ListAsync();
        Assert.Equal(["next", "run"], runs.Select(run => run.Run.Value));
        RunSummary open = runs[0];
        Assert.Equal(
            ("a", 0, 2, 2, 1000), (open.StageName, open.Stage, open.StageCount, open.Weight, open.Steps));
        Assert.Equal((RunPhase.Done, true), (runs[1].Phase, runs[1].EndedAt > runs[1].SubmittedAt));
        Assert.Equal(["next"], (await board.ListOpenAsync()).Select(run => run.Run.Value));
    }

    // Of the silos, the first one that is asked has no models.
    private sealed class FakePanels
    {
        public static readonly string Sheet = new('f', 64);

        private readonly Lock _lock = new();

        public List<string> Silos { get; } = [];

        public IPanelWork On(string silo) => new OfSilo(this, silo);

        private sealed class OfSilo(FakePanels panels, string silo) : IPanelWork
        {
            public PanelPlan? PlanOf(StageSource stage) => new(["a", "b", "c"], 7, 2, 1, IsScored: true, null);

            public Task<PublishedModel> StoreAsync(
                string name, RunId run, int stage, StageSource source, CheckpointManifest checkpoint,
                CancellationToken cancellation)
            {
                lock (panels._lock)
                {
                    panels.Silos.Add(silo);
                    return panels.Silos[0] == silo
                        ? throw new PanelRefusedException("this silo has no models")
                        : Task.FromResult(new PublishedModel
                        {
                            Digest = FakeDevice.Model, Name = name, Files = [],
                            Origin = new ModelOrigin(run.Value, stage, checkpoint.Step, "w"), Base = FakeDevice.Model,
                            Owner = "o", PublishedAt = DateTimeOffset.UnixEpoch,
                        });
                }
            }

            public Task ReleaseAsync(PublishedModel model) => Task.CompletedTask;

            public Task<(BlobName Sheet, double? Score)> JoinAsync(
                PanelPlan plan, IReadOnlyList<BlobName> pictures, PublishedModel model, BlobOwner owner,
                CancellationToken cancellation)
            {
                Assert.Equal(3, pictures.Distinct().Count());
                return Task.FromResult<(BlobName, double?)>(
                    (BlobName.OfCluster(BlobKind.Checkpoint, Sheet), 21.5));
            }
        }
    }
}
