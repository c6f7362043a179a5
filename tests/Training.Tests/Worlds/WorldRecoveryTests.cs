// Goal: every kind of change of a world, by itself, ends within its own time limit and costs no more than intended.
// Method: one event at a time in the simulated stage, over a few seeds; times are simulated.
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Training.Tests.Worlds;

public sealed class WorldRecoveryTests
{
    private const int Shards = 8;
    private const int Seeds = 20;

    [Fact]
    public void MemberThatDies_CostsThreeSeconds_AndNoStep() => Each(3, run =>
    {
        long before = Furthest(run);
        run.Kill(run.Trainers[1]);
        WithinSeconds(run, 3, () => Furthest(run) > before + 1);
        Assert.Equal(2, run.Stored.World!.Members.Length);
        Assert.InRange(run.Stored.World.FirstStep, before, before + 1);
    });

    [Fact]
    public void MemberThatLeaves_CostsAStep_AndASecond() => Each(3, run =>
    {
        double step = StepSeconds(run);
        long before = Furthest(run);
        run.Trainers[2].IsLeaving = true;
        run.Trainers[2].Report();

        // A step of the two remaining trainers takes longer: up to three times as long if the fastest trainer leaves.
        WithinSeconds(run, 1 + (4 * step), () => run.Stored.World!.Members.Length == 2 && Furthest(run) > before);
    });

    [Fact]
    public void AllThatDie_BeginAtTheLastCheckpoint_AndNotBefore() => Each(3, run =>
    {
        run.Run(run.Now + TimeSpan.FromSeconds(10));
        long safe = run.Stored.SafeStep;
        Assert.True(safe > 0);
        foreach (SimulatedTrainer trainer in run.Trainers.ToArray())
        {
            run.Kill(trainer);
        }

        run.Run(run.Now + TimeSpan.FromMinutes(10));
        for (int i = 0; i < 2; i++)
        {
            run.Boot($"t{i}");
        }

        int world = run.Stored.World!.Number;
        WithinSeconds(run, 12, () => run.Stored.World!.Number > world && Furthest(run) > safe);
        Assert.Equal(run.Stored.SafeStep > safe ? run.Stored.SafeStep : safe, run.Stored.World!.FirstStep);
    });

    // Members continue while the newcomer copies the state; only the step at which it joins waits for it.
    [Fact]
    public void Newcomer_JoinsWhileTheOthersTrain() => Each(2, run =>
    {
        double step = StepSeconds(run);
        long begun = Furthest(run);
        TimeSpan start = run.Now;
        SimulatedTrainer newcomer = run.Boot("t9");
        WithinSeconds(run, 10, () => run.Stored.World!.Has(newcomer.Id) && newcomer.Replica.Position > begun);
        double lost = (run.Now - start).TotalSeconds - ((Furthest(run) - begun) * step);

        // A step that is shorter than a heartbeat may be computed again.
        Assert.True(lost <= 1 + (2 * step), $"it cost {lost:f1} s, a step takes {step:f2} s");
    });

    [Fact]
    public void Newcomer_InterruptsNoStep_ThatTakesLongerThanAHeartbeat() => Each(2, run =>
    {
        run.Slowness = 15;
        long begun = Furthest(run);
        WithinSeconds(run, 120, () => Furthest(run) > begun + 2);
        run.Computed.Clear();
        SimulatedTrainer newcomer = run.Boot("t9");
        WithinSeconds(run, 120, () => run.Stored.World!.Has(newcomer.Id));
        long joined = run.Stored.World!.FirstStep;
        WithinSeconds(run, 120, () => Furthest(run) > joined + 2);
        run.Check(run.Computed.Values.All(times => times == 1), "no shard is computed twice");
    });

    // Otherwise all of them would stop after the step, and wait for a world that nobody forms.
    [Fact]
    public void ManagerThatDiesWhileANewcomerWaits_StopsNoStep() => Each(2, run =>
    {
        run.Slowness = 60;
        run.SaveInterval = 1000;
        long begun = Furthest(run);
        WithinSeconds(run, 300, () => Furthest(run) > begun + 2);
        run.Boot("t9");
        WithinSeconds(run, 300, () => run.Managers[^1].Asking == 1);
        run.Run(run.Now + TimeSpan.FromSeconds(0.3)); // The members are asked.
        run.Check(run.Managers[^1].Asking == 1, "the members still compute their step");
        run.Managers[^1].IsAlive = false;
        long before = Furthest(run);
        run.Run(run.Now + TimeSpan.FromSeconds(300));
        run.Check(Furthest(run) > before + 3, "the members continue without the manager");
    });

