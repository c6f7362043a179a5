// Goal: waiting work is counted for its tenant and for every pool of workers that may do it, in whatever order work and
// workers arrive. Method: these parts alone, with work and workers that arrive and leave.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class WaitingWorkTests
{
    private static readonly TenantId s_a = new("a");

    private readonly QueueParts _parts = new();

    private WaitingWork Waiting => _parts.Waiting;

    [Fact]
    public void ATenant_IsInTheQueue_AsLongAsItHasWork()
    {
        WorkEntry one = _parts.Enter(Work.Denoise("a", 1, 5)), two = _parts.Enter(Work.Denoise("a", 2, 5));
        _parts.Enter(Work.Denoise("b", 3, 5));
        Assert.Same(one.Work, two.Work);
        Assert.Equal((2, 0, 2), (Waiting.CountOf(s_a), Waiting.CountOf(new TenantId("c")), Waiting.TenantCount));
        Waiting.Leave(one.Work);
        Assert.Equal((1, 2), (Waiting.CountOf(s_a), Waiting.TenantCount));
        Waiting.Leave(two.Work);
        Assert.Equal((0, 1), (Waiting.CountOf(s_a), Waiting.TenantCount));
    }

    [Fact]
    public void Cost_IsThatOfWhatWaits_AndNothingIsLeftOfIt()
    {
        WorkEntry one = _parts.Wait(Work.Denoise("a", 1, 3, 0.1)), two = _parts.Wait(Work.Denoise("b", 2, 3, 0.2));
        Assert.Equal(one.Item.Cost + two.Item.Cost, Waiting.Cost);
        Assert.True(one.Class >= 0);
        Waiting.Remove(one);
        Assert.Equal(-1, one.Class);
        Assert.Equal(two.Item.Cost, Waiting.Cost, 12);
        Waiting.Remove(one);
        Assert.Equal(two.Item.Cost, Waiting.Cost, 12);
        Waiting.Remove(two);
        Assert.Equal(0, Waiting.Cost);
    }

    [Fact]
    public void AWeight_Counts_UnlessALaterOneIsKnown()
    {
        TenantWork work = _parts.Enter(Work.Denoise("a", 1, 5, weight: 2) with { WeightVersion = 3 }).Work;
        Assert.Equal((2.0, 3L), (work.Weight, work.WeightVersion));
        Waiting.SetWeight(s_a, new TenantWeight(9, 3));
        Waiting.SetWeight(s_a, new TenantWeight(9, 2));
        Assert.Equal(2, work.Weight);
        Waiting.SetWeight(s_a, new TenantWeight(5, 4));
        Assert.Equal((5.0, 4L), (work.Weight, work.WeightVersion));
        Waiting.SetWeight(new TenantId("nobody"), new TenantWeight(5, 4));
        _parts.Enter(Work.Denoise("a", 2, 5, weight: 8) with { WeightVersion = 5 });
        Assert.Equal(8, work.Weight);
    }

    [Fact]
    public void AWeightThatChanges_CountsInEveryPool()
    {
        FairShare shares = _parts.Worker("w").Pool!.Shares;
        _parts.Wait(Work.Denoise("a", 1, 5, weight: 2));
        Assert.Equal(2, shares.WeightWaiting);
        Waiting.SetWeight(s_a, new TenantWeight(6, 1));
        Assert.Equal(6, shares.WeightWaiting);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void APool_HasWhatItsWorkersMayDo_WhicheverCameFirst(bool isWorkerFirst)
    {
        WorkerPool pool = null!;
        if (isWorkerFirst)
        {
            pool = _parts.Worker("w", roles: WorkRoles.Denoise).Pool!;
        }

        _parts.Wait(Work.Denoise("a", 1, 5, weight: 2));
        _parts.Wait(Work.Denoise("a", 2, 6));
        _parts.Wait(Work.Denoise("a", 3, 7) with { Model = Work.Model(1) });
        _parts.Wait(Work.Denoise("b", 4, 8) with { Kind = WorkKind.Encode });
        if (!isWorkerFirst)
        {
            pool = _parts.Worker("w", roles: WorkRoles.Denoise).Pool!;
        }

        Assert.Equal((11.0, 2.0), (pool.Shares.CostWaiting, pool.Shares.WeightWaiting));
        Assert.Equal(Work.Key("a", 1), pool.Shares.Next(default, alone: false)!.Item.Generation);
    }

    [Fact]
    public void WorkThatLeaves_LeavesEveryPool()
    {
        WorkerPool pool = _parts.Worker("w").Pool!;
        WorkEntry entry = _parts.Wait(Work.Denoise("a", 1, 5));
        Waiting.Remove(entry);
        Assert.Equal((0.0, 0.0), (pool.Shares.CostWaiting, pool.Shares.WeightWaiting));
        Assert.Null(pool.Shares.Next(default, alone: false));
    }

    [Fact]
    public void WorkersOfOneKind_ShareAPool_WhichLastsAsLongAsOneOfThem()
    {
        WorkerModel one = new(Work.Model(1), ModelPlace.Loaded), two = new(Work.Model(2), ModelPlace.Instead);
        QueueWorker first = _parts.Worker("w1", models: [one, two]), second = _parts.Worker("w2", models: [two, one]);
        Assert.Same(first.Pool, second.Pool);
        Assert.Equal(2, first.Pool!.Workers);
        foreach (QueueWorker other in new[]
        {
            _parts.Worker("w3", models: [one]), _parts.Worker("w4", kind: "cuda", models: [one, two]),
            _parts.Worker("w5", roles: WorkRoles.Denoise, models: [one, two]),
        })
        {
            Assert.NotSame(first.Pool, other.Pool);
        }

        WorkItem item = Work.Denoise("a", 1, 5) with { Model = Work.Model(2), DeviceKind = "cpu" };
        Assert.True(Waiting.IsSupplied(item with { Kind = WorkKind.Encode }, _ => 1));
        Waiting.Leave(first);
        Assert.Null(first.Pool);
        Assert.True(Waiting.IsSupplied(item with { Kind = WorkKind.Encode }, _ => 1));
        Waiting.Leave(second);
        Assert.False(Waiting.IsSupplied(item with { Kind = WorkKind.Encode }, _ => 1));
        Assert.True(Waiting.IsSupplied(item, _ => 1));
    }

    [Fact]
    public void ASlot_IsFreeForWork_WhereItsModelIsInMemory()
    {
        WorkItem item = Work.Denoise("a", 1, 5) with { Model = Work.Model(1) };
        Assert.False(Waiting.HasSpare(item));
        _parts.Worker("w1", 3, models: [new WorkerModel(Work.Model(1), ModelPlace.Instead)]);
        Assert.False(Waiting.HasSpare(item));
        _parts.Worker("w2", 0, models: [new WorkerModel(Work.Model(1), ModelPlace.Loaded)]);
        Assert.False(Waiting.HasSpare(item));
        _parts.Worker("w2", 1, models: [new WorkerModel(Work.Model(1), ModelPlace.Loaded)]);
        Assert.True(Waiting.HasSpare(item));
        Assert.False(Waiting.HasSpare(item with { DeviceKind = "cuda" }));
        Assert.False(Waiting.HasSpare(item with { Model = Work.Model(2) }));
    }

    // Pace adds up over pools that may do the work; what waits for two pools is counted once.
    [Fact]
    public void WorkCompetes_WithAllThatWaitsForItsWorkers()
    {
        WorkerPool one = _parts.Worker("w1").Pool!, two = _parts.Worker("w2", kind: "cuda").Pool!;
        WorkerPool three = _parts.Worker("w3", roles: WorkRoles.Encode).Pool!;
        _parts.Wait(Work.Denoise("a", 1, 5, weight: 2));
        _parts.Wait(Work.Denoise("b", 2, 5) with { DeviceKind = "cuda" });
        foreach (WorkerPool pool in new[] { one, two, three })
        {
            pool.Pace.Add(10, Work.Start);
        }

        DateTimeOffset now = Work.Start.AddSeconds(10);
        double pace = one.Pace.At(now);
        WorkItem item = Work.Denoise("c", 3, 5);
        Assert.Equal((2 * pace, 10.0, 3.0), Waiting.Competition(item, now));
        Assert.Equal((pace, 5.0, 2.0), Waiting.Competition(item with { DeviceKind = "cpu" }, now));
        Assert.Equal((0.0, 0.0, 0.0), Waiting.Competition(item with { Model = Work.Model(1) }, now));
    }
}
