// Goal: a run continues while silos of the release before are in the cluster, and after a return to that release.
// Method: the calls that its silos make, and the states that they would write, in a cluster of this release.
// bench/upgrade.py runs both releases together.
using Atelier.Contracts.Training;
using Atelier.Grains.Ports;
using Atelier.Grains.Training;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Serialization;
using Orleans.Storage;
using Xunit;
using TestCluster = Atelier.Grains.Tests.Cluster.TestCluster;

namespace Atelier.Grains.Tests.Training;

public sealed class EarlierReleaseTests : StageCluster
{
    private const string BoardKey = "trainingboard/0/board";

    private static readonly OrleansGrainStorageSerializer s_serializer = new(
        new ServiceCollection().AddSerializer().BuildServiceProvider().GetRequiredService<Serializer>());

    private ITrainingBoardGrain Board => Cluster.Grains.GetGrain<ITrainingBoardGrain>(0);

    private TrainingBoardState StoredBoard =>
        s_serializer.Deserialize<TrainingBoardState>(Cluster.Store.States[BoardKey].Bytes)!;

    [Fact]
    public async Task CallsOfTheReleaseBefore_TrainARunToItsEnd()
    {
        await StartAsync(2);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        StageSource[] stages = [Stage("toy", "steps=60")];
        Assert.Equal(RunAnswer.Accepted, await Run.EarlierSubmitAsync(stages));
        Assert.Equal(RunAnswer.Accepted, await Run.EarlierSubmitAsync(stages));
        Assert.Equal(RunAnswer.Conflict, await Run.EarlierSubmitAsync([Stage("other")]));
        Assert.Equal([new OpenRun(s_run, 0)], await Board.EarlierListAsync());
        await StepAsync(12);

        await Run.PauseAsync(isImmediate: true);
        await ViewAsync(run => run.Phase == RunPhase.Paused);
        Assert.Empty(await Board.EarlierListAsync());
        await Run.EarlierResumeAsync();

        RunView ended = await EndAsync();
        Assert.Equal((RunPhase.Done, FakeTraining.AloneDigest(60)), (ended.Phase, ended.Stages[0].Weights));
        Assert.Empty(await Board.EarlierListAsync());
    }

    [Fact]
    public async Task AStageThatTheReleaseBeforeHasResumedOrEnded_ResumesAndEnds()
    {
        await StartAsync(1);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        await Run.SubmitAsync(new RunSubmission { Stages = [Stage("a", "steps=1000000")], BudgetSeconds = 1e6 });
        await StepAsync(2);
        ITrainingStageGrain stage = Cluster.Grains.GetGrain<ITrainingStageGrain>(new OpenRun(s_run, 0).StageKey);
        await stage.PauseAsync("test", isImmediate: true);
        await ViewAsync(run => run.Stages[0].IsPaused);
        await stage.EarlierResumeAsync();
        await ViewAsync(run => !run.Stages[0].IsPaused);
        Assert.Contains("1000000", Cluster.Store.States[$"trainingstage/{s_run}/0/stage"].Bytes.ToString(),
            StringComparison.Ordinal);

        await Run.EarlierStageEndedAsync(0, "out of memory");
        RunView failed = (await Run.ViewAsync())!;
        Assert.Equal((RunPhase.Failed, true), (failed.Phase, failed.EndedAt is not null));
    }

    [Fact]
    public async Task AStageThatTheReleaseBeforeBegins_IsTrained()
    {
        await StartAsync(1);
        var run = new OpenRun(new RunId("elsewhere"), 0);
        ITrainingStageGrain stage = Cluster.Grains.GetGrain<ITrainingStageGrain>(run.StageKey);
        await stage.EarlierBeginJsonAsync(TrainingJson.Write(new StagePlan(run.Run.Value, "toy", "", ["steps=20"])));
        Assert.True(await Board.EarlierOpenAsync(run.Run, 0));
        await TestCluster.UntilAsync(async () => (await stage.ViewAsync()).Weights is not null);
        Assert.Equal(FakeTraining.AloneDigest(20), (await stage.ViewAsync()).Weights);
    }

    // A silo of the release before cannot read a call that it does not know.
    [Fact]
    public async Task AGrainOnASiloOfTheReleaseBefore_IsMoved_AndCalledAgain()
    {
        await StartAsync(1);
        bool isMoved = false;
        Cluster.Calling = (method, _, _) =>
        {
            isMoved |= method == nameof(ITrainingBoardGrain.EarlierListAsync);
            return method == nameof(ITrainingBoardGrain.ListOpenAsync) && !isMoved
                ? throw new TypeLoadException("Unable to resolve type alias") : Task.CompletedTask;
        };
        await SubmitAsync("steps=20");
        Assert.Equal(FakeTraining.AloneDigest(20), (await EndAsync()).Stages[0].Weights);
        Assert.True(isMoved);
    }

    [Fact]
    public async Task TheList_IsReadByTheReleaseBefore_AndReadWhenItHasWrittenIt()
    {
        await StartAsync(1);
        Array.ForEach(Devices, device => device.Pace = TimeSpan.FromMilliseconds(20));
        await Run.SubmitAsync(new RunSubmission { Stages = [Stage("toy", "steps=1000000")], Weight = 3, Priority = 2 });
        await StepAsync(2);
        Assert.Equal([new OpenRun(s_run, 0)], StoredBoard.Runs);
        TestCluster before = Cluster;
        await before.Silos.StopAllSilosAsync(Cancellation);

        // The release before keeps open runs with their stages, and nothing else.
        TrainingBoardState written = StoredBoard;
        written.Summaries.Clear();
        before.Store.States[BoardKey] = (s_serializer.Serialize(written), before.Store.States[BoardKey].Tag + 1);
        await StartAsync(1, twin: before);
        Assert.Equal([s_run], (await Board.ListOpenAsync()).Select(run => run.Run));
        await TestCluster.UntilAsync(async () => (await Board.ListOpenAsync())[0].StageName == "toy");
        RunSummary run = (await Board.ListOpenAsync())[0];
        Assert.Equal((3, 2, 1, RunPhase.Running), (run.Weight, run.Priority, run.StageCount, run.Phase));
        await Run.CancelAsync();
        Assert.Empty(StoredBoard.Runs);
    }

    [Fact]
    public async Task TheList_FollowsRunsOfTheReleaseBefore()
    {
        await StartAsync(1);
        var run = new RunId("elsewhere");
        Assert.True(await Board.EarlierOpenAsync(run, 0));
        Assert.True(await Board.EarlierOpenAsync(run, 1));
        Assert.Equal([new OpenRun(run, 1)], await Board.EarlierListAsync());
        Assert.Equal([new OpenRun(run, 1)], StoredBoard.Runs);
        await Board.EarlierCloseAsync(run);
        Assert.Empty(await Board.EarlierListAsync());
        Assert.Empty(await Board.ListAsync());
        for (int i = 0; i < ITrainingBoardGrain.RunsMax; i++)
        {
            Assert.True(await Board.EarlierOpenAsync(new RunId($"run-{i}"), 0));
        }

        Assert.False(await Board.EarlierOpenAsync(run, 0));
        Assert.True(await Board.EarlierOpenAsync(new RunId("run-0"), 1));
    }
}
