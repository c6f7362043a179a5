// Goal: tenants get their shares in every window, and a newcomer waits for at most one step. Method: simulated workers
// and time, saturated tenants, service measured where the queue grants it.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class FairShareTests
{
    private static readonly TimeSpan s_step = TimeSpan.FromMilliseconds(100);

    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(2, 1, 4)]
    [InlineData(3, 4, 8)]
    [InlineData(4, 16, 1)]
    public void SaturatedTenants_InEveryWindow_DifferByAtMostOneRequest(int seed, int workers, int slots)
    {
        (string Name, double Weight)[] tenants = [("a", 1), ("b", 2), ("c", 5)];
        var random = new Random(seed);
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        var fleet = Enumerable.Range(0, workers).Select(i => new SimulatedWorker($"w{i}", slots)).ToList();
        var service = tenants.ToDictionary(t => t.Name, _ => 0.0);
        var spread = new Dictionary<(string, string), (double Low, double High)>();
        var log = new List<Dictionary<string, double>>();
        double largest = 0;
        bool measuring = false;
        queue.Granting = (tenant, cost) =>
        {
            service[tenant.Value] += cost;
            for (int i = 0; measuring && i < tenants.Length; i++)
            {
                for (int j = 0; j < i; j++)
                {
                    (string one, string other) = (tenants[i].Name, tenants[j].Name);
                    double lead = (service[one] / tenants[i].Weight) - (service[other] / tenants[j].Weight);
                    (double low, double high) = spread.GetValueOrDefault((one, other), (lead, lead));
                    spread[(one, other)] = (Math.Min(low, lead), Math.Max(high, lead));
                }
            }
        };
        var waiting = tenants.ToDictionary(t => t.Name, _ => 0);
        int number = 0, finished = 0, rounds = 0;
        DateTimeOffset now = Work.Start;
        while (finished < 2000)
        {
            foreach ((string name, double weight) in tenants)
            {
                // Enough for each to always have work waiting.
                for (; waiting[name] < (2 * workers * slots) + 20; waiting[name]++)
                {
                    WorkItem item = Work.Denoise(name, ++number, random.Next(8, 51), random.Next(1, 3), weight);
                    largest = Math.Max(largest, item.Cost);
                    queue.Offer(item, now);
                }
            }

            measuring = true;
            foreach (SimulatedWorker worker in fleet)
            {
                foreach (WorkItem item in worker.Step(queue, now))
                {
                    waiting[item.Generation.Tenant.Value]--;
                    if (++finished % 100 == 0)
                    {
                        log.Add(new Dictionary<string, double>(service));
                    }
                }

                now += s_step / workers;
            }

            Assert.True(++rounds < 1_000_000);
        }

        foreach (((string one, string other), (double low, double high)) in spread)
        {
            double smaller = Math.Min(Weight(one), Weight(other));
            Assert.True(
                high - low <= largest / smaller,
                $"{one} and {other} differ by {high - low:F1} in some window, more than {largest} over {smaller}; "
                + $"seed={seed}");
        }

        for (int i = 1; i < log.Count; i++)
        {
            double all = tenants.Sum(t => log[i][t.Name] - log[i - 1][t.Name]);
            foreach ((string name, double weight) in tenants)
            {
                double share = (log[i][name] - log[i - 1][name]) / all;
                Assert.True(
                    Math.Abs(share - (weight / 8)) <= 0.03, $"{name} has {share:P1} of 100 generations; seed={seed}");
            }
        }

        double Weight(string name) => tenants.Single(t => t.Name == name).Weight;
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 4)]
    [InlineData(8, 4)]
    public void Newcomer_AtFullLoad_WaitsForNoMoreThanAStep(int workers, int slots)
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        var fleet = Enumerable.Range(0, workers).Select(i => new SimulatedWorker($"w{i}", slots)).ToList();
        DateTimeOffset now = Work.Start;
        for (int i = 0; i < 1000; i++)
        {
            queue.Offer(Work.Denoise(i % 2 == 0 ? "a" : "b", i, 50, 1, 1 + (i % 2)), now);
        }

        for (int round = 0; round < 500; round++)
        {
            if (round % 50 == 20)
            {
                queue.Offer(Work.Denoise($"new{round}", 5000 + round, 3), now);
            }

            fleet.ForEach(worker => worker.Step(queue, now));
            if (round % 50 == 20)
            {
                Assert.Contains(
                    fleet, worker => worker.Held.Any(work => work.Item.Generation.Tenant.Value == $"new{round}"));
            }

            now += s_step;
        }
    }

    [Fact]
    public void TenantAlone_GetsEverything_AndOwesNothingAfterwards()
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        var worker = new SimulatedWorker("w", 4);
        DateTimeOffset now = Work.Start;
        for (int i = 0; i < 100; i++)
        {
            queue.Offer(Work.Denoise("a", i, 10), now);
        }

        for (int round = 0; round < 100; round++)
        {
            worker.Step(queue, now += s_step);
            Assert.Equal(4, queue.Status(now).Leased + (round % 10 == 9 ? 4 : 0));
        }

        // The tenant has had 400 steps. A newcomer shares from now on.
        var service = new Dictionary<string, double>();
        queue.Granting = (tenant, cost) => service[tenant.Value] = service.GetValueOrDefault(tenant.Value) + cost;
        for (int i = 0; i < 100; i++)
        {
            queue.Offer(Work.Denoise("b", 1000 + i, 10), now);
        }

        for (int round = 0; round < 100; round++)
        {
            worker.Step(queue, now += s_step);
        }

        Assert.InRange(service["a"], 190, 210);
        Assert.InRange(service["b"], 190, 210);
    }

    [Fact]
    public void ComingAndGoing_GainsNothing()
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        var worker = new SimulatedWorker("w", 1);
        var service = new Dictionary<string, double>();
        queue.Granting = (tenant, cost) => service[tenant.Value] = service.GetValueOrDefault(tenant.Value) + cost;
        DateTimeOffset now = Work.Start;
        for (int i = 0; i < 200; i++)
        {
            queue.Offer(Work.Denoise("patient", i, 10), now);
        }

        // The other tenant never has more than one request of one step, and a new one as soon as that is done.
        bool open = false;
        for (int round = 0; round < 1000; round++)
        {
            if (!open)
            {
                queue.Offer(Work.Denoise("restless", 10_000 + round, 1), now);
                open = true;
            }

            open &= worker.Step(queue, now += s_step).TrueForAll(item => item.Generation.Tenant.Value != "restless");
        }

        Assert.InRange(service["restless"], 400, 505);
    }

    // Both have a backlog, in every window from the change on.
    [Theory]
    [InlineData(1, 10)]
    [InlineData(10, 1)]
    [InlineData(2, 3)]
    public void AChangedWeight_CountsAtOnce_ForWhatWaitsToo(double before, double after)
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        SimulatedWorker[] fleet = [.. Enumerable.Range(0, 2).Select(i => new SimulatedWorker($"w{i}", 2))];
        DateTimeOffset now = Work.Start;
        for (int i = 0; i < 2000; i++)
        {
            queue.Offer(Work.Denoise("a", i, 20, 1, before), now);
            queue.Offer(Work.Denoise("b", i, 20), now);
        }

        var service = new Dictionary<string, double> { ["a"] = 0, ["b"] = 0 };
        queue.Granting = (tenant, cost) => service[tenant.Value] += cost;
        Run(500);
        Assert.InRange(service["a"] / service["b"], before * 0.8, before * 1.25);
        foreach ((double weight, int version) in new[] { (after, 1), (before, 2) })
        {
            queue.SetWeight(new TenantId("a"), new TenantWeight(weight, version));

            // Late notifications have no effect, nor does work that was accepted before.
            queue.SetWeight(new TenantId("a"), new TenantWeight(weight + 5, version - 1));
            queue.Offer(Work.Denoise("a", 5000 + version, 20, 1, weight + 7), now);
            (service["a"], service["b"]) = (0, 0);
            (double low, double high) = (0, 0);
            for (int i = 0; i < 250; i++)
            {
                Run(1);
                double lead = (service["a"] / weight) - service["b"];
                (low, high) = (Math.Min(low, lead), Math.Max(high, lead));
            }

            Assert.InRange(high - low, 0, 20 / Math.Min(weight, 1));
            Assert.InRange(service["a"] / service["b"], weight * 0.75, weight * 1.3);
        }

        void Run(int rounds)
        {
            for (int i = 0; i < rounds; i++)
            {
                Array.ForEach(fleet, worker => worker.Step(queue, now));
                now += s_step;
            }
        }
    }
}
