// Goal: the manager of a stage does not store a checkpoint that differs from the state of another member, a world with
// a member that is wrong, or steps from before a return to a checkpoint. Method: hand-made reports on a manual clock.
using Atelier.Training.Checkpoints;
using Atelier.Training.Stages;
using Atelier.Training.Tests.Worlds;
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Training.Tests.Stages;

public sealed class StageManagerTests
{
    private const int Shards = 4;
    private static readonly TrainerId s_a = TestWorlds.A, s_b = TestWorlds.B, s_c = TestWorlds.C;
    private double _now;

    private TimeSpan Now => TimeSpan.FromSeconds(_now);

    [Fact]
    public void Checkpoint_IsCommitted_OnceAllMembersHaveTheSameState()
    {
        StageManager manager = New(s_a, s_b, s_c);
        Report(manager, s_a, 20, Held(20, "x"));
        Report(manager, s_b, 20, Held(20, "x"));
        Report(manager, s_c, 19, new StateReport());
        Assert.Null(manager.Tick(Now));
        Report(manager, s_c, 20, new StateReport { Digests = [new StateDigest(3, 20, "x")] });
        StageChange change = manager.Tick(Now)!;
        Assert.Equal((20, 20), (change.World.SafeStep, change.Checkpoint!.Step));
        Assert.True(change.Checkpoint.IsPlanned);
        manager.Stored(change, Now);
        Assert.Null(manager.Tick(Now));
    }

    [Fact]
    public void ADifferentState_EndsTheWorld_AndRemovesTheMinority()
    {
        StageManager manager = New(s_a, s_b, s_c);
        Report(manager, s_a, 21, Held(20, "x"));
        Report(manager, s_b, 21, Held(20, "x"));
        Report(manager, s_c, 21, Held(20, "y"));
        StageChange change = manager.Tick(Now)!;
        Assert.Empty(change.World.World!.Members);
        Assert.Equal((4, 4, 10L), (change.World.World.Number, change.World.Returned, change.World.World.FirstStep));
        Assert.False(change.World.IsDoubted);
        Assert.Null(change.Checkpoint);
        Assert.Contains("the state of c#1 differs", change.Reason, StringComparison.Ordinal);
        manager.Stored(change, Now);

        // Copies from before the return do not count anymore, and the trainer that was wrong is not asked to restore.
        ManagerAnswer answer = Report(manager, s_a, 21, Held(20, "x"), world: 3);
        Assert.Equal((10L, 4), (answer.Restore, answer.World?.Number));
        Assert.Null(Report(manager, s_c, 21, Held(20, "y"), world: 3).Restore);
        World next = Restart(manager, s_a, s_b);
        Assert.Equal([s_a, s_b], next.Members.Select(member => member.Id));
        Assert.Equal((5, 10L, false), (next.Number, next.FirstStep, next.VerifiesAll));
        Report(manager, s_a, 20, Held(20, "x"), world: 5);
        Report(manager, s_b, 20, Held(20, "x"), world: 5);
        Assert.Null(manager.Tick(Now));
        Report(manager, s_a, 20, Held(20, "x", 5), world: 5);
        Report(manager, s_b, 20, Held(20, "x", 5), world: 5);
        Assert.Equal(20, manager.Tick(Now)!.Checkpoint!.Step);
    }

