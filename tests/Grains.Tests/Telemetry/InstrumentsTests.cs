// Goal: every instrument counts what it describes, and no attribute grows with tenants or generations. Method:
// listeners to the meters of a cluster that draws pictures and refuses submissions of thousands of tenants.
using System.Diagnostics.Metrics;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Sessions;
using Atelier.Grains.Generations;
using Atelier.Grains.Queueing;
using Atelier.Grains.Tests.Cluster;
using Atelier.Grains.Workers;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace Atelier.Grains.Tests.Telemetry;

public sealed class InstrumentsTests
{
    private const int Tenants = 10_000;

    private static readonly string[] s_phases =
        ["queued_encode", "encoding", "queued_denoise", "denoising", "queued_decode", "decoding"];

    [Fact]
    public async Task APicture_IsCounted_FromItsSubmissionToItsEnd()
    {
        var device = new FakeDevice("d", 4);
        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => device);
        using var measurements = new Measurements(cluster.Meters);
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1) });
        await cluster.WatchAsync("g");
        await TestCluster.UntilAsync(async () =>
            await cluster.Grains.WorkQueue().StatusAsync() is { Waiting: 0, Leased: 0 });

        Assert.Equal(1, measurements["atelier.generation.accepted"]);
        Assert.Equal(1, measurements["atelier.generation.ended{atelier.outcome=done}"]);
        Assert.All(s_phases, phase => Assert.Equal(
            1, measurements.Count($"atelier.generation.phase.duration{{atelier.phase={phase}}}")));
        Assert.All(["encoding", "denoising", "decoding"], phase =>
            Assert.Equal(1, measurements[$"atelier.generation.claims{{atelier.phase={phase}}}"]));
        Assert.Equal(device.Evaluations, measurements["atelier.worker.evaluations"]);
        Assert.Equal(device.Evaluations, measurements.Count("atelier.worker.batch.width"));

        // The device has four rows, of which the picture used one.
        Assert.Equal(device.Evaluations, measurements["atelier.worker.rows{atelier.row.use=picture}"]);
        Assert.Equal(3 * device.Evaluations, measurements["atelier.worker.rows{atelier.row.use=padding}"]);
        Assert.Equal(1, measurements["atelier.generation.pictures{atelier.tenant.class=1}"]);
        Assert.InRange(measurements["atelier.generation.snapshots"], 1, 10);
        Assert.InRange(measurements["atelier.worker.busy.time"], 0.001, 600);
        Assert.InRange(measurements["atelier.queue.grants"], 3, 1000);
        await TestCluster.UntilAsync(() =>
        {
            measurements.Observe();
            return Task.FromResult(measurements["atelier.open_set.size"] == 0);
        });
        Assert.Equal(0, measurements["atelier.queue.leases"]);
        Assert.All(["encode", "denoise", "decode"], kind =>
            Assert.Equal(0, measurements[$"atelier.queue.waiting{{atelier.work.kind={kind}}}"]));
        Assert.InRange(measurements["atelier.open_set.walks"], 0, 1000);
    }

    [Fact]
    public async Task ManyTenants_MakeNoSeries_AndTheirRefusalsFewLines()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => new FakeDevice("d", 4), grains =>
        {
            grains.Queue.LeaseTime = TimeSpan.FromSeconds(10);
            grains.OpenSet.WalkPeriod = TimeSpan.FromHours(1);
        });
        using var measurements = new Measurements(cluster.Meters);
        await DrawAsync(cluster, "first");
        await RefuseAsync(cluster, 0);
        await cluster.Grains.GetGrain<IOpenSetGrain>(0).WalkAsync();
        await TestCluster.UntilAsync(() =>
        {
            measurements.Observe();
            return Task.FromResult(measurements["atelier.open_set.walks"] > 0 && measurements.Series.Any(
                series => series.StartsWith("atelier.queue.model.waiting", StringComparison.Ordinal)));
        });
        string[] before = measurements.Series;

        foreach (int[] part in Enumerable.Range(1, Tenants).Chunk(100))
        {
            await Task.WhenAll(part.Select(i => RefuseAsync(cluster, i)));
        }

        await DrawAsync(cluster, "second");
        measurements.Observe();
        Assert.Equal(before, measurements.Series);
        Assert.Equal(Tenants + 1, measurements["atelier.generation.refused{atelier.reason=unknown_tenant}"]);
        LogEvent[] refusals = cluster.Log.Of(109);
        Assert.InRange(refusals.Length, 1, 20);
        Assert.InRange(refusals.Sum(one => (int)one.Fields["Count"]!), refusals.Length, Tenants + 1);
    }

    [Fact]
    public async Task TenantsAndSessions_AreCounted_WithoutTheirNames()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => null);
        using var measurements = new Measurements(cluster.Meters);
        ISessionGrain session = Session("s");
        await session.BeginAsync();
        await session.BeginAsync();
        for (int i = 0; i <= ISessionPageGrain.Size; i++)
        {
            var submission = new Submission { Spec = TestCluster.Spec(i) };
            await session.SubmitAsync(new GenerationId($"g{i}"), submission);
            await session.SubmitAsync(new GenerationId($"g{i}"), submission);
        }

        cluster.Meter.HasRoom = false;
        await session.SubmitAsync(new GenerationId("refused"), new Submission { Spec = TestCluster.Spec(1) });
        await Session("refused").BeginAsync();
        measurements.Observe();
        Assert.Equal(1, measurements["atelier.session.opened"]);
        Assert.Equal(2, measurements["atelier.session.pages"]);
        Assert.Equal(ISessionPageGrain.Size + 1, measurements["atelier.tenant.open"]);
        Assert.Equal(2, measurements["atelier.tenant.refused{atelier.reason=store_full}"]);

        await TestCluster.UntilAsync(session.DeleteAsync);
        await TestCluster.UntilAsync(() =>
        {
            measurements.Observe();
            return Task.FromResult(measurements["atelier.tenant.open"] == 0);
        });
        Assert.Equal(1, measurements["atelier.session.deleted"]);

        ISessionGrain Session(string id) =>
            cluster.Grains.Session(new SessionKey(TestCluster.Tenant, new SessionId(id)));
    }

    [Fact]
    public async Task AFailedCallThatIsNotRetried_IsCountedWithItsCaller()
    {
        using var measurements = new Measurements(factories: [null]);
        Assert.False(await GrainCalls.TryAsync(() => throw new TimeoutException()));
        Assert.Null(await GrainCalls.TryAsync<string>(() => throw new TimeoutException()));
        const string Series = "atelier.call.unanswered{code.function.name="
            + nameof(AFailedCallThatIsNotRetried_IsCountedWithItsCaller) + ",error.type=TimeoutException}";
        Assert.Equal(2, measurements[Series]);
    }

    [Fact]
    public void BusyTime_CountsOverlappingCallsOnce_AndNothingWithoutAListener()
    {
        var clock = new ShiftedClock();
        using ServiceProvider services = new ServiceCollection().AddMetrics().BuildServiceProvider();
        IMeterFactory meters = services.GetRequiredService<IMeterFactory>();
        var busy = new BusyTime(new WorkerInstruments(meters), clock);
        busy.Begin().Dispose();
        BusyTime.Call unheard = busy.Begin();
        using var measurements = new Measurements(meters);
        clock.Pass(TimeSpan.FromHours(1));
        unheard.Dispose();
        Assert.Equal(0, measurements["atelier.worker.busy.time"]);

        BusyTime.Call first = busy.Begin(), second = busy.Begin();
        clock.Pass(TimeSpan.FromHours(1));
        first.Dispose();
        clock.Pass(TimeSpan.FromHours(1));
        second.Dispose();
        clock.Pass(TimeSpan.FromHours(1));
        busy.Begin().Dispose();
        Assert.Equal(2, measurements["atelier.worker.busy.time"] / 3600, 0.1);
    }

    [Theory]
    [InlineData(0.5, "1")]
    [InlineData(1, "1")]
    [InlineData(3.9, "2")]
    [InlineData(4, "4")]
    [InlineData(1000, "512")]
    [InlineData(1e9, "512")]
    public void AClassOfTenants_IsAPowerOfTwo(double weight, string name) =>
        Assert.Equal(name, GenerationInstruments.ClassOf(weight));

    [Fact]
    public void WorkOfAModel_IsCounted_AndManyModelsShareASeries()
    {
        using ServiceProvider services = new ServiceCollection().AddMetrics().BuildServiceProvider();
        IMeterFactory meters = services.GetRequiredService<IMeterFactory>();
        QueueInstruments.Levels queue = new QueueInstruments(meters).Open();
        using var measurements = new Measurements(meters);
        ModelBacklog[] models =
        [
            .. Enumerable.Range(0, QueueInstruments.ModelsMax + 2)
                .Select(i => new ModelBacklog(FakeDevice.ModelOf(i), 3, i == 0 ? null : 2.5)),
        ];
        queue.UpdateModels(models);
        measurements.Observe();
        string first = FakeDevice.ModelOf(1).Value[..12];
        Assert.Equal(3, measurements[$"atelier.queue.model.waiting{{atelier.model={first}}}"]);
        Assert.Equal(2.5, measurements[$"atelier.queue.model.backlog{{atelier.model={first}}}"]);
        Assert.Equal(6, measurements["atelier.queue.model.waiting{atelier.model=other}"]);
        Assert.Equal(QueueInstruments.ModelsMax + 1, measurements.Series.Count(
            series => series.StartsWith("atelier.queue.model.waiting", StringComparison.Ordinal)));

        // A model without work is at 0.
        queue.UpdateModels([]);
        measurements.Observe();
        Assert.Equal(0, measurements[$"atelier.queue.model.waiting{{atelier.model={first}}}"]);
    }

    private static async Task DrawAsync(TestCluster cluster, string id)
    {
        await cluster.SubmitAsync(id, new Submission { Spec = TestCluster.Spec(1) });
        await cluster.WatchAsync(id);
        await TestCluster.UntilAsync(async () =>
            await cluster.Grains.WorkQueue().StatusAsync() is { Waiting: 0, Leased: 0 });
    }

    private static async Task RefuseAsync(TestCluster cluster, int number)
    {
        var key = new GenerationKey(new TenantId($"nobody{number}"), new GenerationId("g"));
        SubmitAnswer answer = await cluster.Grains.Generation(key).SubmitAsync(
            new Submission { Spec = TestCluster.Spec(1) });
        Assert.Equal(SubmitOutcome.UnknownTenant, answer.Outcome);
    }
}
