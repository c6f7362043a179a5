// Goal: shares and waiting times are the same whatever models tenants ask for, loads do not use up the devices, and
// work that no worker can do does not affect other work. Method: simulated workers whose memory holds one model or
// several; service is measured where the queue grants it, waiting time in steps and loads.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class ModelSharesTests
{
    private static readonly TimeSpan s_step = TimeSpan.FromSeconds(0.1), s_load = TimeSpan.FromSeconds(2);
    private static readonly ModelDigest[] s_models = [default, Work.Model(1), Work.Model(2)];

    private readonly WorkQueue _queue = new(new WorkQueueOptions(), 0);
    private readonly Dictionary<string, double> _service = [];
    private DateTimeOffset _now = Work.Start;
    private int _number;

    public ModelSharesTests() => _queue.Granting = (tenant, cost) =>
        _service[tenant.Value] = _service.GetValueOrDefault(tenant.Value) + cost;

    public static TheoryData<int, int, int> Fleets()
    {
        var fleets = new TheoryData<int, int, int>();
        foreach (int workers in new[] { 1, 2, 3 })
        {
            foreach (int slots in new[] { 1, 2, 4 })
            {
                foreach (int fitting in new[] { 1, 2 })
                {
                    fleets.Add(workers, slots, fitting);
                }
            }
        }

        return fleets;
    }

    [Theory]
    [MemberData(nameof(Fleets))]
    public void Newcomer_OfAModelThatNobodyHolds_WaitsForAStepAndALoad(int workers, int slots, int fitting)
    {
        SimulatedWorker[] fleet = Fleet(workers, slots, fitting);
        Offer("a", 0, 200, steps: 50);
        Run(fleet, 10 * s_load);
        Offer("b", 1, 1, steps: 3);
        Assert.InRange(Wait(fleet, "b"), TimeSpan.Zero, s_step + s_load);
        Assert.Equal(1, fleet.Sum(worker => worker.Loads));

        // When it is done, its worker returns to the others.
        double before = _service["a"];
        Run(fleet, 20 * s_load);
        int expected = workers * slots * (int)(20 * s_load / s_step);
        Assert.InRange(_service["a"] - before, expected * 0.9, expected);
    }

    public static TheoryData<int, int, int> Quarantines()
    {
        var all = new TheoryData<int, int, int>();
        foreach (int slots in new[] { 1, 2, 3, 4 })
        {
            foreach (int fitting in new[] { 1, 2 })
            {
                for (int after = 0; after < 8; after++)
                {
                    all.Add(slots, fitting, after);
                }
            }
        }

        return all;
    }

    // Whatever a worker does for a quarantined picture: making room for it, or drawing it alone.
    [Theory]
    [MemberData(nameof(Quarantines))]
    public void Newcomer_OfAnotherModel_BesideQuarantine_WaitsForAStepAndALoad(int slots, int fitting, int after)
    {
        SimulatedWorker[] fleet = Fleet(1, slots, fitting);
        Offer("a", 0, 200, steps: 50);
        Run(fleet, 10 * s_load);
        WorkItem alone = Work.Denoise("a", ++_number, 50) with { Alone = true };
        _queue.Offer(alone, _now);
        Run(fleet, after * s_step);
        Offer("b", 1, 1, steps: 3);
        Assert.InRange(Wait(fleet, "b"), TimeSpan.Zero, s_step + s_load);

        // The quarantined picture is drawn in the end.
        Run(fleet, 2000 * s_load);
        Assert.Equal((0, 0), (_queue.Status(_now).Waiting, _queue.Status(_now).Leased));
    }

    [Theory]
    [MemberData(nameof(Fleets))]
    public void Newcomer_RightAfterAChange_WaitsForHalfOfTheKeptTimeMore(int workers, int slots, int fitting)
    {
        SimulatedWorker[] fleet = Fleet(workers, slots, fitting);
        Offer("a", 0, 200, steps: 50);
        Run(fleet, 10 * s_load);
        for (int i = 0; i < 5; i++)
        {
            Offer($"b{i}", 1 + (i % 2), 1, steps: 5);
            TimeSpan kept = 2 * s_load;
            Assert.InRange(Wait(fleet, $"b{i}"), TimeSpan.Zero, kept + s_step + s_load);
        }
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 4)]
    [InlineData(3, 4)]
    public void Newcomer_OfAModelInMemory_WaitsForAStep_WhateverModelOthersAskFor(int workers, int slots)
    {
        SimulatedWorker[] fleet = Fleet(workers, slots, fitting: 2);
        Offer("a", 0, 200, steps: 50);
        Offer("b", 1, 200, steps: 50);
        Run(fleet, 10 * s_load);
        for (int i = 0; i < 6; i++)
        {
            Offer($"new{i}", i % 2, 1, steps: 3);
            Assert.InRange(Wait(fleet, $"new{i}"), TimeSpan.Zero, s_step);
            Run(fleet, 3 * s_step);
        }
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 4)]
    [InlineData(3, 1)]
    [InlineData(3, 4)]
    public void SaturatedTenants_OfModelsThatFitTogether_DifferByAtMostOneRequest(int workers, int slots)
    {
        SimulatedWorker[] fleet = Fleet(workers, slots, fitting: 3);
        (string Name, double Weight)[] tenants = [("a", 1), ("b", 2), ("c", 5)];
        for (int i = 0; i < 3; i++)
        {
            Offer(tenants[i].Name, i, 4000, steps: 20, tenants[i].Weight);
        }

        Run(fleet, 10 * s_load);
        var start = new Dictionary<string, double>(_service);
        var range = new Dictionary<(int, int), (double Low, double High)>();
        for (int round = 0; round < 1000; round++)
        {
            Run(fleet, s_step);
            double[] lead = [.. tenants.Select(one => (_service[one.Name] - start[one.Name]) / one.Weight)];
            for (int i = 0; i < 3; i++)
            {
                for (int j = 0; j < i; j++)
                {
                    (double low, double high) = range.GetValueOrDefault((i, j));
                    range[(i, j)] = (Math.Min(low, lead[i] - lead[j]), Math.Max(high, lead[i] - lead[j]));
                }
            }
        }

        foreach (((int i, int j), (double low, double high)) in range)
        {
            Assert.InRange(high - low, 0, 20 / Math.Min(tenants[i].Weight, tenants[j].Weight));
        }
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 4)]
    [InlineData(3, 2)]
    public void SaturatedTenants_OfModelsThatDoNotFitTogether_ShareEvenly_AndLoadsTakeAFifth(int workers, int slots)
    {
        SimulatedWorker[] fleet = Fleet(workers, slots, fitting: 1);
        Offer("a", 0, 4000, steps: 20);
        Offer("b", 1, 4000, steps: 20);
        TimeSpan time = 500 * s_load;
        double wait = 0;
        Dictionary<string, double> last = [];
        for (TimeSpan passed = default; passed < time; passed += s_load)
        {
            Run(fleet, s_load);
            wait = _service.GetValueOrDefault("b") > last.GetValueOrDefault("b") ? 0 : wait + 1;
            Assert.InRange(wait, 0, 8);
            last = new Dictionary<string, double>(_service);
        }

        Assert.InRange(fleet.Sum(worker => worker.Loads) * s_load / (workers * time), 0.001, 0.2);
        Assert.InRange(_service["a"] / _service["b"], 0.9, 1.1);
        Assert.InRange(_service["a"] + _service["b"], 0.79 * workers * slots * (time / s_step), double.MaxValue);
    }

    // If it comes back at once, it is one of two that take turns: each has two fifths of the time, and loads take a
    // fifth.
    [Theory]
    [InlineData(true, 0.48)]
    [InlineData(false, 0.39)]
    public void ATenantThatComesAndGoes_ForAModelThatDoesNotFit_LeavesOthersHalfOfTheTime(bool waits, double share)
    {
        SimulatedWorker[] fleet = Fleet(1, 4, fitting: 1);
        Offer("a", 0, 4000, steps: 20);
        Run(fleet, 10 * s_load);
        double before = _service["a"];
        TimeSpan time = 300 * s_load;
        for (TimeSpan passed = default; passed < time; passed += s_step)
        {
            bool isBack = !waits || _queue.Status(s_models[0], _now).Leased > 0;
            if (isBack && _queue.Status(s_models[1], _now) is { Waiting: 0, Leased: 0 })
            {
                Offer("b", 1, 1, steps: 1);
            }

            Run(fleet, s_step);
        }

        Assert.InRange((_service["a"] - before) / (4 * (time / s_step)), share, 1);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void ThreeModels_AllTakeTurns(int fitting)
    {
        SimulatedWorker[] fleet = Fleet(1, 2, fitting);
        for (int i = 0; i < 3; i++)
        {
            Offer($"t{i}", i, 2000, steps: 20);
        }

        Run(fleet, 400 * s_load);
        double[] service = [.. Enumerable.Range(0, 3).Select(i => _service[$"t{i}"])];
        Assert.InRange(service.Min() / service.Max(), 0.8, 1);
    }

    [Fact]
    public void OlderWork_OfATenantsOtherModel_IsNotStarved()
    {
        SimulatedWorker[] fleet = Fleet(1, 1, fitting: 1);
        Offer("a", 0, 3, steps: 20);
        Offer("a", 1, 1, steps: 3);
        for (int i = 0; i < 200; i++)
        {
            Offer("a", 0, 1, steps: 20);
            Run(fleet, 10 * s_step);
        }

        Assert.Equal(0, _queue.Status(Work.Model(1), _now).Waiting);
    }

    [Fact]
    public void WorkThatNoWorkerCanDo_GivesNobodyCredit()
    {
        SimulatedWorker[] fleet = Fleet(1, 4, fitting: 1);
        _queue.Offer(Work.Denoise("stuck", ++_number, 50) with { Model = Work.Model(9) }, _now);
        Offer("a", 0, 1000, steps: 20);
        Run(fleet, 20 * s_load);
        ShareEvenly(fleet, "a", "new");
    }

    [Fact]
    public void SlowWorkersOfOneModel_DoNotDisturbSharesOfAnother()
    {
        SimulatedWorker[] fleet =
        [
            new SimulatedWorker("fast", 4),
            new SimulatedWorker("slow", 1) { Models = [s_models[1]], LoadTime = s_load },
        ];
        Offer("a", 0, 1000, steps: 20);
        Offer("b", 1, 1000, steps: 20);
        for (int i = 0; i < 200; i++)
        {
            fleet[0].Step(_queue, _now += s_step);
            if (i % 20 == 0)
            {
                fleet[1].Step(_queue, _now);
            }
        }

        Assert.True(_service["b"] > 0);
        ShareEvenly(fleet[..1], "a", "new");
    }

    // A newcomer at this point is owed nothing, no matter who else waits.
    private void ShareEvenly(SimulatedWorker[] fleet, string one, string other)
    {
        double before = _service[one];
        Offer(other, 0, 1000, steps: 20);
        Run(fleet, 100 * s_step);
        Assert.InRange((_service[one] - before) / _service[other], 0.85, 1.15);
    }

    private static SimulatedWorker[] Fleet(int workers, int slots, int fitting) =>
    [
        .. Enumerable.Range(0, workers).Select(
            i => new SimulatedWorker($"w{i}", slots) { Models = s_models, Fitting = fitting, LoadTime = s_load }),
    ];

    private void Offer(string tenant, int model, int count, int steps, double weight = 1)
    {
        for (int i = 0; i < count; i++)
        {
            _queue.Offer(Work.Denoise(tenant, ++_number, steps, 1, weight) with { Model = s_models[model] }, _now);
        }
    }

    private void Run(SimulatedWorker[] fleet, TimeSpan time)
    {
        for (DateTimeOffset end = _now + time; _now < end; _now += s_step)
        {
            Array.ForEach(fleet, worker => worker.Step(_queue, _now));
        }
    }

    // Time until a tenant's first step starts.
    private TimeSpan Wait(SimulatedWorker[] fleet, string tenant)
    {
        DateTimeOffset from = _now;
        while (!_service.ContainsKey(tenant))
        {
            Assert.True(_now < from + (100 * s_load), $"{tenant} waits for {_now - from}.");
            Run(fleet, s_step);
        }

        return _now - s_step - from;
    }
}
