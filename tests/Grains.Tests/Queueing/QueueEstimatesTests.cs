// Goal: the estimates are right: for a waiting client, how many of its own requests come first and how long they take
// at an even pace; for a refused one, when to retry. Method: hand-made small queues.
using Atelier.Contracts.Queueing;
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class QueueEstimatesTests
{
    private readonly QueueParts _parts = new();
    private readonly DateTimeOffset _now = Work.Start.AddSeconds(10);

    [Fact]
    public void Rate_IsThatOfAllModels_OrOfOne()
    {
        QueueWorker worker = _parts.Worker("w");
        WorkEntry one = _parts.Hold(Work.Denoise("a", 1, 5), worker);
        WorkEntry other = _parts.Hold(Work.Denoise("a", 2, 5) with { Model = Work.Model(1) }, worker);
        Assert.Equal((0.0, 0.0), (_parts.Estimates.Rate(_now), _parts.Estimates.Rate(default, _now)));
        _parts.Estimates.CountGrant(one, 10, Work.Start);
        _parts.Estimates.CountGrant(other, 30, Work.Start);
        double rate = _parts.Estimates.Rate(default, _now);
        Assert.True(rate > 0);
        Assert.Equal(3 * rate, _parts.Estimates.Rate(Work.Model(1), _now), 9);
        Assert.Equal(4 * rate, _parts.Estimates.Rate(_now), 9);
        Assert.Equal(4 * rate, worker.Pool!.Pace.At(_now), 9);
    }

    [Fact]
    public void Place_CountsTheTenantsOwn_OverAllItsClasses()
    {
        _parts.Wait(Work.Denoise("a", 1, 5));
        _parts.Wait(Work.Denoise("a", 2, 5) with { Model = Work.Model(1) });
        _parts.Wait(Work.Denoise("b", 0, 5));
        WorkEntry entry = _parts.Wait(Work.Denoise("a", 3, 5));
        _parts.Wait(Work.Denoise("a", 4, 5));
        Assert.Equal(new QueuePlace(2, null), _parts.Estimates.Place(entry, _now));
    }

    // 6 operations of its own come first. Its tenant has 2 of 3 parts of the pace.
    [Fact]
    public void Wait_IsTheTenantsOwnWork_AtItsPartOfThePace()
    {
        double rate = Pace();
        _parts.Wait(Work.Denoise("a", 1, 6, weight: 2));
        WorkEntry entry = _parts.Wait(Work.Denoise("a", 2, 5, weight: 2));
        _parts.Wait(Work.Denoise("b", 3, 500));
        AssertPlace(1, 6 * 3 / 2.0 / rate, entry);
    }

    // The wait is at most that for all work in the queue.
    [Fact]
    public void Wait_IsAtMostThatOfEverything()
    {
        double rate = Pace();
        _parts.Wait(Work.Denoise("a", 1, 6));
        WorkEntry entry = _parts.Wait(Work.Denoise("a", 2, 5));
        _parts.Wait(Work.Denoise("b", 3, 1, weight: 99));
        AssertPlace(1, 12 / rate, entry);
    }

    [Fact]
    public void WhereASlotIsFree_TheFirstDoesNotWait()
    {
        double rate = Pace(spare: 1);
        WorkEntry first = _parts.Wait(Work.Denoise("a", 1, 6)), second = _parts.Wait(Work.Denoise("a", 2, 5));
        AssertPlace(0, 0, first);
        AssertPlace(1, 6 / rate, second);
    }

    [Fact]
    public void WhereNoSlotIsFree_AndNothingIsKnown_NoTimeIsSaid()
    {
        _parts.Worker("w");
        Assert.Equal(new QueuePlace(0, null), _parts.Estimates.Place(_parts.Wait(Work.Denoise("a", 1, 6)), _now));
    }

    // The time of its own work, at least 1 s (also while no pace is known) and at most 1 min.
    [Fact]
    public void ARefusedRequest_ComesBack_AfterTheTimeOfItsWork()
    {
        Assert.Equal(TimeSpan.FromSeconds(1), _parts.Estimates.RetryAfter(Work.Denoise("a", 1, 5), _now));
        double rate = Pace();
        int steps = (int)(20 * rate);
        Assert.Equal(steps / rate, Retry(steps), 5);
        Assert.Equal(1, Retry(1, 0.5 * rate), 5);
        Assert.Equal(60, Retry(1000, rate), 5);
        _parts.Wait(Work.Denoise("b", 2, 5, weight: 3));
        Assert.Equal(3 * steps / rate, Retry(steps), 5);
        Assert.Equal(3 * steps / rate / 2, Retry(steps, weight: 2), 5);
        Assert.Equal(steps / rate, Retry(steps, weight: 6), 5);

        double Retry(int quanta, double cost = 1, double weight = 1) =>
            _parts.Estimates.RetryAfter(Work.Denoise("a", 1, quanta, cost, weight), _now).TotalSeconds;
    }

    // A worker that has been granted something.
    private double Pace(int spare = 0)
    {
        QueueWorker worker = _parts.Worker("w", spare);
        worker.Pool!.Pace.Add(20, Work.Start);
        return worker.Pool.Pace.At(_now);
    }

    private void AssertPlace(int count, double seconds, WorkEntry entry)
    {
        QueuePlace place = _parts.Estimates.Place(entry, _now);
        Assert.Equal(count, place.Position);
        Assert.Equal(seconds, place.Wait!.Value.TotalSeconds, 5);
    }
}
