// Goal: each of the manager's rules holds by itself; in a whole simulation, other rules could hide a broken one.
// Method: hand-made reports on a manual clock.
using Atelier.Training.Worlds;
using Xunit;
using static Atelier.Training.Tests.Worlds.TestWorlds;

namespace Atelier.Training.Tests.Worlds;

public sealed class WorldManagerTests
{
    private const int Shards = 8;
    private static readonly TrainerId s_a = TestWorlds.A, s_b = TestWorlds.B, s_c = TestWorlds.C;
    private readonly WorldOptions _options = new();

    [Fact]
    public void FirstWorld_BeginsFromWhatIsSafe_WithAllThatGather()
    {
        WorldManager manager = New(new WorldRecord(null, 40));
        Assert.Equal("the stage begins", manager.Reason(At(0)));
        Assert.Null(manager.Tick(At(0)));
        ManagerAnswer answer = manager.Receive(Report(s_a) with { HasState = false }, At(0.1));
        Assert.Equal(40, answer.Restore);
        Assert.Equal(1, answer.Promise);
        manager.Receive(Report(s_b, position: 40), At(0.2));
        Assert.Null(manager.Tick(At(0.3))); // Other trainers may be starting.
        manager.Receive(Report(s_a, position: 40), At(0.4));
        manager.Receive(Report(s_c, position: 39), At(0.5));
        WorldRecord stored = manager.Tick(At(0.3) + _options.GatherTime)!;
        Assert.Equal((1, 40L), (stored.World!.Number, stored.World.FirstStep));
        Assert.Equal([s_a, s_b], stored.World.Members.Select(member => member.Id));
        Assert.Equal(Shards, stored.World.Members.Sum(member => member.Shards.Count));
        Assert.Equal(40, stored.SafeStep);
    }

    [Fact]
    public void NewWorld_HasAtLeastTheNumberThatWasPromised()
    {
        WorldManager manager = New(Record(3, s_a, s_b));
        manager.Receive(Report(s_a, world: 3, promised: 7, position: 10), At(0));
        manager.Receive(Report(s_b, world: 3, position: 10), At(0));
        Assert.Null(manager.Tick(At(0)));
        Assert.Equal(7, manager.Forming);
        Assert.Equal(7, manager.Receive(Report(s_b, world: 3, position: 10), At(0.1)).Promise);
    }

    [Fact]
    public void PromiseOfAProcessThatWasReplaced_DoesNotCount()
    {
        WorldManager manager = New(Record(3, s_a, s_b));
        manager.Receive(Report(s_a, world: 3, promised: 9, position: 10), At(0));
        manager.Receive(Report(s_b, world: 3, position: 10), At(0));
        manager.Receive(Report(s_a with { Incarnation = 2 }, world: 0) with { HasState = false }, At(0.1));
        manager.Tick(At(0.1));
        Assert.Equal(4, manager.Forming);
        Assert.Equal(new ManagerAnswer(), manager.Receive(Report(s_a, world: 3, promised: 9), At(0.2)));
    }

    // Otherwise the same world would be formed again and again while the link is dead.
    [Fact]
    public void ASpectatorsDeadLink_EndsNoWorld_AndItIsNotAdmitted()
    {
        WorldManager manager = New(Record(3, s_a, s_b));
        for (double second = 0; second < 60; second++)
        {
            manager.Receive(Report(s_a, world: 3, position: 10 + (long)second), At(second));
            manager.Receive(Report(s_b, world: 3, position: 10 + (long)second), At(second));
            manager.Receive(
                Report(s_c, world: 3, position: 10 + (long)second) with { Unreachable = [s_a] }, At(second + 0.5));
            Assert.Null(manager.Tick(At(second + 0.6)));
            Assert.Null(manager.Reason(At(second + 0.6)));
        }

        manager.Receive(Report(s_c, world: 3, position: 69), At(59.9));
        Assert.Equal("newcomers have caught up", manager.Reason(At(60)));
    }

    // Four shards a member at a tenth of a shard a second: a step takes 40 s, and a stall four of them.
    [Fact]
    public void ASlowStep_IsNotAStall()
    {
        WorldManager manager = New(Record(3, s_a, s_b));
        string? reason = null;
        double second = 0;
        for (; reason is null && second < 300; second++)
        {
            foreach (TrainerId id in new[] { s_a, s_b })
            {
                manager.Receive(Report(id, world: 3, position: 10) with { Speed = 0.1 }, At(second));
            }

            reason = manager.Reason(At(second));
        }

        Assert.Equal("no step was applied for 160 s", reason);
        Assert.InRange(second, 160, 163);
    }

