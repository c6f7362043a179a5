// Goal: work that a worker had claimed before the queue started stays reserved for it for the stated time, and no
// reservation lasts forever. Method: the reservations alone.
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class ClaimReservationsTests
{
    private static readonly DateTimeOffset s_now = Work.Start;

    private readonly QueueParts _parts = new();
    private readonly ClaimReservations _reservations = new(TimeSpan.FromSeconds(5));

    [Fact]
    public void TheTime_RunsFromTheFirstLook()
    {
        Assert.False(_reservations.AreOpen(s_now));
        Assert.Empty(_reservations.TakeOverdue(s_now));
        Assert.True(_reservations.AreOpen(s_now));
        _reservations.TakeOverdue(s_now.AddSeconds(4));
        Assert.True(_reservations.AreOpen(s_now.AddSeconds(5).AddTicks(-1)));
        Assert.False(_reservations.AreOpen(s_now.AddSeconds(5)));
    }

    [Fact]
    public void AWorker_GetsWhatItClaimed_Once()
    {
        WorkEntry one = Entry(1), two = Entry(2), other = Entry(3);
        _reservations.TakeOverdue(s_now);
        _reservations.Add("w1", one);
        _reservations.Add("w1", two);
        _reservations.Add("w2", other);
        Assert.Equal([one, two], _reservations.Take("w1"));
        Assert.Empty(_reservations.Take("w1"));
        Assert.Empty(_reservations.Take("w3"));
        Assert.Equal([other], _reservations.Take("w2"));
    }

    [Fact]
    public void AfterTheTime_AllOfItIsOverdue_Once()
    {
        WorkEntry one = Entry(1), other = Entry(2);
        _reservations.TakeOverdue(s_now);
        _reservations.Add("w1", one);
        _reservations.Add("w2", other);
        Assert.Empty(_reservations.TakeOverdue(s_now.AddSeconds(5).AddTicks(-1)));
        Assert.Equal([one, other], _reservations.TakeOverdue(s_now.AddSeconds(5)));
        Assert.Empty(_reservations.TakeOverdue(s_now.AddSeconds(6)));
        Assert.Empty(_reservations.Take("w1"));
    }

    private WorkEntry Entry(int number) => _parts.Enter(Work.Denoise("a", number, 5));
}
