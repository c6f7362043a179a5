// Goal: a lease ends when its time is over and not before, lease numbers only increase, and late turns do not bring
// back work that has ended. Method: the book alone, at the bounds of each time.
using Atelier.Contracts.Queueing;
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class LeaseBookTests
{
    private static readonly TimeSpan s_lease = TimeSpan.FromSeconds(5), s_tick = TimeSpan.FromTicks(1);
    private static readonly DateTimeOffset s_now = Work.Start;

    private readonly QueueParts _parts = new(new WorkQueueOptions { LeaseTime = s_lease });

    [Fact]
    public void Numbers_AreAboveAllThatWereGiven_ByThisQueueOrAnother()
    {
        WorkItem item = Work.Denoise("a", 1, 5);
        Assert.Equal(101, _parts.Leases.NextNumber(item));
        Assert.Equal(501, _parts.Leases.NextNumber(item with { LastLease = 500 }));
        Assert.Equal(502, _parts.Leases.NextNumber(item with { LastLease = 7 }));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ALease_CountsWhereItIs_UntilItEnds_Once(bool alone)
    {
        QueueWorker worker = _parts.Worker("w");
        WorkEntry entry = _parts.Enter(Work.Denoise("a", 1, 5) with { Alone = alone });
        entry.Parking = true;
        _parts.Leases.Begin(entry, worker, 7, s_now);
        Assert.Equal((7L, worker, false), (entry.Lease, entry.Worker, entry.Parking));
        Assert.Equal((worker.Pool, s_now + s_lease), (entry.Pool, entry.ExpiresAt));
        Assert.Same(worker.Pool!.Shares.Share(entry.Work), entry.Share);
        Assert.Equal((1, 1, 1), (_parts.Leases.Count, worker.Held, entry.Share!.Running));
        Assert.Equal(alone ? 1 : 0, worker.HeldAlone);

        entry.Parking = true;
        for (int i = 0; i < 2; i++)
        {
            _parts.Leases.End(entry);
            Assert.Equal((0L, null, false), (entry.Lease, entry.Worker, entry.Parking));
            Assert.Equal(
                (0, 0, 0, 0), (_parts.Leases.Count, worker.Held, worker.HeldAlone, entry.Share.Running));
        }
    }

    [Fact]
    public void AnExpiredLease_IsTakenOut_WhenItsTimeIsOver()
    {
        WorkEntry entry = _parts.Hold(Work.Denoise("a", 1, 5), _parts.Worker("w"));
        Assert.Empty(_parts.Leases.TakeExpired(s_now + s_lease - s_tick));
        Assert.Equal([entry], _parts.Leases.TakeExpired(s_now + s_lease));
    }

    [Fact]
    public void ARenewedLease_LastsFromItsRenewal()
    {
        WorkEntry entry = _parts.Hold(Work.Denoise("a", 1, 5), _parts.Worker("w"));
        _parts.Leases.Renew(entry, s_now.AddSeconds(4));
        Assert.Empty(_parts.Leases.TakeExpired(s_now.AddSeconds(5)));
        Assert.Empty(_parts.Leases.TakeExpired(s_now.AddSeconds(9) - s_tick));
        Assert.Equal([entry], _parts.Leases.TakeExpired(s_now.AddSeconds(9)));
    }

    [Fact]
    public void ALeaseThatHasEnded_DoesNotExpire_AndTheNextOneHasItsWholeTime()
    {
        QueueWorker worker = _parts.Worker("w");
        WorkEntry ended = _parts.Hold(Work.Denoise("a", 1, 5), worker);
        WorkEntry again = _parts.Hold(Work.Denoise("a", 2, 5), worker);
        _parts.Leases.End(ended);
        _parts.Leases.End(again);
        _parts.Leases.Begin(again, worker, 900, s_now.AddSeconds(3));
        Assert.Empty(_parts.Leases.TakeExpired(s_now.AddSeconds(7)));
        var expired = new List<WorkEntry>();
        foreach (WorkEntry entry in _parts.Leases.TakeExpired(s_now.AddSeconds(8)))
        {
            expired.Add(entry);
            _parts.Leases.End(entry);
        }

        Assert.Equal([again], expired);
    }

    [Fact]
    public void ALateTurn_DoesNotBringBackWhatHasEnded_NorWhatCameBeforeIt()
    {
        WorkItem item = Work.Denoise("a", 1, 5);
        Assert.False(_parts.Leases.HasEnded(item));
        _parts.Leases.RememberEnd(item, s_now);
        Assert.True(_parts.Leases.HasEnded(item));
        Assert.True(_parts.Leases.HasEnded(item with { Kind = WorkKind.Encode }));
        Assert.False(_parts.Leases.HasEnded(item with { Kind = WorkKind.Decode }));
        Assert.False(_parts.Leases.HasEnded(Work.Denoise("a", 2, 5)));
        _parts.Leases.ForgetEnd(item.Generation);
        Assert.False(_parts.Leases.HasEnded(item));
    }

    [Fact]
    public void Ends_AreRemembered_ForTwoLeaseTimes()
    {
        WorkItem one = Work.Denoise("a", 1, 5), other = Work.Denoise("a", 2, 5);
        _parts.Leases.RememberEnd(one, s_now);
        _parts.Leases.RememberEnd(other, s_now.AddSeconds(1));
        _parts.Leases.ForgetEnds(s_now + (2 * s_lease) - s_tick);
        Assert.True(_parts.Leases.HasEnded(one));
        _parts.Leases.ForgetEnds(s_now + (2 * s_lease));
        Assert.Equal((false, true), (_parts.Leases.HasEnded(one), _parts.Leases.HasEnded(other)));
    }
}
