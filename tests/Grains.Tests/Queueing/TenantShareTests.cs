// Goal: the tenant with the least virtual time is at the head, whatever was added, changed or removed. Method:
// comparison of the heap with a sorted list, by seeds.
using Atelier.Contracts;
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class TenantShareTests
{
    [Fact]
    public void LeastVirtualTime_ComesFirst_AndOfEqualsTheLastComer()
    {
        TenantShare early = Share(1, 1), late = Share(1, 2), ahead = Share(2, 3);
        Assert.True(early.IsBefore(ahead));
        Assert.False(ahead.IsBefore(early));
        Assert.True(late.IsBefore(early));
        Assert.False(early.IsBefore(late));
        Assert.False(early.IsBefore(early));
    }

    [Fact]
    public void ATenant_KnowsItsPlaceInEachHeap()
    {
        TenantShare share = Share(1, 1);
        Assert.Equal(-1, share.Place(3));
        share.SetPlace(3, 0);
        share.SetPlace(4, 7);
        Assert.Equal((0, 7), (share.Place(3), share.Place(4)));
        share.SetPlace(3, -1);
        Assert.Equal((-1, 7), (share.Place(3), share.Place(4)));
    }

    [Fact]
    public void HeapAndList_Agree()
    {
        for (int seed = 0; seed < 100; seed++)
        {
            var random = new Random(seed);
            var heap = new TenantHeap(seed);
            TenantShare[] all = [.. Enumerable.Range(0, 20).Select(i => Share(random.Next(10), i))];
            var present = new HashSet<TenantShare>();
            Assert.Null(heap.First);
            for (int i = 0; i < 300; i++)
            {
                TenantShare share = all[random.Next(all.Length)];
                if (random.Next(3) == 0)
                {
                    heap.Set(share, false);
                    present.Remove(share);
                }
                else
                {
                    share.Virtual = random.Next(10);
                    heap.Set(share, true);
                    present.Add(share);
                }

                Assert.Equal(present.Count, heap.Count);
                Assert.Same(present.OrderBy(one => one.Virtual).ThenByDescending(one => one.Since).FirstOrDefault(),
                    heap.First);
                Assert.All(all, one => Assert.Equal(present.Contains(one), one.Place(seed) >= 0));
                Assert.Equal(present.Count, present.Select(one => one.Place(seed)).Distinct().Count());
            }
        }
    }

    [Fact]
    public void ATenantsLanes_AreThoseInWhichWorkWaits()
    {
        var parts = new QueueParts();
        WorkEntry one = parts.Enter(Work.Denoise("a", 1, 5)), two = parts.Enter(Work.Denoise("a", 2, 5));
        TenantWork work = one.Work;
        Assert.Equal((new TenantId("a"), 1.0, 2), (work.Tenant, work.Weight, work.Count));
        (one.Class, two.Class) = (4, 4);
        work.Add(one);
        work.Add(two);
        Assert.Equal([4], work.Classes);
        Assert.Equal(2, Assert.Single(work.Lanes).Count);
        work.Remove(one);
        Assert.Same(two, work.Lane(4)!.First);
        Assert.Null(work.Lane(5));
        work.Remove(two);
        Assert.Empty(work.Classes);
        Assert.Null(work.Lane(4));
    }

    private static TenantShare Share(double virtualTime, long since) =>
        new(new TenantWork(new TenantId($"t{since}"))) { Virtual = virtualTime, Since = since };
}