    [Fact]
    public void ManagerThatIsAway_StopsNoStep() => Each(3, run =>
    {
        run.SaveInterval = 1000; // A checkpoint would wait for the commit of the previous one.
        run.Managers[^1].IsAlive = false;
        long before = Furthest(run);
        run.Run(run.Now + TimeSpan.FromSeconds(60));
        Assert.True(Furthest(run) > before + 100);
        run.Managers.Add(new SimulatedManager(run));
        int world = run.Stored.World!.Number;
        run.Run(run.Now + TimeSpan.FromSeconds(10));
        Assert.Equal(world, run.Stored.World!.Number);
    });

    [Fact]
    public void LinkThatIsHalfDead_PutsOutOneOfItsEnds() => Each(4, run =>
    {
        (TrainerId one, TrainerId other) = (run.Trainers[0].Id, run.Trainers[1].Id);
        run.Dead.Add((one.Name, other.Name));
        long before = Furthest(run);
        WithinSeconds(run, 10, () => run.Stored.World!.Members.Length == 3 && Furthest(run) > before + 3);
        Assert.True(run.Stored.World!.Has(one) != run.Stored.World.Has(other));

        // The link stays dead: the removed member does not disturb the others.
        int worlds = run.Stored.World.Number;
        run.Run(run.Now + TimeSpan.FromSeconds(60));
        Assert.InRange(run.Stored.World.Number, worlds, worlds + 4);
        Assert.InRange(run.Stored.World.Members.Length, 3, 4);
    });

    // Whatever a device measures, nobody waits for a result that nobody computes; the other state is found.
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void MemberWithWrongMeasures_CausesNoStall_AndIsRemoved(int at) => Each(
        3,
        run =>
        {
            SimulatedTrainer wrong = run.Trainers[at];
            wrong.MeasuresWrong = true;
            WithinSeconds(run, 10, () => run.Stored.World is { Members.Length: 2 } world && !world.Has(wrong.Id));
            long begun = run.Stored.World!.FirstStep;
            WithinSeconds(run, 5, () => Furthest(run) > begun + 3);
        },
        Faults.WrongMeasure);

    [Fact]
    public void MoreTrainersThanShards_AreSpares_ThatReplaceTheDead() => Each(
        10,
        run =>
        {
            Assert.Equal(Shards, run.Stored.World!.Members.Length);
            run.Run(run.Now + TimeSpan.FromSeconds(5));
            run.Kill(run.Trainers.First(one => one.Replica.IsMember));
            WithinSeconds(run, 15, () => run.Stored.World!.Members.Length == Shards
                && run.Stored.World.Members.All(member => run.Trainers.Any(one => one.Id == member.Id)));
        });

    private static void Each(int trainers, Action<WorldSimulation> scenario, Faults faults = Faults.None)
    {
        for (int seed = 0; seed < Seeds; seed++)
        {
            var run = new WorldSimulation(seed, Shards, trainers, faults);
            int wanted = Math.Min(trainers, Shards);
            WithinSeconds(run, 15, () => run.Stored.World?.Members.Length == wanted && Furthest(run) > 4);
            try
            {
                scenario(run);
            }
            catch (Exception error) when (error is not InvalidOperationException)
            {
                throw new InvalidOperationException($"seed={seed}: {error.Message}\n{run.Story}", error);
            }
        }
    }

    private static void WithinSeconds(WorldSimulation run, double seconds, Func<bool> condition)
    {
        run.Run(run.Now + TimeSpan.FromSeconds(seconds), condition);
        run.Check(condition(), $"it happens within {seconds} s");
    }

    private static double StepSeconds(WorldSimulation run)
    {
        (long begun, TimeSpan start) = (Furthest(run), run.Now);
        run.Run(run.Now + TimeSpan.FromSeconds(20), () => Furthest(run) == begun + 5);
        return (run.Now - start).TotalSeconds / 5;
    }

    private static long Furthest(WorldSimulation run) =>
        run.Trainers.Where(one => one.Replica.IsMember).Select(one => one.Replica.Position).DefaultIfEmpty().Max();
}
