// Goal: the queue reports what the rule that scales a pool needs: the work that is left, with later phases; what has
// arrived, once; and which workers of the pool hold work. Method: the pure queue with a few items.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Scaling;
using Atelier.Grains.Queueing;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class WorkQueueStatusTests
{
    private static readonly DateTimeOffset s_now = Work.Start;
    private readonly WorkQueue _queue = new(new WorkQueueOptions(), 0);

    [Fact]
    public void WorkForAPool_IsWhatIsLeft_WithLaterPhases_AndCountsArrivalsOnce()
    {
        WorkItem item = Work.Denoise("a", 0, 5);
        WorkItem[] items = [.. Enumerable.Range(0, 3).Select(i => Work.Denoise("a", i, 5) with { CostAfter = 3 })];
        foreach (WorkItem one in items)
        {
            _queue.Offer(one, admitted: false, s_now);
            _queue.Offer(one, admitted: true, s_now);
        }

        PoolWork before = Pool([item.Model]);
        Assert.Equal(3 * (item.Cost + 3), before.Backlog, 9);
        Assert.Equal(3 * (item.Cost + 3), before.Arrived, 9);
        Assert.Equal((0, null), (before.Leased, before.Speed));
        Assert.Equal([item.Model], before.Models);

        // Two of five quanta are done.
        LeasedWork work = Turn("pool/cpu", 1, 8).Leased.Single();
        Turn("pool/cpu", 0, 8, new HeldWork(work.Lease, work.Item, 2));
        Turn("other/cpu", 0, 100);
        PoolWork after = Pool([]);
        Assert.Equal(before.Backlog - (item.Cost * 2 / 5), after.Backlog, 9);
        Assert.Equal(before.Arrived, after.Arrived);
        Assert.Equal((1, 8.0), (after.Leased, after.Speed));
        Assert.Equal([item.Model], after.Models);
        Assert.Equal(0, Pool([], "nobody").Backlog);

        // What the workers report replaces what was remembered.
        Assert.Equal([item.Model], Pool([FakeDevice.ModelOf(7)]).Models);
    }

    [Fact]
    public void AModelWhoseWorkersStart_HasAPlaceAndATime()
    {
        WorkItem[] items = [.. Enumerable.Range(0, 2).Select(i => Work.Denoise("a", i, 5))];
        foreach (WorkItem one in items)
        {
            Assert.Null(_queue.Offer(one, admitted: false, s_now).Place!.Value.Wait);
        }

        _queue.SetStart(new PoolStart([items[0].Model], TimeSpan.FromSeconds(60), items[0].Cost), s_now);
        Assert.Equal(new QueuePlace(0, TimeSpan.FromSeconds(60)), Place(0, 0));
        Assert.Equal(new QueuePlace(1, TimeSpan.FromSeconds(61)), Place(1, 0));
        Assert.Equal(new QueuePlace(1, TimeSpan.FromSeconds(31)), Place(1, 30));
        Assert.Equal(new QueuePlace(1, TimeSpan.FromSeconds(1)), Place(1, 100));
        _queue.SetStart(new PoolStart([items[0].Model], TimeSpan.FromSeconds(5), null), s_now.AddSeconds(100));
        Assert.Equal(new QueuePlace(1, TimeSpan.FromSeconds(5)), Place(1, 100));
    }

    [Fact]
    public void TheBacklogOfAModel_IsItsWaitingWork_AtTheSpeedOfItsWorkers()
    {
        WorkItem[] items = [.. Enumerable.Range(0, 3).Select(i => Work.Denoise("a", i, 5) with { CostAfter = 3 })];
        Array.ForEach(items, one => _queue.Offer(one, admitted: false, s_now));
        Assert.Equal(new ModelBacklog(items[0].Model, 3, null), _queue.Backlogs().Single());

        LeasedWork work = Turn("pool/cpu", 1, 8).Leased.Single();
        ModelBacklog two = _queue.Backlogs().Single();
        Assert.Equal(2, two.Waiting);
        Assert.Equal(2 * (items[0].Cost + 3) / 8, two.Seconds!.Value, 9);

        _queue.Withdraw(items.First(one => one.Generation != work.Item.Generation).Generation, s_now);
        Assert.Equal(1, _queue.Backlogs().Single().Waiting);
        _queue.Withdraw(items.Last(one => one.Generation != work.Item.Generation).Generation, s_now);
        Assert.Equal(new ModelBacklog(items[0].Model, 0, 0), _queue.Backlogs().Single());
    }

    [Fact]
    public void AModelThatAWorkerLoads_IsLoading_SinceTheQueueOrTheWorkerBegan()
    {
        WorkItem item = Work.Denoise("a", 0, 5);
        _queue.Offer(item, admitted: false, s_now);
        Assert.Null(Place(0, 0)!.Value.Loading);

        // The queue tells the worker to load the model; the worker says that it does, and later that it has.
        Assert.Equal(item.Model, Loading(ModelPlace.Beside, 0).Load);
        Assert.Equal(TimeSpan.FromSeconds(2), Place(0, 2)!.Value.Loading);
        Loading(ModelPlace.Loading, 3);
        Assert.Equal(TimeSpan.FromSeconds(4), Place(0, 4)!.Value.Loading);
        Loading(ModelPlace.Loaded, 5);
        Assert.Null(Place(0, 6)!.Value.Loading);

        // One that loads on its own.
        Loading(ModelPlace.Loading, 10);
        Assert.Equal(TimeSpan.FromSeconds(1), Place(0, 11)!.Value.Loading);

        TurnAnswer Loading(ModelPlace place, double seconds) => _queue.Turn(
            new WorkerTurn
            {
                Worker = "a/cpu", DeviceKind = "cpu", Roles = WorkRoles.All, Free = place == ModelPlace.Loaded ? 0 : 1,
                Models = [new WorkerModel(item.Model, place)],
            },
            s_now.AddSeconds(seconds));
    }

    private QueuePlace? Place(int number, double seconds) =>
        _queue.PlaceOf(Work.Key("a", number), s_now.AddSeconds(seconds));

    private PoolWork Pool(ModelDigest[] models, string silo = "pool") =>
        _queue.WorkFor(worker => worker.StartsWith($"{silo}/", StringComparison.Ordinal), models, s_now);

    private TurnAnswer Turn(string worker, int free, double speed, params HeldWork[] held) => _queue.Turn(
        new WorkerTurn
        {
            Worker = worker, DeviceKind = "cpu", Roles = WorkRoles.All, Free = free, Held = held, Speed = speed,
            Models = [new WorkerModel(Work.Denoise("a", 0, 5).Model, ModelPlace.Loaded)],
        },
        s_now);
}
