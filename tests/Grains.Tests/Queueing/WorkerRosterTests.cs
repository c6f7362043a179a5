// Goal: what workers report counts until they report something else or are silent for too long; a silent worker that
// holds work remains until its leases expire. Method: the roster alone, at the bounds of the silence.
using Atelier.Contracts.Queueing;
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class WorkerRosterTests
{
    private static readonly DateTimeOffset s_now = Work.Start;
    private static readonly TimeSpan s_silence = TimeSpan.FromSeconds(5), s_tick = TimeSpan.FromTicks(1);
    private static readonly WorkerModel
        s_loaded = new(Work.Model(1), ModelPlace.Loaded), s_loading = new(Work.Model(2), ModelPlace.Loading);

    private readonly QueueParts _parts = new(new WorkQueueOptions { LeaseTime = s_silence });

    private WorkerRoster Workers => _parts.Workers;

    [Fact]
    public void ATurn_CountsWhatTheWorkerHas()
    {
        QueueWorker worker = _parts.Worker("w", 2, models: [s_loaded, s_loading]);
        Assert.True(Workers.Has("w"));
        Assert.False(Workers.Has("W"));
        Assert.Equal([worker], Workers.All);
        Assert.Equal((s_now, Work.Model(2), 2), (worker.SeenAt, worker.Loading, worker.Spare));
        Assert.Equal(
            (1, 2), (worker.Pool!.Supply(Work.Model(1)).Workers, worker.Pool.Supply(Work.Model(1)).Spare));
        Assert.Equal(
            (0, 1), (worker.Pool.Supply(Work.Model(2)).Workers, worker.Pool.Supply(Work.Model(2)).Loading));
    }

    // Between its turn and the queue's answer a worker has no slot to give away.
    [Fact]
    public void TheNextTurn_ReplacesTheLast()
    {
        QueueWorker worker = _parts.Worker("w", 2, models: [s_loaded, s_loading]);
        WorkerPool pool = worker.Pool!;
        var turn = new WorkerTurn
        {
            Worker = "w", DeviceKind = "cpu", Roles = WorkRoles.All, Free = 9,
            Models = [s_loaded, s_loading with { Place = ModelPlace.Loaded }],
        };
        Assert.Same(worker, Workers.Update(turn, s_now.AddSeconds(1)));
        Assert.Same(pool, worker.Pool);
        Assert.Equal((0, null, s_now.AddSeconds(1)), (worker.Spare, worker.Loading, worker.SeenAt));
        Assert.Equal((1, 0), (pool.Supply(Work.Model(1)).Workers, pool.Supply(Work.Model(1)).Spare));
        Assert.Equal((1, 0), (pool.Supply(Work.Model(2)).Workers, pool.Supply(Work.Model(2)).Loading));
        WorkerRoster.SetSpare(worker, 4, Work.Model(1), s_now.AddSeconds(2));
        Assert.Equal((4, 1), (pool.Supply(Work.Model(1)).Spare, pool.Supply(Work.Model(1)).Loading));
        Assert.Equal(4, pool.Supply(Work.Model(2)).Spare);
        WorkerRoster.SetSpare(worker, 4, Work.Model(1), s_now.AddSeconds(3));
        Assert.Equal(s_now.AddSeconds(2), worker.LoadingSince);
    }

    [Theory]
    [InlineData(WorkRoles.Denoise, "cpu", 1)]
    [InlineData(WorkRoles.All, "cuda", 1)]
    [InlineData(WorkRoles.All, "cpu", 3)]
    public void AWorkerThatChanges_JoinsAnotherPool(WorkRoles roles, string kind, int model)
    {
        QueueWorker worker = _parts.Worker("w", 2, models: [s_loaded]);
        WorkerPool pool = worker.Pool!;
        _parts.Worker("w", 2, roles, kind, models: [new WorkerModel(Work.Model(model), ModelPlace.Loaded)]);
        Assert.NotSame(pool, worker.Pool);
        Assert.Equal((0, 0, 0), (pool.Workers, pool.Supply(Work.Model(1)).Workers, pool.Supply(Work.Model(1)).Spare));
        Assert.Equal((1, 2), (worker.Pool!.Workers, worker.Pool.Supply(Work.Model(model)).Spare));
    }

    [Fact]
    public void Draining_IsOfOneWorker_AndSaidTwiceIsOnce()
    {
        QueueWorker one = _parts.Worker("w1"), two = _parts.Worker("w2");
        Assert.False(Workers.IsAnyDraining);
        Workers.SetDraining(one, true);
        Workers.SetDraining(one, true);
        Assert.Equal((true, false, true), (one.IsDraining, two.IsDraining, Workers.IsAnyDraining));
        Workers.SetDraining(two, false);
        Assert.True(Workers.IsAnyDraining);
        Workers.SetDraining(one, false);
        Assert.Equal((false, false), (one.IsDraining, Workers.IsAnyDraining));
    }

    [Fact]
    public void AnIdleWorker_HoldsNothing_AndHasASlot()
    {
        WorkItem item = Work.Denoise("a", 1, 5) with { Model = Work.Model(1) };
        var work = WorkClass.Of(item);
        var there = new WorkerModel(Work.Model(1), ModelPlace.Beside);
        Assert.False(Workers.HasIdle(work, isLoaded: false));
        QueueWorker worker = _parts.Worker("w", 0, models: [there]);
        Assert.False(Workers.HasIdle(work, isLoaded: false));
        WorkerRoster.SetSpare(worker, 1, null, s_now);
        Assert.Equal((true, false), (Workers.HasIdle(work, isLoaded: false), Workers.HasIdle(work, isLoaded: true)));
        Assert.False(Workers.HasIdle(work with { DeviceKind = "cuda" }, isLoaded: false));
        _parts.Worker("w", 1, models: [s_loaded]);
        Assert.True(Workers.HasIdle(work, isLoaded: true));
        _parts.Hold(item, worker);
        Assert.False(Workers.HasIdle(work, isLoaded: false));
    }

    [Fact]
    public void WorkersWithASlot_AreNamed_ThoseThatHaveTheModelFirst()
    {
        WorkItem item = Work.Denoise("a", 1, 5) with { Model = Work.Model(1) };
        var beside = new WorkerModel(Work.Model(1), ModelPlace.Beside);
        _parts.Worker("beside", 1, models: [beside]);
        _parts.Worker("loaded", 1, models: [s_loaded]);
        _parts.Worker("full", 0, models: [s_loaded]);
        _parts.Worker("other", 1, models: [s_loading]);
        _parts.Worker("encoder", 1, WorkRoles.Encode, models: [s_loaded]);
        Assert.Equal(["loaded", "beside"], Workers.WithSpareFor(item));
    }

    [Fact]
    public void AWorkerThatIsSilent_IsRemoved_WhenTheTimeIsOver()
    {
        QueueWorker worker = _parts.Worker("w", 2, models: [s_loaded, s_loading]);
        WorkerPool pool = worker.Pool!;
        Workers.SetDraining(worker, true);
        Workers.RemoveSilent(s_now + s_silence - s_tick);
        Assert.True(Workers.Has("w"));
        Workers.RemoveSilent(s_now + s_silence);
        Assert.False(Workers.Has("w"));
        Assert.False(Workers.IsAnyDraining);
        Assert.Equal((0, 0, 0), (pool.Workers, pool.Supply(Work.Model(1)).Workers, pool.Supply(Work.Model(1)).Spare));
        Assert.Equal(0, pool.Supply(Work.Model(2)).Loading);
        Assert.False(_parts.Waiting.IsSupplied(Work.Denoise("a", 1, 5) with { Model = Work.Model(1) }, _ => 1));
    }

    [Fact]
    public void AWorkerThatSpoke_HasTheWholeTimeAgain()
    {
        _parts.Worker("w", now: s_now);
        _parts.Worker("w", now: s_now.AddSeconds(4));
        Workers.RemoveSilent(s_now + s_silence);
        Workers.RemoveSilent(s_now.AddSeconds(4) + s_silence - s_tick);
        Assert.True(Workers.Has("w"));
        Workers.RemoveSilent(s_now.AddSeconds(4) + s_silence);
        Assert.False(Workers.Has("w"));
    }

    [Fact]
    public void AWorkerThatHoldsWork_StaysUntilItsLeaseHasEnded()
    {
        QueueWorker worker = _parts.Worker("w");
        WorkEntry entry = _parts.Hold(Work.Denoise("a", 1, 5), worker);
        Workers.RemoveSilent(s_now + s_silence);
        Assert.True(Workers.Has("w"));
        _parts.Leases.End(entry);
        Workers.RemoveSilent(s_now + s_silence);
        Assert.True(Workers.Has("w"));
        Workers.RemoveSilent(s_now + (2 * s_silence));
        Assert.False(Workers.Has("w"));
    }
}
