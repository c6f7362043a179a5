// Goal: the counts of a tenant's grain follow the open set, whatever dies, moves or loses an answer, and work that was
// not done is not charged. Method: clusters without workers, or with a blocked one; calls are lost on the way there or
// back.
using System.Collections.Concurrent;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.Tenants;

#pragma warning disable VSTHRD003 // Waits begin before what ends them.
public sealed class TenantCountsTests
{
    [Fact]
    public async Task LimitsHold_AfterTheTenantsGrainMoved()
    {
        await using TestCluster cluster = await StartAsync(grains => grains.OpenSet.WalkPeriod = TimeSpan.FromHours(1));
        ITenantGrain tenant = await PutAsync(
            cluster, new TenantSettings { RequestsPerMinute = 20, OpenGenerations = 10 });
        Assert.Equal(10, await SubmitAsync(cluster, tenant, rounds: 4));

        // Open places are no longer the limit, requests per minute are. One may become available while this runs.
        await PutAsync(cluster, new TenantSettings { RequestsPerMinute = 20, OpenGenerations = 1000 });
        Assert.InRange(await SubmitAsync(cluster, tenant, rounds: 4), 10, 13);
    }

    // The answer is lost, or the process that waits for it dies too.
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task AnAdmissionWithALostAnswer_HoldsNoPlaceAndNoEvaluations(bool dies)
    {
        await using TestCluster cluster = await StartAsync();
        ITenantGrain tenant = await PutAsync(cluster, new TenantSettings { OpenGenerations = 3 });
        int lost = 0;
        cluster.Answering = (method, _, _) =>
            method == nameof(ITenantGrain.AdmitAsync) && Interlocked.Increment(ref lost) <= 3
            ? throw new TimeoutException("The answer was lost.")
            : Task.CompletedTask;
        for (int i = 0; i < 3; i++)
        {
            await Assert.ThrowsAnyAsync<Exception>(() => dies
                ? tenant.AdmitAsync(new GenerationId($"g{i}"), 19)
                : cluster.Generation($"g{i}").SubmitAsync(new Submission { Spec = TestCluster.Spec(i) }));
        }

        await TestCluster.UntilAsync(async () => (await tenant.ViewAsync())!.Open == 0);
        Assert.Equal(0, (await tenant.ViewAsync())!.EvaluationsToday);
        Assert.True((await cluster.SubmitAsync("h", new Submission { Spec = TestCluster.Spec(9) })).IsAccepted);
    }

    [Fact]
    public async Task AnEndThatTheTenantMissed_IsReportedAgain()
    {
        await using TestCluster cluster = await StartAsync();
        ITenantGrain tenant = await PutAsync(cluster, new TenantSettings { OpenGenerations = 3 });
        for (int i = 0; i < 3; i++)
        {
            await cluster.SubmitAsync($"g{i}", new Submission { Spec = TestCluster.Spec(i) });
        }

        int lost = 0;
        cluster.Calling = (method, _, _) =>
            method == nameof(ITenantGrain.SettleAsync) && Interlocked.Increment(ref lost) <= 3
            ? throw new TimeoutException("No.")
            : Task.CompletedTask;
        await Task.WhenAll(Enumerable.Range(0, 3).Select(i => cluster.Generation($"g{i}").CancelAsync()));
        await TestCluster.UntilAsync(async () => (await tenant.ViewAsync()) is { Open: 0, EvaluationsToday: 0 });
    }

