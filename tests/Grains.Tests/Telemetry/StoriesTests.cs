// Goal: the log shows what happens to a generation, each event once, with its fields. Method: grains in a cluster
// without devices, driven by the claims and turns that workers would make, and a silo that drains.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Tests.Cluster;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Atelier.Grains.Tests.Telemetry;

public sealed class StoriesTests
{
    private static readonly BlobName s_blob = BlobName.Of(BlobKind.Caption, TestCluster.Tenant, new string('a', 64));

    [Fact]
    public async Task AClaim_ALostWorker_Quarantine_AndFailure_AreLoggedOnceEach()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => null);
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1) });
        Assert.Equal(ClaimOutcome.Granted, (await ClaimAsync(cluster, "a/d", 1)).Outcome);
        Assert.Equal(ClaimOutcome.Granted, (await ClaimAsync(cluster, "a/d", 1)).Outcome); // The same claim again.
        LogEvent claimed = Assert.Single(cluster.Log.Of(107));
        Assert.Equal(("tenant/g", "a/d", "1", "0"),
            (claimed["Generation"], claimed["Worker"], claimed["Epoch"], claimed["Step"]));

        // Each claim follows one whose worker stopped reporting.
        int attempt = 2;
        while (cluster.Log.Of(105).Length == 0)
        {
            Assert.InRange(attempt, 2, 10);
            cluster.Clock.Shift += TimeSpan.FromSeconds(1);
            await ClaimAsync(cluster, $"w{attempt}/d", attempt++);
        }

        LogEvent[] lost = cluster.Log.Of(104);
        Assert.Equal(("tenant/g", "a/d", "1"), (lost[0]["Generation"], lost[0]["Worker"], lost[0]["Epoch"]));
        Assert.Equal(lost.Length, lost.Select(one => one["Epoch"]).Distinct().Count());
        Assert.Equal("tenant/g", Assert.Single(cluster.Log.Of(105))["Generation"]);

        ClaimAnswer alone = await ClaimAsync(cluster, "b/d", 100, alone: true);
        Assert.Equal(ClaimOutcome.Granted, alone.Outcome);
        await cluster.Generation("g").FailAsync(alone.Epoch, GenerationError.InvalidRequest, "too large");
        LogEvent failed = Assert.Single(cluster.Log.Of(108));
        Assert.Equal(("tenant/g", "InvalidRequest", "too large"),
            (failed["Generation"], failed["Error"], failed["Reason"]));
        Assert.Single(cluster.Log.Of(105));
    }

    [Fact]
    public async Task ARestartOnAnotherDeviceKind_IsLoggedOnce()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => null);
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1) });
        IGenerationGrain g = cluster.Generation("g");
        await g.CompleteAsync((await ClaimAsync(cluster, "a/d", 1)).Epoch, s_blob);
        ClaimAnswer claim = await ClaimAsync(cluster, "a/d", 2, WorkKind.Denoise);
        await g.ReleaseAsync(new StepReport { Epoch = claim.Epoch, Step = 4, Snapshot = s_blob });
        Assert.Equal(ClaimOutcome.Denied, (await ClaimAsync(cluster, "b/d", 3, WorkKind.Denoise, "gpu")).Outcome);
        Assert.Empty(cluster.Log.Of(106));

        cluster.Clock.Shift += TimeSpan.FromHours(1);
        Assert.Equal(ClaimOutcome.Granted, (await ClaimAsync(cluster, "b/d", 4, WorkKind.Denoise, "gpu")).Outcome);
        LogEvent restarted = Assert.Single(cluster.Log.Of(106));
        Assert.Equal(("tenant/g", "gpu", "4"),
            (restarted["Generation"], restarted["DeviceKind"], restarted["Step"]));
        Assert.Empty(cluster.Log.Of(104));
    }

    [Fact]
    public async Task AWorkersLeaseThatExpires_IsLoggedOnce()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(
            1, _ => null, grains => grains.Queue.LeaseTime = TimeSpan.FromSeconds(4));
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1) });
        TurnAnswer turn = await cluster.Grains.WorkQueue().TurnAsync(new WorkerTurn
        {
            Worker = "gone/d", DeviceKind = "cpu", Roles = WorkRoles.All, Free = 1,
            Models = [new WorkerModel(FakeDevice.Model, ModelPlace.Loaded)],
        });
        Assert.Single(turn.Leased);
        await TestCluster.UntilAsync(() => Task.FromResult(cluster.Log.Of(206).Length > 0));
        Assert.Single(cluster.Log.Of(206));
        using var measurements = new Measurements(cluster.Meters);
        measurements.Observe();
        Assert.Equal((0, 1),
            (measurements["atelier.queue.waiting{atelier.work.kind=encode}"], measurements["atelier.queue.leases"]));
        await TestCluster.UntilAsync(() => Task.FromResult(cluster.Log.Of(201).Length > 0));
        await TestCluster.UntilAsync(async () => (await cluster.Grains.WorkQueue().StatusAsync()).Waiting == 1);

        LogEvent expired = Assert.Single(cluster.Log.Of(201));
        Assert.Equal(("Encode", "tenant/g", "gone/d"), (expired["Kind"], expired["Generation"], expired["Worker"]));
        Assert.Equal(1, measurements["atelier.queue.leases.expired"]);
        measurements.Observe();
        Assert.Equal((1, 0),
            (measurements["atelier.queue.waiting{atelier.work.kind=encode}"], measurements["atelier.queue.leases"]));
    }

    [Fact]
    public async Task AFullQueue_IsLoggedOnce_HoweverManyItRefuses()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(
            1, _ => null, grains => grains.Queue.SizeMax = 2);
        using var measurements = new Measurements(cluster.Meters);
        SubmitAnswer[] answers = await Task.WhenAll(Enumerable.Range(0, 12).Select(
            i => cluster.SubmitAsync($"g{i}", new Submission { Spec = TestCluster.Spec(i) })));
        Assert.Equal(10, answers.Count(answer => answer.Outcome == SubmitOutcome.Busy));

        LogEvent full = Assert.Single(cluster.Log.Of(202));
        Assert.Equal(("1", "QueueFull", "tenant"), (full["Count"], full["Bound"], full["Tenant"]));
        Assert.Equal(10, measurements["atelier.queue.refused{atelier.reason=queue_full}"]);
        LogEvent refused = Assert.Single(cluster.Log.Of(109));
        Assert.Equal(("Busy", "tenant"), (refused["Outcome"], refused["Tenant"]));
        Assert.Equal(10, measurements["atelier.generation.refused{atelier.reason=busy}"]);
    }

    [Fact]
    public async Task Retention_AndASiloThatDrains_AreLoggedOnce()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => new FakeDevice("d", 2));
        using var measurements = new Measurements(cluster.Meters);
        IEndedListGrain list = cluster.Grains.GetGrain<IEndedListGrain>("5/0/0");
        await list.AddAsync(new GenerationKey(TestCluster.Tenant, new GenerationId("old")));
        Assert.True(await list.SweepAsync(1000));
        LogEvent swept = Assert.Single(cluster.Log.Of(411));
        Assert.Equal(("1", "5/0/0", "0"), (swept["Count"], swept["List"], swept["Left"]));
        Assert.Equal(1, measurements["atelier.retention.forgotten"]);

        string worker = $"{cluster.Silos.Silos[0].Name}/d";
        await TestCluster.UntilAsync(() => Task.FromResult(cluster.Log.Of(306).Length > 0));
        await cluster.Silos.StopAllSilosAsync(TestContext.Current.CancellationToken);
        Assert.Equal(worker, Assert.Single(cluster.Log.Of(307))["Worker"]);
        Assert.Equal((worker, "0"), (cluster.Log.Of(308).Single()["Worker"], cluster.Log.Of(308).Single()["Count"]));
        Assert.DoesNotContain(cluster.Log.Events, one => one.Level >= LogLevel.Error);
    }

    private static Task<ClaimAnswer> ClaimAsync(
        TestCluster cluster, string worker, long number, WorkKind kind = WorkKind.Encode, string deviceKind = "cpu",
        bool alone = false) => cluster.Generation("g").ClaimAsync(
            new ClaimRequest(worker, number, kind, deviceKind, alone, number));
}