    [Fact]
    public void ManagerOfAnOlderWorld_IsStale()
    {
        foreach (WorldRecord record in new[] { new WorldRecord(null, 0), Record(3, s_a) })
        {
            WorldManager manager = New(record);
            manager.Receive(Report(s_a, world: record.World?.Number ?? 0), At(0));
            Assert.False(manager.IsStale);
            manager.Receive(Report(s_b, world: (record.World?.Number ?? 0) + 1), At(0));
            Assert.True(manager.IsStale);
        }
    }

    [Fact]
    public void Position_IsTheLargestOfTheLastWorldsMembers_AndNobodyElses()
    {
        WorldManager manager = New(Record(3, s_a, s_b));
        manager.Receive(Report(s_a, world: 3, promised: 4, position: 10), At(0));
        manager.Receive(Report(s_b, world: 3, promised: 4, position: 11), At(0));
        manager.Receive(Report(s_c, world: 2, promised: 4, position: 99), At(0)); // World 3 is formed without it.
        World world = manager.Tick(At(0))!.World!;
        Assert.Equal(11, world.FirstStep);
        Assert.Equal([s_a, s_b], world.Members.Select(member => member.Id));
        Assert.Equal([s_b], world.Level);
    }

    [Fact]
    public void NothingIsFormed_BeforeAllLivingMembersHavePromised()
    {
        WorldManager manager = New(Record(3, s_a, s_b));
        manager.Receive(Report(s_a, world: 3, position: 10) with { IsLeaving = true }, At(0));
        manager.Receive(Report(s_b, world: 3, position: 10), At(0));
        Assert.Null(manager.Tick(At(0)));
        manager.Receive(Report(s_a, world: 3, promised: 4, position: 10) with { IsLeaving = true }, At(0.1));
        Assert.Null(manager.Tick(At(0.1)));
        manager.Receive(Report(s_b, world: 3, promised: 4, position: 10), At(0.2));
        Assert.Equal([s_b], manager.Tick(At(0.2))!.World!.Members.Select(member => member.Id));
    }

    // Doubt about an earlier world does not pass on to a world that ends for another reason.
    [Fact]
    public void WorldWithOnlyWrongMembers_EndsWithoutDoubt()
    {
        WorldManager manager = New(Record(3, s_a));
        manager.ReturnAll("the states differ", isDoubted: true);
        WorldRecord ended = manager.Tick(At(0))!;
        Assert.True(ended.IsDoubted);
        Assert.Equal("the states differ", manager.Reason(At(0)));
        manager.Stored(ended, At(0));
        manager.Stored(Record(5, s_a), At(0));
        manager.Remove(s_a, "a#1 computes wrong numbers");
        manager.Receive(Report(s_a, world: 5, promised: 6, position: 10), At(0));
        WorldRecord again = manager.Tick(At(0))!;
        Assert.Empty(again.World!.Members);
        Assert.False(again.IsDoubted);
    }

    // Otherwise each report of the last member would form, and store, another world.
    [Fact]
    public void LastMember_LeavesOnlyOnceSomebodyElseHasTheWeights()
    {
        WorldManager manager = New(Record(3, s_a));
        TrainerReport leaving = Report(s_a, world: 3, position: 10) with { IsLeaving = true };
        manager.Receive(leaving, At(0));
        Assert.Null(manager.Reason(At(0)));
        Assert.Null(manager.Tick(At(0)));
        manager.Receive(Report(s_b, world: 3) with { HasState = false }, At(1));
        manager.Receive(Report(s_c, world: 3, position: 10) with { IsLeaving = true }, At(1));
        Assert.Null(manager.Reason(At(1)));
        manager.Receive(Report(s_b, world: 3, position: 10), At(2));
        Assert.Equal("a#1 is leaving", manager.Reason(At(2)));
        manager.Tick(At(2));
        manager.Receive(leaving with { Promised = 4 }, At(2));
        manager.Receive(Report(s_b, world: 3, promised: 4, position: 10), At(2));
        WorldRecord both = manager.Tick(At(2))!;
        Assert.Equal([s_a, s_b], both.World!.Members.Select(member => member.Id));
        manager.Stored(both, At(2));
        manager.Tick(At(2));
        manager.Receive(leaving with { World = 4, Promised = 5 }, At(2));
        manager.Receive(Report(s_b, world: 4, promised: 5, position: 10), At(2));
        Assert.Equal([s_b], manager.Tick(At(2))!.World!.Members.Select(member => member.Id));
    }

