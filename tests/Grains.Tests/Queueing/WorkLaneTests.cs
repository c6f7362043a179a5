// Goal: a lane has the right first item and the right order after any additions and removals. Method: comparison with a
// sorted list, by seeds.
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class WorkLaneTests
{
    private readonly QueueParts _parts = new();

    [Fact]
    public void Order_IsByAcceptance_ThenByArrival()
    {
        WorkEntry late = Entry(2), first = Entry(1), second = Entry(1);
        Assert.True(first.Order.CompareTo(late.Order) < 0);
        Assert.True(first.Order.CompareTo(second.Order) < 0);
        Assert.Equal(0, first.Order.CompareTo(first.Order));
        var lane = new WorkLane();
        Assert.Equal((null, 0, 0.0), (lane.First, lane.Count, lane.Cost));
        lane.Add(second);
        lane.Add(late);
        lane.Add(first);
        Assert.Same(first, lane.First);
    }

    [Fact]
    public void WorkThatIsNotInALane_CannotLeaveIt()
    {
        var lane = new WorkLane();
        lane.Add(Entry(1));
        Assert.Contains(
            "a/g2", Assert.Throws<InvalidOperationException>(() => lane.Remove(Entry(2))).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void LaneAndList_Agree()
    {
        for (int seed = 0; seed < 50; seed++)
        {
            var random = new Random(seed);
            var lane = new WorkLane();
            var list = new List<WorkEntry>();
            for (int i = 0; i < 200; i++)
            {
                if (list.Count == 0 || random.Next(3) > 0)
                {
                    WorkEntry entry = Entry(random.Next(60), random.Next(1, 9));
                    lane.Add(entry);
                    list.Add(entry);
                    list.Sort((one, other) => one.Order.CompareTo(other.Order));
                }
                else
                {
                    WorkEntry entry = list[random.Next(list.Count)];
                    lane.Remove(entry);
                    list.Remove(entry);
                    Assert.Equal((null, null), (entry.Left, entry.Right));
                }

                Assert.Equal((list.Count, list.Sum(one => one.Item.Cost)), (lane.Count, lane.Cost));
                Assert.Same(list.FirstOrDefault(), lane.First);
                WorkOrder place = Entry(random.Next(60)).Order;
                WorkEntry[] before = [.. list.Where(one => one.Order.CompareTo(place) < 0)];
                Assert.Equal((before.Length, before.Sum(one => one.Item.Cost)), lane.Before(place));
                if (list.Count > 0)
                {
                    int at = random.Next(list.Count);
                    Assert.Equal((at, list.Take(at).Sum(one => one.Item.Cost)), lane.Before(list[at].Order));
                }
            }
        }
    }

    // Ten thousand that come in order would make a tree without balance as deep.
    [Fact]
    public void ManyInOrder_MakeAShallowTree()
    {
        var lane = new WorkLane();
        WorkEntry[] entries = [.. Enumerable.Range(0, 10_000).Select(i => Entry(i))];
        Array.ForEach(entries, lane.Add);
        int depth = 0;
        for (WorkEntry? node = entries[0]; node is not null; node = Parent(node))
        {
            depth++;
        }

        Assert.InRange(depth, 1, 60);

        WorkEntry? Parent(WorkEntry of) => Array.Find(entries, one => one.Left == of || one.Right == of);
    }

    private WorkEntry Entry(int accepted, double cost = 1) => _parts.Enter(Work.Denoise("a", accepted, 1, cost));
}
