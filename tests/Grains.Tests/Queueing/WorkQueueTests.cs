// Goal: leases, bounds, quarantine and places in the queue behave as documented. Method: short scenarios, and long
// random ones whose invariants are checked by counting.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class WorkQueueTests
{
    private static readonly DateTimeOffset s_now = Work.Start;

    [Fact]
    public void ExpiredLease_GoesToTheHead()
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        for (int i = 0; i < 3; i++)
        {
            queue.Offer(Work.Denoise("a", i, 5), s_now);
        }

        Assert.Equal(Work.Key("a", 0), Take(queue, "w1", s_now).Item.Generation);
        Assert.Equal(Work.Key("a", 1), Take(queue, "w2", s_now).Item.Generation);
        Assert.Equal(Work.Key("a", 0), Take(queue, "w3", s_now.AddSeconds(5)).Item.Generation);
    }

    [Fact]
    public void LeaseOfASlowWorker_ThatNobodyTook_IsItsOwnAgain()
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        queue.Offer(Work.Denoise("a", 0, 5), s_now);
        LeasedWork work = Take(queue, "w1", s_now);
        queue.Tick(s_now.AddSeconds(6));
        Assert.Equal(1, queue.Status(s_now.AddSeconds(6)).Waiting);
        Assert.Equal(
            [WorkVerdict.Continue],
            Turn(queue, "w1", 0, s_now.AddSeconds(7), new HeldWork(work.Lease, work.Item, 1)).Verdicts);
        Assert.Equal(0, queue.Status(s_now.AddSeconds(7)).Waiting);
    }

    [Fact]
    public void LeaseThatWasGivenToAnother_IsStopped()
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        queue.Offer(Work.Denoise("a", 0, 5), s_now);
        LeasedWork work = Take(queue, "w1", s_now);
        LeasedWork again = Take(queue, "w2", s_now.AddSeconds(6));
        Assert.NotEqual(work.Lease, again.Lease);
        Assert.Equal(
            [WorkVerdict.Stop],
            Turn(queue, "w1", 0, s_now.AddSeconds(6), new HeldWork(work.Lease, work.Item, 1)).Verdicts);
        queue.Release(new LeaseRelease(work.Lease, work.Item, LeaseEnd.Finished), s_now.AddSeconds(6));
        Assert.Equal(1, queue.Status(s_now.AddSeconds(6)).Leased);
    }

    [Fact]
    public void NewQueue_TrustsTheWorkersThatHoldWork()
    {
        var old = new WorkQueue(new WorkQueueOptions(), 0);
        old.Offer(Work.Denoise("a", 0, 5), s_now);
        LeasedWork work = Take(old, "w1", s_now);
        var queue = new WorkQueue(new WorkQueueOptions(), 1000);
        Assert.Equal(
            [WorkVerdict.Continue], Turn(queue, "w1", 1, s_now, new HeldWork(work.Lease, work.Item, 2)).Verdicts);
        queue.Offer(work.Item, admitted: true, s_now);
        Assert.Equal((0, 1), (queue.Status(s_now).Waiting, queue.Status(s_now).Leased));
    }

    [Fact]
    public void NewQueue_ReservesClaimedWorkForItsWorker_UntilThatWorkerReports()
    {
        WorkItem[] items = [.. Enumerable.Range(0, 2).Select(i => Work.Denoise("a", i, 5) with { ClaimedBy = "w1" })];
        var queue = new WorkQueue(new WorkQueueOptions(), 1000);
        queue.Offer(items[0], s_now);
        queue.Offer(items[1], s_now);
        Assert.Empty(Turn(queue, "w2", 2, s_now).Leased);
        Assert.Equal(2, queue.Status(s_now).Waiting);

        // The first is held, the second is not.
        Assert.Equal([WorkVerdict.Continue], Turn(queue, "w1", 0, s_now, new HeldWork(7, items[0], 2)).Verdicts);
        Assert.Equal(items[1].Generation, Take(queue, "w2", s_now).Item.Generation);
        Assert.Equal([WorkVerdict.Continue], Turn(queue, "w1", 0, s_now, new HeldWork(7, items[0], 3)).Verdicts);
    }

    [Fact]
    public void NewQueue_ReassignsWhatASilentWorkerClaimed_AfterOneLeaseTime()
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 1000);
        queue.Offer(Work.Denoise("a", 0, 5) with { ClaimedBy = "w1" }, s_now);
        Assert.Empty(Turn(queue, "w2", 1, s_now.AddSeconds(4.9)).Leased);
        Assert.Single(Turn(queue, "w2", 1, s_now.AddSeconds(5)).Leased);

        // Later claims do not concern a queue's start.
        queue.Offer(Work.Denoise("a", 1, 5) with { ClaimedBy = "w1" }, s_now.AddSeconds(6));
        Assert.Single(Turn(queue, "w2", 1, s_now.AddSeconds(6)).Leased);
    }

    [Fact]
    public void WorkThatIsKept_WaitsAtOnce_WhenItsClaimHasEnded()
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 1000);
        queue.Offer(Work.Denoise("a", 0, 5) with { ClaimedBy = "w1" }, s_now);
        queue.Offer(Work.Denoise("a", 0, 5), s_now);
        Assert.Single(Turn(queue, "w2", 1, s_now).Leased);
        queue.Offer(Work.Denoise("a", 1, 5) with { ClaimedBy = "w1" }, s_now);
        queue.Withdraw(Work.Key("a", 1), s_now);
        Assert.Equal(0, queue.Status(s_now).Waiting);
        Assert.Equal(Work.Key("a", 0), Assert.Single(Turn(queue, "w2", 2, s_now.AddSeconds(6)).Leased).Item.Generation);
    }

    [Fact]
    public void WithdrawnWork_IsStopped_AndLateTurnsDoNotBringItBack()
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        queue.Offer(Work.Denoise("a", 0, 5), s_now);
        LeasedWork work = Take(queue, "w1", s_now);
        queue.Withdraw(work.Item.Generation, s_now);
        Assert.Equal([WorkVerdict.Stop], Turn(queue, "w1", 0, s_now, new HeldWork(work.Lease, work.Item, 1)).Verdicts);
        Assert.Equal(0, queue.Status(s_now).Leased);
    }

    [Fact]
    public void FullQueue_AnswersAtOnce_AndAcceptedWorkStillComesIn()
    {
        var queue = new WorkQueue(new WorkQueueOptions { SizeMax = 3, TenantSizeMax = 2 }, 0);
        Assert.Equal(OfferOutcome.Queued, queue.Offer(Work.Denoise("a", 0, 5), false, s_now).Outcome);
        Assert.Equal(OfferOutcome.Queued, queue.Offer(Work.Denoise("a", 1, 5), false, s_now).Outcome);
        OfferAnswer full = queue.Offer(Work.Denoise("a", 2, 5), false, s_now);
        Assert.Equal(OfferOutcome.TenantFull, full.Outcome);
        Assert.InRange(full.RetryAfter!.Value, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(1));
        Assert.Equal(OfferOutcome.Queued, queue.Offer(Work.Denoise("b", 2, 5), false, s_now).Outcome);
        Assert.Equal(OfferOutcome.QueueFull, queue.Offer(Work.Denoise("c", 3, 5), false, s_now).Outcome);
        Assert.Equal(OfferOutcome.Queued, queue.Offer(Work.Denoise("a", 0, 5), false, s_now).Outcome);
        Assert.Equal(OfferOutcome.Queued, queue.Offer(Work.Denoise("c", 3, 5), true, s_now).Outcome);
    }

    [Fact]
    public void QuarantinedWork_RunsAlone_UntilItsNextSnapshot_AndABusyWorkerDrainsForIt()
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        var worker = new SimulatedWorker("w", 4);
        for (int i = 1; i <= 20; i++)
        {
            queue.Offer(Work.Denoise("a", i, 10), s_now);
        }

        worker.Step(queue, s_now);
        queue.Offer(Work.Denoise("a", 0, 10) with { Alone = true }, s_now);
        var company = new List<int>();
        for (int round = 0; round < 200; round++)
        {
            worker.Step(queue, s_now.AddSeconds(round * 0.1));
            if (worker.Held.Any(work => work.Item.Generation == Work.Key("a", 0)))
            {
                company.Add(worker.Held.Count);
            }
        }

        // Quarantined for the step that leads to a snapshot, ordinary work from then on.
        Assert.Equal([1, 4, 4, 4], company[..4]);
        Assert.Equal(0, queue.Status(s_now.AddSeconds(20)).Waiting);
    }

    // Whatever a worker does for quarantined work, a newcomer's first step begins at the end of the current one.
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public void Newcomer_BesideQuarantine_WaitsForTheCurrentStepAlone(int slots)
    {
        for (int after = 0; after < 8; after++)
        {
            var queue = new WorkQueue(new WorkQueueOptions(), 0);
            var worker = new SimulatedWorker("w", slots);
            DateTimeOffset now = s_now;
            for (int i = 1; i <= 20; i++)
            {
                queue.Offer(Work.Denoise("a", i, 100), now);
            }

            worker.Step(queue, now);
            queue.Offer(Work.Denoise("a", 0, 100) with { Alone = true }, now);
            for (int round = 0; round < after; round++)
            {
                worker.Step(queue, now = now.AddSeconds(0.1));
            }

            queue.Offer(Work.Denoise("b", 1, 3), now);
            int steps = 0;
            while (worker.Held.All(work => work.Item.Generation.Tenant.Value != "b"))
            {
                Assert.True(++steps <= 1, $"A newcomer waits for {steps} steps, {after} after the quarantine.");
                worker.Step(queue, now = now.AddSeconds(0.1));
            }
        }
    }

    [Fact]
    public void QuarantinedWork_IsParkedForOthers_OnceItHasItsSnapshot()
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        queue.Offer(Work.Denoise("a", 0, 100) with { Alone = true }, s_now);
        LeasedWork work = Take(queue, "w", s_now);
        queue.Offer(Work.Denoise("b", 0, 3), s_now);
        HeldWork alone = new(work.Lease, work.Item, 1);
        HeldWork ordinary = alone with { Item = work.Item with { Alone = false } };
        Assert.Equal([WorkVerdict.Continue], Turn(queue, "w", 0, s_now, alone).Verdicts);
        TurnAnswer answer = Turn(queue, "w", 0, s_now, ordinary);
        Assert.Equal([WorkVerdict.Park], answer.Verdicts);
        Assert.Equal(Work.Key("b", 0), Assert.Single(answer.Leased).Item.Generation);
    }

    [Fact]
    public void SnapshotOfAnotherDeviceKind_WaitsForIt_ForItsTime()
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        queue.Offer(Work.Denoise("a", 0, 5) with { DeviceKind = "gpu", AnyKindFrom = s_now.AddSeconds(60) }, s_now);
        Assert.Empty(Turn(queue, "w1", 1, s_now.AddSeconds(59)).Leased);
        Assert.Single(Turn(queue, "w1", 1, s_now.AddSeconds(60)).Leased);
    }

    // The generation's clock may be hours off the queue's: the queue measures time by its own.
    [Theory]
    [InlineData(-8 * 24)]
    [InlineData(2)]
    public void SnapshotOfAnotherDeviceKind_WaitsForItsTime_ByTheQueuesClock(int hours)
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        WorkItem item = Work.Denoise("a", 0, 5) with
        {
            DeviceKind = "gpu",
            AnyKindFrom = s_now.AddHours(hours),
            AnyKindAfter = TimeSpan.FromSeconds(60),
        };
        queue.Offer(item, s_now);
        Assert.Empty(Turn(queue, "w1", 1, s_now.AddSeconds(30)).Leased);

        // Offered again, as by a walk, it keeps waiting.
        queue.Offer(item, s_now.AddSeconds(31));
        Assert.Empty(Turn(queue, "w1", 1, s_now.AddSeconds(59)).Leased);
        LeasedWork lease = Assert.Single(Turn(queue, "w1", 1, s_now.AddSeconds(60)).Leased);

        // Returned work starts waiting again.
        queue.Release(new LeaseRelease(lease.Lease, item, LeaseEnd.Returned), s_now.AddSeconds(61));
        Assert.Empty(Turn(queue, "w1", 1, s_now.AddSeconds(120)).Leased);
        Assert.Single(Turn(queue, "w1", 1, s_now.AddSeconds(121)).Leased);
    }

    // A worker may take a turn within a step, but only for a newcomer: its current work leaves at the step's end.
    [Fact]
    public void Newcomer_IsServedAtTheEndOfTheCurrentStep()
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        queue.Offer(Work.Denoise("a", 0, 50), s_now);
        queue.Offer(Work.Denoise("a", 1, 50), s_now);
        LeasedWork work = Take(queue, "w", s_now);
        Assert.Null(queue.BusyWorker(Work.Denoise("a", 1, 50)));
        HeldWork begun = new(work.Lease, work.Item, 0), within = begun with { Done = 1 };
        WorkItem newcomer = Work.Denoise("b", 0, 3);
        queue.Offer(newcomer, s_now);
        Assert.Equal([WorkVerdict.Continue], Turn(queue, "w", 0, s_now, begun).Verdicts);
        queue.Withdraw(newcomer.Generation, s_now);
        Assert.Equal([WorkVerdict.Continue], Turn(queue, "w", 0, s_now, within).Verdicts);
        Assert.Equal([WorkVerdict.Continue], Turn(queue, "w", 0, s_now, within).Verdicts);
        queue.Offer(newcomer, s_now);
        Assert.Equal("w", queue.BusyWorker(newcomer));
        TurnAnswer answer = Turn(queue, "w", 0, s_now, within);
        Assert.Equal([WorkVerdict.Park], answer.Verdicts);
        Assert.Equal(newcomer.Generation, Assert.Single(answer.Leased).Item.Generation);
        Assert.Null(queue.BusyWorker(newcomer));
    }

    [Fact]
    public void Roles_AreKept()
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        queue.Offer(Work.Denoise("a", 0, 5), s_now);
        var turn = new WorkerTurn
        {
            Worker = "w", DeviceKind = "cpu", Roles = WorkRoles.Encode | WorkRoles.Decode, Free = 5,
            Models = [Work.Loaded],
        };
        Assert.Empty(queue.Turn(turn, s_now).Leased);
    }

    [Fact]
    public void Place_CountsTheTenantsOwnWork_AndTheWaitIsThatOfAnEvenPace()
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        var worker = new SimulatedWorker("w", 1);
        for (int i = 0; i < 100; i++)
        {
            queue.Offer(Work.Denoise("a", i, 10), s_now);
            queue.Offer(Work.Denoise("b", i, 10), s_now);
        }

        Assert.Equal(50, queue.PlaceOf(Work.Key("a", 50), s_now)!.Value.Position);
        DateTimeOffset now = s_now;
        for (int round = 0; round < 100; round++)
        {
            worker.Step(queue, now = now.AddSeconds(0.1));
        }

        // Two share ten steps per second: 50 - 5 requests of 10 steps take some 90 seconds.
        QueuePlace place = queue.PlaceOf(Work.Key("a", 50), now)!.Value;
        Assert.InRange(place.Position, 44, 46);
        Assert.InRange(place.Wait!.Value.TotalSeconds, 80, 100);
    }

    [Fact]
    public void RandomStories_KeepTheInvariants()
    {
        for (int seed = 0; seed < 2000; seed++)
        {
            try
            {
                Story(seed);
            }
            catch (Exception error)
            {
                throw new InvalidOperationException($"seed={seed}: replay with Story({seed})", error);
            }
        }
    }

    // Workers take turns, lose answers, repeat old turns, die; offers and releases arrive twice and late.
    private static void Story(int seed)
    {
        var random = new Random(seed);
        var queue = new WorkQueue(
            new WorkQueueOptions { SizeMax = 60, TenantSizeMax = 30, LeaseTime = TimeSpan.FromSeconds(1) }, 0);
        var held = Enumerable.Range(0, 4).Select(_ => new Dictionary<long, HeldWork>()).ToArray();
        var past = new List<Action<DateTimeOffset>>();
        var finished = new HashSet<GenerationKey>();
        var offered = new HashSet<GenerationKey>();
        DateTimeOffset now = s_now;
        for (int move = 0; move < 150; move++)
        {
            now = now.AddMilliseconds(random.Next(0, 200));
            int who = random.Next(4);
            switch (random.Next(8))
            {
                case 0 or 1:
                    WorkItem item =
                        Work.Denoise($"t{random.Next(5)}", move, random.Next(1, 6), 1, random.Next(1, 4)) with
                        {
                            Kind = (WorkKind)random.Next(3),
                            Alone = random.Next(10) == 0,
                            ClaimedBy = random.Next(4) == 0 ? $"w{random.Next(5)}" : null,
                        };
                    if (queue.Offer(item, false, now).Outcome == OfferOutcome.Queued)
                    {
                        offered.Add(item.Generation);
                        past.Add(at => _ = finished.Contains(item.Generation) ? null : queue.Offer(item, true, at));
                    }

                    break;
                case 2 when past.Count > 0:
                    past[random.Next(past.Count)](now);
                    break;
                case 3:
                    held[who].Clear();
                    break;
                default:
                    TakeTurn(who);
                    break;
            }

            QueueStatus status = queue.Status(now);
            Assert.True(status.Waiting >= 0 && status.Leased >= 0 && status.Waiting + status.Leased <= 90);
            Assert.True(status.Waiting > 0 || status.CostWaiting == 0, $"{status}");
        }

        // Once the faults end, everything offered is done. Late messages may have brought finished work back, which is
        // then found to be done.
        for (int round = 0; offered.Count > finished.Count && round < 2000; round++)
        {
            now = now.AddMilliseconds(100);
            TakeTurn(round % 4);
        }

        Assert.Empty(offered.Except(finished));

        void TakeTurn(int who)
        {
            HeldWork[] work = [.. held[who].Values];
            var turn = new WorkerTurn
            {
                Worker = $"w{who}", DeviceKind = "cpu", Roles = WorkRoles.All, Free = Math.Max(0, 3 - work.Length),
                Held = work, Models = [Work.Loaded],
            };
            past.Add(at => queue.Turn(turn, at));
            TurnAnswer answer = queue.Turn(turn, now);
            for (int i = 0; i < work.Length; i++)
            {
                HeldWork one = work[i] with { Done = work[i].Done + 1 };
                bool done = one.Done >= one.Item.Quanta;
                if (answer.Verdicts[i] != WorkVerdict.Continue || done)
                {
                    held[who].Remove(one.Lease);
                    if (answer.Verdicts[i] == WorkVerdict.Stop)
                    {
                        continue;
                    }

                    var release = new LeaseRelease(
                        one.Lease, one.Item,
                        done && answer.Verdicts[i] == WorkVerdict.Continue ? LeaseEnd.Finished : LeaseEnd.Returned);
                    queue.Release(release, now);
                    past.Add(at => queue.Release(release, at));
                    _ = answer.Verdicts[i] == WorkVerdict.Continue && finished.Add(one.Item.Generation);
                }
                else
                {
                    held[who][one.Lease] = one;
                }
            }

            if (random.Next(10) > 0)
            {
                foreach (LeasedWork lease in answer.Leased)
                {
                    held[who].Add(lease.Lease, new HeldWork(lease.Lease, lease.Item, 0));
                }
            }
        }
    }

    private static LeasedWork Take(WorkQueue queue, string worker, DateTimeOffset now) =>
        Turn(queue, worker, 1, now).Leased.Single();

    private static TurnAnswer Turn(
        WorkQueue queue, string worker, int free, DateTimeOffset now, params HeldWork[] held) =>
        queue.Turn(
            new WorkerTurn
            {
                Worker = worker, DeviceKind = "cpu", Roles = WorkRoles.All, Free = free, Held = held,
                Models = [Work.Loaded],
            },
            now);
}