    [Fact]
    public void WhoCannotBeReached_StaysOut_ForTheBackoff_WhichDoubles()
    {
        WorldManager manager = New(Record(1, s_a, s_b, s_c));
        double now = 0;
        double Until(Func<bool> done)
        {
            double start = now;
            while (!done())
            {
                now += 0.5;
                Assert.InRange(now, 0, 1000);
                Beat();
            }

            return now - start;
        }

        void Beat()
        {
            int world = manager.Record.World!.Number;
            bool isWhole = !manager.Record.World.Has(s_c);
            foreach (TrainerId id in new[] { s_a, s_b, s_c })
            {
                manager.Receive(
                    Report(id, world, Math.Max(world, manager.Forming), position: (long)(10 + now)) with
                    {
                        Unreachable = isWhole ? [] : id == s_c ? [s_a, s_b] : [s_c],
                    },
                    At(now));
            }

            if (manager.Tick(At(now)) is { } next)
            {
                manager.Stored(next, At(now));
            }
        }

        double first = 0;
        for (int time = 0; time < 2; time++)
        {
            Until(() => !manager.Record.World!.Has(s_c));
            double outside = Until(() => manager.Record.World!.Has(s_c));
            Assert.InRange(outside, _options.BackoffMin.TotalSeconds * (1 << time), double.MaxValue);
            Assert.True(time == 0 || outside > first, "The backoff did not grow.");
            first = outside;
        }
    }

    [Fact]
    public void MemberWhoseDeviceDraws_StaysWithoutShards_UntilItIsFree()
    {
        WorldManager manager = New(Record(3, s_a, s_b));
        World world = Next(manager, 3, At(10), serving: [s_a]);
        Assert.Equal([(s_a, 0), (s_b, Shards)], world.Members.Select(member => (member.Id, member.Shards.Count)));

        // It still draws: nothing changes, however long that takes.
        Receive(manager, 4, 4, At(40), serving: [s_a]);
        Assert.Null(manager.Tick(At(40)));
        Receive(manager, 4, 4, At(41), serving: []);
        Assert.Equal("a#1 has drawn its pictures", manager.Reason(At(41)));
        manager.Tick(At(41));
        Assert.Equal(1, manager.Asking); // It can wait for the end of the step.
        world = Next(manager, 4, At(41), serving: []);
        Assert.All(world.Members, member => Assert.Equal(Shards / 2, member.Shards.Count));

        // The next return waits, because every new world costs something.
        world = Next(manager, 5, At(42), serving: [s_b]);
        Assert.Equal([Shards, 0], world.Members.Select(member => member.Shards.Count));
        Receive(manager, 6, 6, At(43), serving: []);
        Assert.Null(manager.Reason(At(43)));
        Receive(manager, 6, 6, At(41) + _options.GrowPeriod, serving: []);
        Assert.Equal("b#1 has drawn its pictures", manager.Reason(At(41) + _options.GrowPeriod));
    }

    [Fact]
    public void WhileAllDevicesDraw_TheStepWaits_AndIsNoStall()
    {
        WorldManager manager = New(Record(3, s_a, s_b));
        for (double second = 0; second < 300; second++)
        {
            Receive(manager, 3, 3, At(second), serving: [s_a, s_b]);
            Assert.Null(manager.Tick(At(second)));
        }

        for (double second = 300; manager.Reason(At(second)) is null; second++)
        {
            Receive(manager, 3, 3, At(second), serving: []);
            Assert.InRange(second, 300, 362);
        }
    }