    [Fact]
    public void WithoutAMajority_TheNextWorldVerifiesItsFirstStep_AndThenTheStagePauses()
    {
        StageManager manager = New(s_a, s_b);
        Report(manager, s_a, 21, Held(20, "x"));
        Report(manager, s_b, 21, Held(20, "y"));
        StageChange change = manager.Tick(Now)!;
        Assert.True(change.World.IsDoubted);
        manager.Stored(change, Now);
        World next = Restart(manager, s_a, s_b);
        Assert.True(next.VerifiesAll);
        Report(manager, s_a, 10, new StateReport(), next.Number);
        Assert.Null(manager.Tick(Now));
        Report(manager, s_a, 11, new StateReport(), next.Number);
        StageChange pause = manager.Tick(Now)!;
        Assert.True(pause.Pauses);
        Assert.False(pause.World.IsDoubted);
        Assert.Contains("cannot be determined", pause.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void InDoubt_TheMemberThatDoesNotReproduceTheStep_IsRemoved()
    {
        StageManager manager = New(s_a, s_b);
        Report(manager, s_a, 21, Held(20, "x"));
        Report(manager, s_b, 21, Held(20, "y"));
        manager.Stored(manager.Tick(Now)!, Now);
        World next = Restart(manager, s_a, s_b);
        var dispute = new ShardDispute(next.Number, 10, s_a, Claim(1), s_b, Claim(2));
        Dispute(manager, s_a, dispute, 1);
        Assert.Null(manager.Tick(Now));
        Dispute(manager, s_b, dispute, 3);
        StageChange again = manager.Tick(Now)!;

        // What it added to earlier steps is in doubt, too.
        Assert.Empty(again.World.World!.Members);
        Assert.False(again.World.IsDoubted);
        Assert.Contains("b#1 computes wrong numbers", again.Reason, StringComparison.Ordinal);
        manager.Stored(again, Now);

        // The removed trainer stays excluded.
        _now += 60;
        Assert.Null(Report(manager, s_b, 10, new StateReport(), again.World.World.Number).Restore);
        Assert.Equal(10, Report(manager, s_a, 10, new StateReport(), again.World.World.Number).Restore);
    }

    [Fact]
    public void ADeviceThatGivesNaN_IsRemoved_AndNoStepIsLost()
    {
        StageManager manager = New(s_a, s_b);
        var dispute = new ShardDispute(3, 10, s_a, Claim(1), s_b, Claim(double.NaN));
        Dispute(manager, s_a, dispute, 1);
        Dispute(manager, s_b, dispute, double.NaN);
        manager.Tick(Now);
        Promise(manager, s_a, 3);
        Promise(manager, s_b, 3);
        StageChange change = manager.Tick(Now)!;
        Assert.Equal([s_a], change.World.World!.Members.Select(member => member.Id));
        Assert.Equal(10, change.World.World.FirstStep);
        Assert.Contains("NaN for shard 1", change.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void TheStageFails_OnceAllLivingMembersReportAFailure()
    {
        StageManager manager = New(s_a, s_b);
        Report(manager, s_a, 12, new StateReport { Failure = "it diverged" });
        Report(manager, s_b, 12, new StateReport());
        Assert.Null(manager.Tick(Now));
        Report(manager, s_b, 12, new StateReport { Failure = "it diverged" });
        StageChange change = manager.Tick(Now)!;
        Assert.Equal((true, "it diverged"), (change.Fails, change.Reason));
        Assert.Equal(3, change.World.World!.Number);
    }

    [Fact]
    public void WhileNoMemberReports_AnEarlierFailureOfOne_DoesNotEndTheStage()
    {
        StageManager manager = New(s_a, s_b);
        Report(manager, s_b, 12, new StateReport());
        Report(manager, s_a, 12, new StateReport { Failure = "it diverged" });
        _now += 60;
        Assert.NotEqual(true, manager.Tick(Now)?.Fails);
    }

    [Fact]
    public void ASingleMemberThatFails_IsRemoved_AndAllReturn()
    {
        StageManager manager = New(s_a, s_b, s_c);
        Report(manager, s_a, 12, new StateReport());
        Report(manager, s_c, 12, new StateReport());
        Report(manager, s_b, 12, new StateReport { Failure = "it diverged" });
        Assert.Null(manager.Tick(Now)); // The others may fail in the same step.
        Report(manager, s_a, 13, new StateReport());
        StageChange change = manager.Tick(Now)!;
        Assert.Empty(change.World.World!.Members);
        Assert.False(change.World.IsDoubted);
        Assert.False(change.Fails);
        Assert.Contains("b#1 cannot continue, but other members have applied step 12: it diverged", change.Reason);
        manager.Stored(change, Now);
        Assert.Null(Report(manager, s_b, 12, new StateReport(), change.World.World.Number).Restore);
        Assert.Equal(10, Report(manager, s_a, 13, new StateReport(), change.World.World.Number).Restore);
    }

    [Fact]
    public void IfTwoMembersDisagreeOnAFailure_BothReturn_InDoubt()
    {
        StageManager manager = New(s_a, s_b);
        Report(manager, s_a, 13, new StateReport());
        Report(manager, s_b, 12, new StateReport { Failure = "it diverged" });
        StageChange change = manager.Tick(Now)!;
        Assert.Empty(change.World.World!.Members);
        Assert.True(change.World.IsDoubted);
    }

    [Fact]
    public void TheOldestCheckpoint_IsCommittedFirst()
    {
        StageManager manager = New(s_a, s_b);
        Report(manager, s_b, 30, Held(30, "y", tasks: false) with { Parts = [] });
        Report(manager, s_a, 29, Held(20, "x"));
        Assert.Equal(20, manager.Tick(Now)!.Checkpoint!.Step);
    }

    // As after a rollback that only one member has made, because it measured a batch wrongly.
    [Fact]
    public void ACheckpointThatTheOthersDoNotHave_IsNotCommitted_AndItsHolderIsRemoved()
    {
        StageManager manager = New(s_a, s_b, s_c);
        Report(manager, s_a, 15, Held(15, "x"));
        var without = new StateReport { Since = 10 };
        Report(manager, s_b, 15, without);
        Report(manager, s_c, 15, without);
        Assert.Null(manager.Tick(Now)); // They may report it next.
        Report(manager, s_b, 16, without);
        Assert.Null(manager.Tick(Now)); // One against one: the third decides.
        Report(manager, s_c, 16, without);
        StageChange change = manager.Tick(Now)!;
        Assert.Empty(change.World.World!.Members);
        Assert.Null(change.Checkpoint);
        manager.Stored(change, Now);
        Assert.Equal(10, Report(manager, s_b, 16, new StateReport(), change.World.World.Number).Restore);
    }

    // A member that joined after the checkpoint has no copy of it.
    [Fact]
    public void ACheckpoint_NeedsOnlyThoseThatHaveAppliedItsStep()
    {
        StageManager manager = New(s_a, s_b, s_c);
        Report(manager, s_a, 15, Held(12, "x", world: 2));
        Report(manager, s_b, 15, Held(12, "x", world: 2));
        Report(manager, s_c, 15, new StateReport { Since = 12 });
        Assert.Equal(12, manager.Tick(Now)!.Checkpoint!.Step);
    }

    [Fact]
    public void PartsThatDiffer_EndTheWorld_EvenIfTheStatesAreEqual()
    {
        StageManager manager = New(s_a, s_b);
        Report(manager, s_a, 20, Held(20, "x"));
        Report(manager, s_b, 20, Held(20, "x") with { Parts = [Part(20, 0, "z", true), Part(20, 1, "z", true)] });
        Assert.Empty(manager.Tick(Now)!.World.World!.Members);
    }

    private static ShardClaim Claim(double value) => new(1, value, 1, 1);

    private static PartReport Part(long step, int part, string digest, bool isStored) =>
        new(step, part, new CheckpointPart(digest, 1), isStored);

    private static StateReport Held(long step, string digest, int world = 3, bool tasks = true) => new()
    {
        Holds = new HeldCheckpoint(step, true, world),
        Parts = tasks ? [Part(step, 0, digest, true), Part(step, 1, digest, true)] : [],
        Digests = [new StateDigest(world, step, digest)],
    };

    private void Dispute(StageManager manager, TrainerId id, ShardDispute dispute, double again)
    {
        TrainerReport report = TestWorlds.Report(id, dispute.World, position: 10) with { Dispute = dispute };
        (ManagerAnswer answer, _) = manager.Receive(report, new StateReport(), Now);
        Assert.Equal(new TrialRequest(dispute.World, 10, 1), answer.Trial);
        manager.Receive(report with { Trial = new TrialClaim(answer.Trial!, Claim(again)) }, new StateReport(), Now);
    }

    private void Promise(StageManager manager, TrainerId id, int world) =>
        manager.Receive(TestWorlds.Report(id, world, world + 1, 10), new StateReport(), Now);

    private World Restart(StageManager manager, params TrainerId[] trainers)
    {
        foreach (double later in new[] { 0.1, 2.5 })
        {
            _now += later;
            foreach (TrainerId id in trainers)
            {
                Report(manager, id, 10, new StateReport(), world: 4);
            }

            if (manager.Tick(Now) is { } change)
            {
                manager.Stored(change, Now);
            }
        }

        return manager.Record.World!;
    }

    private static StageManager New(params TrainerId[] members)
    {
        return new StageManager(
            new WorldOptions(), Shards, ["weights"], 2, new WorldRecord(TestWorlds.Of(3, Shards, members), 10),
            TimeSpan.Zero);
    }

    private ManagerAnswer Report(StageManager manager, TrainerId id, long position, StateReport state, int world = 3) =>
        manager.Receive(TestWorlds.Report(id, world, position: position), state, Now).Answer;
}