    [Fact]
    public async Task RefusedSubmissions_AreNotCharged()
    {
        await using TestCluster cluster = await StartAsync(grains => grains.Queue.TenantSizeMax = 1);
        ITenantGrain tenant = await PutAsync(cluster, new TenantSettings { EvaluationsPerDay = 1000 });
        Assert.True((await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1) })).IsAccepted);
        for (int i = 0; i < 60; i++)
        {
            SubmitAnswer answer = await cluster.SubmitAsync($"g{i}", new Submission { Spec = TestCluster.Spec(i + 2) });
            Assert.Equal(SubmitOutcome.Busy, answer.Outcome);
        }

        Assert.Equal((1, 19L), await CountsAsync(tenant));
    }

    // For a step that has begun, both evaluations count.
    [Theory]
    [InlineData(0, 2)]
    [InlineData(3, 8)]
    [InlineData(9, 19)]
    public async Task ACancelledGeneration_IsChargedForItsStepsAlone(int step, int charged)
    {
        var reached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var cancelled = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var device = new FakeDevice("d", 1)
        {
            Evaluating = batch => batch[0].Step < step ? Task.CompletedTask
                : reached.TrySetResult() ? cancelled.Task : Task.CompletedTask,
        };
        await using TestCluster cluster = await StartAsync(device: device);
        ITenantGrain tenant = await PutAsync(cluster, new TenantSettings());
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1) });
        Assert.Equal((1, 19L), await CountsAsync(tenant));
        await reached.Task.WaitAsync(TestContext.Current.CancellationToken);
        await TestCluster.UntilAsync(async () => (await cluster.Generation("g").ViewAsync())!.Step == step);
        await cluster.Generation("g").CancelAsync();
        Assert.Equal((0, (long)charged), await CountsAsync(tenant));
        cancelled.SetResult();

        // A waiting generation was not computed at all; one in progress is charged as before.
        await cluster.SubmitAsync("h", new Submission { Spec = TestCluster.Spec(2) });
        await cluster.WatchAsync("h");
        await TestCluster.UntilAsync(async () => await CountsAsync(tenant) == (0, charged + 19));
    }

    // Ten pictures, as one request for images submits them. All are drawn but one, which fails in its third step; then
    // ten that are cancelled when two have been drawn and the third is in its fifth step.
    [Fact]
    public async Task TenPictures_AreChargedForWhatWasComputedOfEach()
    {
        const ulong Broken = 2;
        var begun = new ConcurrentQueue<ulong>();
        var reached = new TaskCompletionSource<ulong>(TaskCreationOptions.RunContinuationsAsynchronously);
        var released = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var device = new FakeDevice("d", 1)
        {
            Evaluating = async batch =>
            {
                FakeDenoising picture = Assert.Single(batch);
                ulong seed = picture.Spec.Seed;
                if (seed == Broken && picture.Step == 2)
                {
                    throw new DeviceException(GenerationError.KernelFailed, "The kernel failed.");
                }

                if (seed >= 10 && !begun.Contains(seed))
                {
                    begun.Enqueue(seed);
                }

                if (begun.Count == 3 && picture.Step == 4)
                {
                    reached.TrySetResult(seed);
                    await released.Task;
                }
            },
        };
        await using TestCluster cluster = await StartAsync(device: device);
        ITenantGrain tenant = await PutAsync(cluster, new TenantSettings());
        await SubmitTenAsync(cluster, first: 0);
        const long Drawn = (9 * 19) + 4;
        await TestCluster.UntilAsync(async () => await CountsAsync(tenant) == (0, Drawn));

        await SubmitTenAsync(cluster, first: 10);
        ulong held = await reached.Task.WaitAsync(TestContext.Current.CancellationToken);
        await TestCluster.UntilAsync(async () => (await CountsAsync(tenant)).Open == 8
            && (await cluster.Generation($"g{held}").ViewAsync())!.Step == 4);
        ulong[] waiting = [.. Enumerable.Range(10, 10).Select(i => (ulong)i).Except(begun)];
        Assert.Equal(7, waiting.Length);
        await Task.WhenAll(waiting.Select(seed => cluster.Generation($"g{seed}").CancelAsync()));
        await cluster.Generation($"g{held}").CancelAsync();
        released.SetResult();
        Assert.Equal((0, Drawn + (2 * 19) + 10), await CountsAsync(tenant));
    }

    [Fact]
    public async Task AChangedWeight_ReachesTheQueueAtOnce_AndEveryWalkAfterIt()
    {
        await using TestCluster cluster = await StartAsync();
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1) });
        var heard = new TaskCompletionSource<TenantId>(TaskCreationOptions.RunContinuationsAsynchronously);
        var walked = new TaskCompletionSource<WorkItem>(TaskCreationOptions.RunContinuationsAsynchronously);
        cluster.Calling = (method, _, argument) =>
        {
            if (method == nameof(IWorkQueueGrain.SetWeightAsync))
            {
                heard.TrySetResult((TenantId)argument!);
            }
            else if (argument is WorkItem { Weight: 10 } item)
            {
                walked.TrySetResult(item);
            }

            return Task.CompletedTask;
        };
        await PutAsync(cluster, new TenantSettings { Weight = 10 });
        Assert.Equal(TestCluster.Tenant, await heard.Task.WaitAsync(TestContext.Current.CancellationToken));
        WorkItem offered = await walked.Task.WaitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(("g", 1L), (offered.Generation.Id.Value, offered.WeightVersion));
    }

    private static Task<TestCluster> StartAsync(Action<GrainsOptions>? configure = null, FakeDevice? device = null) =>
        TestCluster.StartAsync(1, _ => device, grains =>
        {
            grains.OpenSet.WalkPeriod = TimeSpan.FromSeconds(1);
            grains.OpenSet.SubmitTimeout = TimeSpan.FromSeconds(1);
            configure?.Invoke(grains);
        });

    private static async Task<ITenantGrain> PutAsync(TestCluster cluster, TenantSettings settings)
    {
        ITenantGrain tenant = cluster.Grains.Tenant(TestCluster.Tenant);
        Assert.NotNull((await tenant.PutAsync(settings)).View);
        return tenant;
    }

    private static Task SubmitTenAsync(TestCluster cluster, int first) =>
        Task.WhenAll(Enumerable.Range(first, 10).Select(async i => Assert.True(
            (await cluster.SubmitAsync($"g{i}", new Submission { Spec = TestCluster.Spec(i) })).IsAccepted)));

    private static async Task<(int Open, long Evaluations)> CountsAsync(ITenantGrain tenant)
    {
        TenantView view = (await tenant.ViewAsync())!;
        return (view.Open, view.EvaluationsToday);
    }

    // How many are accepted if the tenant's grain deactivates after every few.
    private static async Task<int> SubmitAsync(TestCluster cluster, ITenantGrain tenant, int rounds)
    {
        int accepted = 0;
        for (int i = 0; i < 15 * rounds; i++)
        {
            string id = Guid.NewGuid().ToString("N");
            accepted += (await cluster.SubmitAsync(id, new Submission { Spec = TestCluster.Spec(i) })).IsAccepted
                ? 1
                : 0;
            if (i % 15 == 14)
            {
                await TestCluster.DeactivateAsync(tenant);
            }
        }

        return accepted;
    }
}
#pragma warning restore VSTHRD003