    [Fact]
    public void FreeNewcomer_TakesThePlaceOfAMemberWhoseDeviceDraws_IfTheWorldIsFull()
    {
        WorldManager manager = new(_options, 2, new WorldRecord(TestWorlds.Of(3, 2, s_a, s_b), 0), TimeSpan.Zero);
        Receive(manager, 3, 3, At(9), serving: [s_a]);
        manager.Receive(Report(s_c, world: 3, position: 10), At(9));
        manager.Tick(At(9));
        Receive(manager, 3, 4, At(10), serving: [s_a]);
        manager.Receive(Report(s_c, world: 3, promised: 4, position: 10), At(10));
        Assert.Equal([s_b, s_c], manager.Tick(At(10))!.World!.Members.Select(member => member.Id));
    }

    [Fact]
    public void NewcomersAreAdmitted_BetweenTwoSteps()
    {
        WorldManager manager = Growing();
        ManagerAnswer answer = manager.Receive(Report(s_a, world: 3, position: 10), At(10.1));
        Assert.Equal((4, 12L), (answer.Promise, answer.PromiseFrom)); // b has reported 11 steps.
        Assert.Equal(0, manager.Receive(Report(s_c, world: 3, position: 11), At(10.1)).Promise);
        manager.Receive(Report(s_a, world: 3, promised: 4, position: 12), At(10.2));
        manager.Receive(Report(s_b, world: 3, promised: 4, position: 12), At(10.2));
        Assert.Null(manager.Tick(At(10.2)));
        answer = manager.Receive(Report(s_c, world: 3, position: 11), At(10.2));
        Assert.Equal((4, null), (answer.Promise, answer.PromiseFrom));
        manager.Receive(Report(s_c, world: 3, promised: 4, position: 11), At(10.3));
        World world = manager.Tick(At(10.3))!.World!;
        Assert.Equal(12, world.FirstStep);
        Assert.Equal([s_a, s_b, s_c], world.Members.Select(member => member.Id));
    }

    [Fact]
    public void WhileNewcomersWaitForAStep_ALossIsUrgent()
    {
        WorldManager manager = Growing();
        Assert.Equal(1, manager.Asking);
        manager.Receive(Report(s_b, world: 3, position: 11) with { IsLeaving = true }, At(10.1));
        Assert.Null(manager.Tick(At(10.1)));
        Assert.Equal((2, "b#1 is leaving"), (manager.Asking, manager.Cause));
        Assert.Null(manager.Receive(Report(s_a, world: 3, position: 10), At(10.2)).PromiseFrom);
    }

    [Fact]
    public void WhileNewcomersWaitForAStep_EveryOtherReasonIsUrgent()
    {
        foreach ((string cause, double at, Action<WorldManager> happens) in new (string, double, Action<WorldManager>)[]
        {
            ("trainers were lost: a#1", 13.9, manager =>
            {
                manager.Receive(Report(s_b, world: 3, position: 11), At(13.9));
                manager.Receive(Report(s_c, world: 3, position: 11), At(13.9));
            }),
            ("a#1 draws pictures", 10.1, manager =>
                manager.Receive(Report(s_a, world: 3, position: 10) with { IsServing = true }, At(10.1))),
            ("a#1 computes wrong numbers", 10.1, manager => manager.Remove(s_a, "a#1 computes wrong numbers")),
        })
        {
            WorldManager manager = Growing();
            happens(manager);
            manager.Tick(At(at));
            Assert.Equal((2, cause), (manager.Asking, manager.Cause));
        }
    }

    // Otherwise worlds could follow each other so quickly that the newcomer never catches up.
    [Fact]
    public void ANewcomerThatWasNotInTime_IsWaitedForAgain_AfterTheGrowPeriod()
    {
        WorldManager manager = Growing();
        manager.Receive(Report(s_a, world: 3, promised: 4, position: 12), At(10.2));
        manager.Receive(Report(s_b, world: 3, promised: 4, position: 12), At(10.2));
        manager.Receive(Report(s_c, world: 3, promised: 4, position: 10), At(10.3)); // Two steps behind.
        WorldRecord stored = manager.Tick(At(10.3))!;
        Assert.False(stored.World!.Has(s_c));
        manager.Stored(stored, At(10.3));
        foreach ((double at, bool isAgain) in new[] { (12.0, false), (15.2, false), (15.4, true) })
        {
            manager.Receive(Report(s_a, world: 4, promised: 4, position: 12), At(at));
            manager.Receive(Report(s_b, world: 4, promised: 4, position: 12), At(at));
            manager.Receive(Report(s_c, world: 4, promised: 4, position: 12), At(at));
            Assert.Equal(isAgain, manager.Reason(At(at)) is not null);
        }
    }

