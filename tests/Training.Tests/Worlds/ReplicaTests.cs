// Goal: a replica keeps each of its rules by itself; in a whole simulation, other rules could hide a broken one.
// Method: answers and results by hand, and a host that records what it is asked for.
using System.Collections.Immutable;
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Training.Tests.Worlds;

public sealed class ReplicaTests
{
    private const int Shards = 2;
    private static readonly TrainerId s_self = TestWorlds.A, s_b = TestWorlds.B, s_c = TestWorlds.C;

    [Fact]
    public void APromiseThatCanWait_IsMadeAfterTheStep_AndTheNextStepIsNotBegun()
    {
        var host = new Host();
        Replica<string> replica = Begun(host);
        replica.TakeAnswer(new ManagerAnswer { LastWorld = 1, Promise = 2, PromiseFrom = 12 });
        Finish(replica, 10);
        Assert.Equal((11L, 1), (replica.Position, replica.Promised));
        Assert.Equal(11, host.Computing);
        Finish(replica, 11);
        Assert.Equal((12L, 2), (replica.Position, replica.Promised));
        Assert.Equal(11, host.Computing);

        replica.TakeAnswer(new ManagerAnswer { LastWorld = 2, World = World(2, 12) });
        Assert.Equal(12, host.Computing);
        Finish(replica, 12, world: 2);
        Assert.Equal(13, replica.Position);
    }

    [Fact]
    public void APromiseIsMadeAtOnce_IfItCannotWait_OrTheStepIsOver()
    {
        foreach (long? from in new long?[] { null, 10, 9 })
        {
            Replica<string> replica = Begun(new Host());
            replica.TakeAnswer(new ManagerAnswer { LastWorld = 1, Promise = 2, PromiseFrom = from });
            Assert.Equal(2, replica.Promised);
            Finish(replica, 10);
            Assert.Equal(10, replica.Position); // Nothing of world 1 is applied.
        }
    }

    [Fact]
    public void APromiseThatCanWait_IsForgotten_IfNobodyAsksForItAnymore()
    {
        Replica<string> replica = Begun(new Host());
        replica.TakeAnswer(new ManagerAnswer { LastWorld = 1, Promise = 2, PromiseFrom = 11 });
        replica.TakeAnswer(new ManagerAnswer { LastWorld = 1 });
        Finish(replica, 10);
        Finish(replica, 11);
        Assert.Equal((12L, 1), (replica.Position, replica.Promised));
    }

    // No later step ends, so the replica must not wait for one.
    [Fact]
    public void AfterTheLastStep_APromiseIsMadeAtOnce()
    {
        Replica<string> replica = Begun(new Host(), steps: 11);
        Finish(replica, 10);
        replica.TakeAnswer(new ManagerAnswer { LastWorld = 1, Promise = 2, PromiseFrom = 12 });
        Assert.Equal(2, replica.Promised);
    }

    [Fact]
    public void ANewcomer_AsksForNoTotalsThatItHas()
    {
        var host = new Host();
        var replica = new Replica<string>(s_self, 4, (left, right) => left + right, host, 100, totalsMax: 8);
        replica.TakeAnswer(new ManagerAnswer { LastWorld = 0, Restore = 9 });
        replica.Restored(9, host);
        replica.TakeAnswer(new ManagerAnswer
        {
            LastWorld = 1, World = TestWorlds.Of(1, 4, s_b, s_c) with { FirstStep = 9 },
        });
        replica.Receive(s_b, new TotalFrame<string>(1, 9, 0, 2, "sum"));
        replica.Receive(s_c, new TotalFrame<string>(1, 9, 1, 2, "sum"));
        Assert.Equal(9, replica.Position); // No member is known to have applied it.
        host.Sent.Clear();
        replica.TakeAnswer(new ManagerAnswer
        {
            LastWorld = 2, World = TestWorlds.Of(2, 4, s_self, s_b, s_c) with { Level = [s_b, s_c] },
        });
        Assert.Equal((10L, 10L), (replica.Position, host.Computing));
        Assert.Empty(host.Sent);
    }

