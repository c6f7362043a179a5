// Goal: each message to the queue has its documented effect, at the bounds of its values, repeated and late. Method:
// one or two messages at a time.
using Atelier.Contracts.Queueing;
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class WorkQueueMessagesTests
{
    private static readonly DateTimeOffset s_now = Work.Start;
    private static readonly WorkItem s_item = Work.Denoise("a", 0, 5);

    private readonly WorkQueue _queue = new(new WorkQueueOptions { LeaseTime = TimeSpan.FromSeconds(5) }, 100);

    [Theory]
    [InlineData(0, 1, 1)]
    [InlineData(1001, 1, 1)]
    [InlineData(1, 0, 1)]
    [InlineData(1, double.PositiveInfinity, 1)]
    [InlineData(1, double.NaN, 1)]
    [InlineData(1, 1, 0)]
    [InlineData(1, 1, double.PositiveInfinity)]
    [InlineData(1, 1, double.NaN)]
    public void WorkThatCannotBe_IsRefused(int quanta, double cost, double weight)
    {
        WorkItem item = s_item with { Quanta = quanta, Cost = cost, Weight = weight };
        Assert.Throws<ArgumentException>(() => _queue.Offer(item, admitted: true, s_now));
        Assert.Equal((0, 0), Counts());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(1000)]
    public void WorkOfOneToAThousandQuanta_IsQueued(int quanta)
    {
        OfferAnswer answer = _queue.Offer(s_item with { Quanta = quanta }, admitted: false, s_now);
        Assert.Equal((OfferOutcome.Queued, null), (answer.Outcome, answer.RetryAfter));
        Assert.Equal(0, answer.Place!.Value.Position);
    }

    [Fact]
    public void ALaterPhase_TakesThePlaceOfAnEarlier_AndAnEarlierChangesNothing()
    {
        _queue.Offer(s_item with { Kind = WorkKind.Encode }, true, s_now);
        _queue.Offer(s_item, true, s_now);
        Assert.Equal((1, 0), Counts());
        OfferAnswer late = _queue.Offer(s_item with { Kind = WorkKind.Encode }, true, s_now);
        Assert.Equal((OfferOutcome.Queued, null), (late.Outcome, late.Place));
        Assert.Equal(WorkKind.Denoise, Take("w").Item.Kind);

        // Once it is leased, the same offer again changes nothing either.
        Assert.Null(_queue.Offer(s_item with { Cost = 77 }, true, s_now).Place);
        Assert.Equal((0, 1), Counts());
        _queue.Offer(s_item with { Kind = WorkKind.Decode }, true, s_now);
        Assert.Equal((1, 0), Counts());
    }

    [Fact]
    public void TheSameOfferAgain_ReplacesWhatWaits()
    {
        _queue.Offer(s_item, true, s_now);
        Assert.NotNull(_queue.Offer(s_item with { Cost = 20 }, true, s_now).Place);
        Assert.Equal((1, 0), Counts());
        Assert.Equal(20, _queue.Status(s_now).CostWaiting);
    }

    [Fact]
    public void ATurn_NamesAtMostWhatAWorkerMayHold()
    {
        HeldWork[] held =
        [
            .. Enumerable.Range(0, WorkerTurn.HeldMax).Select(i => new HeldWork(i + 1, Work.Denoise("a", i, 5), 0)),
        ];
        Assert.Throws<ArgumentException>(() => Turn("w", -1));
        Assert.Throws<ArgumentException>(() => Turn("w", 1, held));
        Assert.Equal((0, 0), Counts());
        Assert.Equal(WorkerTurn.HeldMax, Turn("w", 0, held).Verdicts.Length);
        Assert.Equal((0, WorkerTurn.HeldMax), Counts());
        Assert.Empty(Turn("w2", WorkerTurn.HeldMax).Leased);
    }

    [Fact]
    public void ALease_HasItsTime_AndANumberAboveAllBefore()
    {
        _queue.Offer(s_item with { LastLease = 500 }, true, s_now);
        _queue.Offer(Work.Denoise("a", 1, 5), true, s_now);
        TurnAnswer answer = Turn("w", 2);
        Assert.Equal(TimeSpan.FromSeconds(5), answer.LeaseTime);
        Assert.Equal([501L, 502L], answer.Leased.Select(lease => lease.Lease));
        Assert.Null(_queue.PlaceOf(s_item.Generation, s_now));
        Assert.Null(_queue.PlaceOf(Work.Key("a", 9), s_now));
    }

    [Fact]
    public void WhatIsReturned_WaitsAsItIsNow()
    {
        _queue.Offer(s_item, true, s_now);
        LeasedWork work = Take("w");
        WorkItem rest = s_item with { Quanta = 2, Cost = 2 };
        foreach (LeaseRelease stale in new[]
        {
            new LeaseRelease(work.Lease + 1, rest, LeaseEnd.Returned),
            new LeaseRelease(work.Lease, rest with { Kind = WorkKind.Decode }, LeaseEnd.Finished),
        })
        {
            _queue.Release(stale, s_now);
            Assert.Equal((0, 1), Counts());
        }

        _queue.Release(new LeaseRelease(work.Lease, rest, LeaseEnd.Returned), s_now);
        Assert.Equal((1, 0), Counts());
        Assert.Equal(2, Take("w").Item.Quanta);
    }

    // A queue that has just started knows nothing of the work.
    [Fact]
    public void WhatAnUnknownLeaseReturns_Waits_AndWhatItFinishedIsForgotten()
    {
        _queue.Release(new LeaseRelease(7, s_item, LeaseEnd.Finished), s_now);
        Assert.Equal((0, 0), Counts());
        _queue.Release(new LeaseRelease(7, s_item, LeaseEnd.Returned), s_now);
        Assert.Equal((1, 0), Counts());
    }

    [Fact]
    public void WhatHasEnded_IsNotBroughtBackByALateTurn_UnlessItIsOfferedAgain()
    {
        _queue.Offer(s_item, true, s_now);
        LeasedWork work = Take("w");
        var held = new HeldWork(work.Lease, work.Item, 4);
        _queue.Release(new LeaseRelease(work.Lease, work.Item, LeaseEnd.Finished), s_now);
        Assert.Equal((0, 0), Counts());
        Assert.Equal([WorkVerdict.Stop], Turn("w", 0, held).Verdicts);
        Assert.Equal((0, 0), Counts());
        _queue.Offer(s_item, true, s_now);
        Assert.Equal([WorkVerdict.Continue], Turn("w", 0, held).Verdicts);
        Assert.Equal((0, 1), Counts());
    }

    [Fact]
    public void WorkOfAnotherPhase_OrLease_IsStopped()
    {
        _queue.Offer(s_item, true, s_now);
        LeasedWork work = Take("w");
        Assert.Equal(
            [WorkVerdict.Stop], Turn("w", 0, new HeldWork(work.Lease + 1, work.Item, 0)).Verdicts);
        Assert.Equal(
            [WorkVerdict.Stop],
            Turn("w", 0, new HeldWork(work.Lease, work.Item with { Kind = WorkKind.Decode }, 0)).Verdicts);
        Assert.Equal([WorkVerdict.Continue], Turn("w", 0, new HeldWork(work.Lease, work.Item, 0)).Verdicts);
    }

    // A tenant is charged for each quantum once, when the quantum is granted.
    [Fact]
    public void EachQuantum_IsChargedOnce_WhenItIsGranted()
    {
        var charged = new List<double>();
        _queue.Granting = (tenant, cost) => charged.Add(cost);
        _queue.Offer(Work.Denoise("a", 0, 3, 7), true, s_now);
        LeasedWork work = Take("w");
        Assert.Equal([7], charged);
        Turn("w", 0, new HeldWork(work.Lease, work.Item, 0));
        Assert.Equal([7], charged);
        Turn("w", 0, new HeldWork(work.Lease, work.Item, 1));
        Turn("w", 0, new HeldWork(work.Lease, work.Item, 1));
        Assert.Equal([7, 7], charged);
        Turn("w", 0, new HeldWork(work.Lease, work.Item, 3));
        Assert.Equal(21, charged.Sum());
        Turn("w", 0, new HeldWork(work.Lease, work.Item, 9));
        Assert.Equal(21, charged.Sum());
    }

    // What an earlier queue granted was charged there.
    [Fact]
    public void WorkThatAWorkerBrings_IsChargedFromTheNextQuantumOn()
    {
        double charged = 0;
        _queue.Granting = (tenant, cost) => charged += cost;
        Turn("w", 0, new HeldWork(7, s_item, 2));
        Assert.Equal(0, charged);
        Turn("w", 0, new HeldWork(7, s_item, 3));
        Assert.Equal(1, charged);
    }

    [Fact]
    public void Status_CountsByModel_WhatWaitsAndWhatIsLeased()
    {
        _queue.Offer(s_item, true, s_now);
        _queue.Offer(Work.Denoise("a", 1, 7), true, s_now);
        _queue.Offer(Work.Denoise("b", 2, 9), true, s_now);
        _queue.Offer(Work.Denoise("c", 3, 11) with { Model = Work.Model(1) }, true, s_now);
        Assert.Equal(Work.Key("b", 2), Take("w").Item.Generation);
        Assert.Equal(new QueueStatus(3, 1, 3, 23, 0), _queue.Status(s_now));
        Assert.Equal(new QueueStatus(2, 1, 2, 12, 0), _queue.Status(default, s_now));
        Assert.Equal(new QueueStatus(1, 0, 1, 11, 0), _queue.Status(Work.Model(1), s_now));
        Assert.Equal(new QueueStatus(0, 0, 0, 0, 0), _queue.Status(Work.Model(2), s_now));
    }

    [Fact]
    public void WithdrawnWork_IsGone_AndWhatIsUnknownStaysSo()
    {
        _queue.Offer(s_item, true, s_now);
        _queue.Withdraw(Work.Key("a", 1), s_now);
        Assert.Equal((1, 0), Counts());
        _queue.Withdraw(s_item.Generation, s_now);
        Assert.Equal((0, 0), Counts());
        Assert.Equal(0, _queue.Status(s_now).Tenants);
    }

    [Fact]
    public void WorkersWithASlot_AreKnown_AfterTheirTurn()
    {
        Assert.Empty(_queue.SpareWorkers(s_item));
        Turn("w1", 0);
        Turn("w2", 1);
        Assert.Equal(["w2"], _queue.SpareWorkers(s_item));
        _queue.Offer(s_item, true, s_now);
        Take("w2");
        Assert.Empty(_queue.SpareWorkers(s_item));
    }

    private (int Waiting, int Leased) Counts() => (_queue.Status(s_now).Waiting, _queue.Status(s_now).Leased);

    private LeasedWork Take(string worker) => Assert.Single(Turn(worker, 1).Leased);

    private TurnAnswer Turn(string worker, int free, params HeldWork[] held) => _queue.Turn(
        new WorkerTurn
        {
            Worker = worker, DeviceKind = "cpu", Roles = WorkRoles.All, Free = free, Held = held,
            Models = [Work.Loaded],
        },
        s_now);
}
