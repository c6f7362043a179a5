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
    // In operations, like the costs of steps, which are 1 and 2.
    private const double Encoding = 2, Decoding = 5;

    private static readonly TimeSpan s_step = TimeSpan.FromMilliseconds(100);

    [Theory]
    [InlineData(1, 1, 1, false)]
    [InlineData(2, 1, 4, false)]
    [InlineData(3, 4, 8, false)]
    [InlineData(4, 16, 1, false)]
    [InlineData(5, 1, 1, true)]
    [InlineData(6, 1, 4, true)]
    [InlineData(7, 4, 2, true)]
    public void SaturatedTenants_InEveryWindow_DifferByAtMostOneRequest(int seed, int workers, int slots, bool phases)
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
        var requests = new Dictionary<GenerationKey, WorkItem>();
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
                    requests.Add(item.Generation, item);
                    largest = Math.Max(largest, item.Cost + (phases ? Encoding + Decoding : 0));
                    queue.Offer(phases ? item.Phase(WorkKind.Encode, Encoding) : item, now);
                }
            }

            measuring = true;
            foreach (SimulatedWorker worker in fleet)
            {
                foreach (WorkItem item in worker.Step(queue, now))
                {
                    if (phases && item.Kind != WorkKind.Decode)
                    {
                        WorkItem request = requests[item.Generation];
                        queue.Offer(
                            item.Kind == WorkKind.Encode ? request : request.Phase(WorkKind.Decode, Decoding), now);
                        continue;
                    }

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

    // Beside one long request, an eighth of which would be the slack. Its first step waits for as long as its encoding
    // cost the others.
    [Theory]
    [InlineData(1, 0.5)]
    [InlineData(1, 1)]
    [InlineData(4, 1)]
    [InlineData(1, 20)]
    [InlineData(4, 20)]
    public void Newcomer_ThroughItsPhases_WaitsForAStep_AndForWhatItsEncodingCost(int slots, double encoding)
    {
        var queue = new WorkQueue(new WorkQueueOptions(), 0);
        var worker = new SimulatedWorker("w", slots);
        DateTimeOffset now = Work.Start;
        for (int i = 0; i < 8; i++)
        {
            queue.Offer(Work.Denoise("a", i, 1000), now);
        }

        Run(20);
        WorkItem request = Work.Denoise("b", 100, 3);
        queue.Offer(request.Phase(WorkKind.Encode, encoding), now);
        Assert.Equal(WorkKind.Encode, Run(1).Single().Kind);
        queue.Offer(request, now);
        int steps = 0;
        while (worker.Held.All(work => work.Item.Generation != request.Generation))
        {
            Assert.True(++steps <= 1 + Math.Ceiling(encoding), $"Its first step waits for {steps} steps.");
            Run(1);
        }

        List<WorkItem> Run(int rounds)
        {
            List<WorkItem> done = [];
            for (int i = 0; i < rounds; i++)
            {
                done = worker.Step(queue, now);
                now += s_step;
            }

            return done;
        }
    }

    // The accounts are in memory, and a new queue has empty ones: each part of a window is bounded by itself.
    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 4)]
    public void AcrossARestartOfTheQueue_TenantsDifferByAtMostTwoRequests(int workers, int slots)
    {
        const int Cost = 40, Rounds = 600;
        var fleet = Enumerable.Range(0, workers).Select(i => new SimulatedWorker($"w{i}", slots)).ToList();
        (string Name, double Weight)[] tenants = [("a", 1), ("b", 3)];
        var open = new Dictionary<GenerationKey, WorkItem>();
        var service = new Dictionary<string, double> { ["a"] = 0, ["b"] = 0 };
        double low = 0, high = 0, lowSince = 0, highSince = 0;
        DateTimeOffset now = Work.Start;
        WorkQueue queue = New(0);
        for (int i = 0; i < 2000; i++)
        {
            foreach ((string name, double weight) in tenants)
            {
                WorkItem item = Work.Denoise(name, i, Cost, 1, weight);
                open.Add(item.Generation, item);
                queue.Offer(item, now);
            }
        }

        Run();
        Assert.InRange(high - low, 0, Cost);
        (lowSince, highSince) = (Lead(), Lead());
        queue = New(now.Ticks);
        HashSet<GenerationKey> held = [.. fleet.SelectMany(one => one.Held).Select(work => work.Item.Generation)];
        foreach (WorkItem item in open.Values.Where(item => !held.Contains(item.Generation)).ToArray())
        {
            queue.Offer(item, now);
        }

        Run();
        Assert.InRange(highSince - lowSince, 0, Cost);
        Assert.InRange(high - low, 0, 2 * Cost);

        double Lead() => service["a"] - (service["b"] / 3);

        WorkQueue New(long lastLease) => new(new WorkQueueOptions(), lastLease)
        {
            Granting = (tenant, cost) =>
            {
                service[tenant.Value] += cost;
                (low, high) = (Math.Min(low, Lead()), Math.Max(high, Lead()));
                (lowSince, highSince) = (Math.Min(lowSince, Lead()), Math.Max(highSince, Lead()));
            },
        };

        void Run()
        {
            for (int round = 0; round < Rounds; round++)
            {
                fleet.SelectMany(worker => worker.Step(queue, now)).ToList().ForEach(
                    item => open.Remove(item.Generation));
                now += s_step;
            }
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