    // It computes no shards, so the others could do without it; but it owns a slice.
    [Fact]
    public void AMemberWithoutShards_LetsNobodyGetFurtherAheadThanAStep_AndLosesNoTotal()
    {
        var host = new Host();
        var replica = new Replica<string>(s_self, Shards, (left, right) => left + right, host, 100, totalsMax: 8);
        replica.TakeAnswer(new ManagerAnswer { LastWorld = 0, Restore = 10 });
        replica.Restored(10, host);
        replica.TakeAnswer(new ManagerAnswer
        {
            LastWorld = 1,
            World = new World(
                1, 10, [new(s_self, "a", new ShardRun(0, 0)), new(s_b, "b", new ShardRun(0, Shards))], [s_self, s_b]),
        });
        var all = new TreeNode(int.Log2(Shards), 0);
        replica.Receive(s_b, new PartialFrame<string>(1, 10, 0, all, "sum"));
        TotalFrame<string> own = new(1, 10, 0, 2, "sum");
        Assert.Equal((Frame)own, Assert.Single(host.Sent).Frame);

        // b has applied step 10 and computed step 11, before its own total of step 10 is here.
        replica.Receive(s_b, new PartialFrame<string>(1, 11, 0, all, "sum"));
        replica.Receive(s_b, new TotalFrame<string>(1, 11, 1, 2, "sum"));
        Assert.Single(host.Sent);
        replica.Receive(s_b, new TotalFrame<string>(1, 10, 1, 2, "sum"));
        Assert.Equal(12, replica.Position);
        Assert.Equal([own, own with { Step = 11 }], host.Sent.Select(one => one.Frame));
    }

    [Fact]
    public void APromiseThatCanWait_IsNotMade_IfTheManagerIsSilent()
    {
        Replica<string> replica = Begun(new Host());
        replica.TakeAnswer(new ManagerAnswer { LastWorld = 1, Promise = 2, PromiseFrom = 11 });
        replica.ManagerIsSilent();
        Finish(replica, 10);
        Finish(replica, 11);
        Assert.Equal((12L, 1), (replica.Position, replica.Promised));
    }

    // The receiver starts over in the next world anyway.
    [Fact]
    public void AReplicaThatHasPromised_CopiesNoState()
    {
        var host = new Host();
        Replica<string> replica = Begun(host);
        replica.Receive(s_b, new CopyFrame(1, 11, 0, 1));
        replica.TakeAnswer(new ManagerAnswer { LastWorld = 1, Promise = 2, PromiseFrom = 11 });
        Finish(replica, 10);
        Assert.Equal(2, replica.Promised);
        Assert.Empty(host.Sent);
    }

    // The totals have the size of the weights: with many members, their answers would take longer than many steps.
    [Fact]
    public void WhoLacksAStep_AsksOneMember_ThatHasAppliedItItself()
    {
        foreach ((long begin, TrainerId[] asked) in new[]
        {
            (9L, [s_b]), // b has applied step 9; c has copied a state.
            (10L, new[] { s_c, s_b }), // Nobody is known to have applied it.
        })
        {
            var host = new Host();
            var replica = new Replica<string>(s_self, 4, (left, right) => left + right, host, 100, totalsMax: 8);
            replica.TakeAnswer(new ManagerAnswer { LastWorld = 0, Restore = 9 });
            replica.Restored(9, host);
            World first = TestWorlds.Of(1, 4, s_self, s_b) with { FirstStep = begin };
            replica.TakeAnswer(new ManagerAnswer { LastWorld = 1, World = first });
            host.Sent.Clear();
            replica.TakeAnswer(new ManagerAnswer
            {
                LastWorld = 2, World = TestWorlds.Of(2, 4, s_self, s_b, s_c) with { Level = [s_c, s_b] },
            });
            Assert.Equal(asked.Select(to => (to, (Frame)new CatchUpFrame(2, 9))), host.Sent);
        }
    }

    private static World World(int number, long step) =>
        TestWorlds.Of(number, Shards, s_self) with { FirstStep = step };

    private static Replica<string> Begun(Host host, long steps = 100)
    {
        var replica = new Replica<string>(
            s_self, Shards, (left, right) => left + right, host, steps, totalsMax: 8);
        replica.TakeAnswer(new ManagerAnswer { LastWorld = 0, Restore = 10 });
        replica.Restored(10, host);
        replica.TakeAnswer(new ManagerAnswer { LastWorld = 1, World = World(1, 10) });
        Assert.Equal(10, host.Computing);
        return replica;
    }

    private static void Finish(Replica<string> replica, long step, int world = 1)
    {
        for (int shard = 0; shard < Shards; shard++)
        {
            replica.Computed(world, step, shard, ["sum"]);
        }
    }

    private sealed class Host : IReplicaHost<string>
    {
        public List<(TrainerId To, Frame Frame)> Sent { get; } = [];

        /// <summary>The latest step of which a shard was requested.</summary>
        public long Computing { get; private set; } = -1;

        public void Compute(int world, long step, int shard, int slices) => Computing = step;

        public void Send(TrainerId to, Frame frame) => Sent.Add((to, frame));

        public void Verify(int world, long step, int shard, bool isTrial) => Assert.Fail("Nothing is to be verified.");

        public ImmutableArray<ShardClaim> Review(long step, ImmutableArray<string> totals, bool all) => [];

        public bool CanApply() => true;

        public void Apply(long step, ImmutableArray<string> totals)
        {
        }

        public object Copy(int part, int parts) => this;

        public bool LoadParts(IReadOnlyList<object> parts) => true;

        public void Load(object state)
        {
        }

        public void Restore(long step)
        {
        }
    }
}