    [Fact]
    public void AManagerThatKnowsNoPosition_AdmitsNobody()
    {
        WorldManager manager = New(Record(3, s_a, s_b));
        manager.Receive(Report(s_c, world: 3, position: 10), At(0));
        manager.Receive(Report(s_a, world: 3, position: 10), At(0));
        Assert.Null(manager.Reason(At(0)));
        manager.Receive(Report(s_b, world: 3, position: 10), At(0));
        Assert.Equal("newcomers have caught up", manager.Reason(At(0)));
    }

    // The members draw, so that the step that the newcomer would wait for does not end.
    [Fact]
    public void FreeNewcomer_TakesTheShards_IfAllMembersDraw()
    {
        WorldManager manager = New(Record(3, s_a, s_b));
        Receive(manager, 3, 3, At(9), serving: [s_a, s_b]);
        manager.Receive(Report(s_c, world: 3, position: 10), At(9));
        manager.Tick(At(9));
        Assert.Equal((2, "a#1 draws pictures"), (manager.Asking, manager.Cause));
        Receive(manager, 3, 4, At(10), serving: [s_a, s_b]);
        manager.Receive(Report(s_c, world: 3, promised: 4, position: 10), At(10));
        World world = manager.Tick(At(10))!.World!;
        Assert.Equal([0, 0, Shards], world.Members.Select(member => member.Shards.Count));
    }

    // A member that verifies the step still needs those that have promised, which no longer answer.
    [Fact]
    public void OnceAMemberHasPromised_TheOthersFollowSoon()
    {
        WorldManager manager = Growing();
        manager.Receive(Report(s_b, world: 3, promised: 4, position: 12), At(10.1));
        manager.Tick(At(10.1));
        manager.Tick(At(10.1) + _options.JoinPatience);
        Assert.Equal(12, manager.Receive(Report(s_a, world: 3, position: 11), At(10.2)).PromiseFrom);
        manager.Tick(At(10.2) + _options.JoinPatience);
        ManagerAnswer answer = manager.Receive(Report(s_a, world: 3, position: 11), At(10.3) + _options.JoinPatience);
        Assert.Equal((4, null), (answer.Promise, answer.PromiseFrom));
    }

    /// <summary>A manager that is about to admit a newcomer, c, to a world of a and b.</summary>
    private WorldManager Growing()
    {
        WorldManager manager = New(Record(3, s_a, s_b));
        manager.Receive(Report(s_a, world: 3, position: 10), At(10));
        manager.Receive(Report(s_b, world: 3, position: 11), At(10));
        manager.Receive(Report(s_c, world: 3, position: 10), At(10));
        Assert.Null(manager.Tick(At(10)));
        Assert.Equal("newcomers have caught up", manager.Cause);
        return manager;
    }

    private static void Receive(
        WorldManager manager, int world, int promised, TimeSpan now, TrainerId[] serving)
    {
        foreach (TrainerId id in new[] { s_a, s_b })
        {
            manager.Receive(
                Report(id, world, promised, position: 10) with { IsServing = serving.Contains(id) }, now);
        }
    }

    private static World Next(WorldManager manager, int world, TimeSpan now, TrainerId[] serving)
    {
        Receive(manager, world, world, now, serving);
        manager.Tick(now);
        Receive(manager, world, world + 1, now, serving);
        WorldRecord next = manager.Tick(now)!;
        manager.Stored(next, now);
        return next.World!;
    }

    [Fact]
    public void Checkpoint_IsCommittedByTheStoredWorld_AndOnlyForward()
    {
        WorldManager manager = New(Record(3, s_a) with { SafeStep = 20 });
        Assert.Null(manager.Commit(2, 30));
        Assert.Null(manager.Commit(4, 30));
        Assert.Null(manager.Commit(3, 20));
        Assert.Equal(30, manager.Commit(3, 30)!.SafeStep);
    }

    private WorldManager New(WorldRecord record) => new(_options, Shards, record, TimeSpan.Zero);

    private static TimeSpan At(double seconds) => TimeSpan.FromSeconds(seconds);

    private static WorldRecord Record(int number, params TrainerId[] members) =>
        new(TestWorlds.Of(number, Shards, members), 0);
}
