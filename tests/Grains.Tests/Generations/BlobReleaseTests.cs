// Goal: unneeded bytes are removed from the blob store, whichever processes die or do not answer, and needed bytes
// stay. Method: workers that are blocked until their work comes too late, an unavailable store, and manual claims.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Workers;
using Atelier.Grains.Generations;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.Generations;

public sealed class BlobReleaseTests
{
    [Fact]
    public async Task DeletedDuringAStep_TheWorkersLastSnapshot_IsReleased()
    {
        var letGo = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var device = new FakeDevice("d", 1);
        device.Evaluating = batch => batch[0].Step == 3 ? letGo.Task : Task.CompletedTask;
        await using TestCluster cluster = await TestCluster.StartAsync(
            1, name => device, grains => grains.Worker.SnapshotPeriod = TimeSpan.Zero);
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1, 20) });
        await foreach (GenerationEvent one in cluster.Generation("g").WatchAsync(EventNumber.Before, Token))
        {
            if (one.Step == 3)
            {
                break;
            }
        }

        await cluster.Generation("g").DeleteAsync();
        letGo.SetResult();
        await IdleAsync(cluster);
        Assert.Equal(0, cluster.Blobs.Count);
    }

    [Fact]
    public async Task DeletedDuringDecoding_TheLatePicture_IsReleased()
    {
        var begun = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var letGo = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var device = new FakeDevice("d", 1)
        {
            Decoding = () => begun.TrySetResult() ? letGo.Task : Task.CompletedTask,
        };
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => device);
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1, 5) });
        await begun.Task.WaitAsync(Token);
        await cluster.Generation("g").DeleteAsync();
        letGo.SetResult();
        await IdleAsync(cluster);
        Assert.Equal(0, cluster.Blobs.Count);
    }

    [Fact]
    public async Task DeletedWhileTheStoreIsAway_ThePicture_IsReleasedByAWalk()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => new FakeDevice("d", 1));
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1, 5), Previews = 1 });
        await cluster.WatchAsync("g");
        await TestCluster.UntilAsync(() => Task.FromResult(cluster.Blobs.Count == 2));
        cluster.Blobs.IsAway = true;
        await cluster.Generation("g").DeleteAsync();
        Assert.Null(await cluster.Generation("g").ViewAsync());
        Assert.Equal(2, cluster.Blobs.Count);

        // Even if only the store of states remembers it.
        await cluster.Silos.RestartSiloAsync(cluster.Silos.Silos[0]);
        cluster.Blobs.IsAway = false;
        await TestCluster.UntilAsync(() => Task.FromResult(cluster.Blobs.Count == 0));
    }

    [Fact]
    public async Task EndedWhileTheStoreIsAway_AllButThePicture_IsReleasedByAWalk()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(
            1, name => new FakeDevice("d", 1), grains => grains.Worker.SnapshotPeriod = TimeSpan.Zero);
        cluster.Blobs.IsAway = true;
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1, 12) });
        GenerationEvent end = (await cluster.WatchAsync("g"))[^1];
        Assert.Equal(15, cluster.Blobs.Count);
        cluster.Blobs.IsAway = false;
        await TestCluster.UntilAsync(() => Task.FromResult(cluster.Blobs.Count == 1));
        Assert.True(cluster.Blobs.Has(end.Picture!.Value));
    }

    [Fact]
    public async Task CancelledWhileTheStoreIsAway_ItsCaption_IsReleasedByAWalk()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1) });
        await DenoisingAsync(cluster, "cpu");
        cluster.Blobs.IsAway = true;
        Assert.Equal(GenerationPhase.Cancelled, (await cluster.Generation("g").CancelAsync())?.Phase);
        Assert.Equal(1, cluster.Blobs.Count);
        cluster.Blobs.IsAway = false;
        await TestCluster.UntilAsync(() => Task.FromResult(cluster.Blobs.Count == 0));
    }

    [Fact]
    public async Task AStoreThatReleasesNothing_DelaysALongPicture_AndLosesNone()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => new FakeDevice("d", 1), grains =>
        {
            grains.Worker.SnapshotPeriod = TimeSpan.Zero;
            grains.Worker.RetryPause = TimeSpan.FromMilliseconds(20);
        });
        cluster.Blobs.IsAway = true;
        GenerationSpec spec = TestCluster.Spec(1, 60);
        await cluster.SubmitAsync("g", new Submission { Spec = spec });
        await TestCluster.UntilAsync(() => Task.FromResult(cluster.Blobs.Count >= 17));
        cluster.Blobs.IsAway = false;
        GenerationEvent end = (await cluster.WatchAsync("g"))[^1];
        Assert.Equal(FakeDevice.Undisturbed(spec), cluster.Blobs[end.Picture!.Value]);
        await TestCluster.UntilAsync(() => Task.FromResult(cluster.Blobs.Count == 1));
    }

    [Fact]
    public async Task RestartedOnAnotherDeviceKind_TheOldPreviewsAndSnapshot_AreReleased()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(
            1, name => null, grains => grains.Generation.DeviceKindPatience = TimeSpan.Zero);
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1, 20), Previews = 3 });
        ClaimAnswer one = await DenoisingAsync(cluster, "cpu");
        int due = one.PreviewSteps[0];
        await cluster.Generation("g").ReleaseAsync(new StepReport
        {
            Epoch = one.Epoch, Step = due, Snapshot = await PutAsync(cluster, BlobKind.Snapshot, "s"),
            Previews = new() { [due] = await PutAsync(cluster, BlobKind.Preview, "p") },
        });
        ClaimAnswer two = await ClaimAsync(cluster, WorkKind.Denoise, "gpu");
        Assert.Equal((ClaimOutcome.Granted, 0), (two.Outcome, two.Step));
        Assert.Equal(1, cluster.Blobs.Count);
    }

    [Fact]
    public async Task ALateSnapshot_IsKeptWhileTheNewClaimMayStoreTheSame_AndReleasedAfterIt()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1, 20) });
        IGenerationGrain generation = cluster.Generation("g");
        ClaimAnswer old = await DenoisingAsync(cluster, "cpu");
        Assert.Equal(
            ReportOutcome.Taken, await generation.ReleaseAsync(new StepReport { Epoch = old.Epoch, Step = 0 }));
        ClaimAnswer now = await ClaimAsync(cluster, WorkKind.Denoise, "cpu");

        // Both have stored the state of step 8, byte for byte; the old claim's worker reports it first.
        BlobName same = await PutAsync(cluster, BlobKind.Snapshot, "8");
        BlobName other = await PutAsync(cluster, BlobKind.Snapshot, "9");
        var late = new StepReport { Epoch = old.Epoch, Step = 8, Snapshot = same, Untold = [other] };
        Assert.Equal(ReportOutcome.Refused, await generation.ReportAsync(late));
        Assert.True(cluster.Blobs.Has(same));
        Assert.Equal(
            ReportOutcome.Taken,
            await generation.ReportAsync(new StepReport { Epoch = now.Epoch, Step = 8, Snapshot = same }));
        Assert.Equal(ReportOutcome.Refused, await generation.ReportAsync(late));
        Assert.True(cluster.Blobs.Has(same) && cluster.Blobs.Has(other));

        // When the claim ends, the needed one stays.
        Assert.Equal(
            ReportOutcome.Taken,
            await generation.ReleaseAsync(new StepReport { Epoch = now.Epoch, Step = 8, Snapshot = same }));
        Assert.True(cluster.Blobs.Has(same));
        Assert.False(cluster.Blobs.Has(other));
    }

    [Fact]
    public async Task ManyLateBlobs_AreAllReleasedAfterTheClaim()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1, 20) });
        ClaimAnswer old = await DenoisingAsync(cluster, "cpu");
        await cluster.Generation("g").ReleaseAsync(new StepReport { Epoch = old.Epoch, Step = 0 });
        await ClaimAsync(cluster, WorkKind.Denoise, "cpu");
        BlobName[] untold = await Task.WhenAll(
            Enumerable.Range(0, 3 * GenerationMachine.ToReleaseMax).Select(
                i => PutAsync(cluster, BlobKind.Snapshot, $"{i}")));
        Assert.Equal(
            ReportOutcome.Refused,
            await cluster.Generation("g").ReportAsync(new StepReport { Epoch = old.Epoch, Step = 8, Untold = untold }));
        await cluster.Generation("g").DeleteAsync();
        Assert.Equal(0, cluster.Blobs.Count);
    }

    [Fact]
    public async Task ALatePicture_EqualToTheOneThatCounts_IsKept()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => new FakeDevice("d", 1));
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1, 5) });
        BlobName picture = (await cluster.WatchAsync("g"))[^1].Picture!.Value;
        await TestCluster.UntilAsync(() => Task.FromResult(cluster.Blobs.Count == 1));
        Assert.Equal(ReportOutcome.Refused, await cluster.Generation("g").CompleteAsync(1, picture));
        BlobName wrong = await PutAsync(cluster, BlobKind.Picture, "other");
        Assert.Equal(ReportOutcome.Refused, await cluster.Generation("g").CompleteAsync(1, wrong));
        Assert.True(cluster.Blobs.Has(picture));
        Assert.False(cluster.Blobs.Has(wrong));
    }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private static async Task IdleAsync(TestCluster cluster)
    {
        IWorkerGrain worker = cluster.Grains.Worker(new WorkerKey(cluster.Silos.Silos[0].Name, "d").ToString());
        await TestCluster.UntilAsync(async () => (await worker.StatusAsync()).Held == 0);
    }

    private static Task<BlobName> PutAsync(TestCluster cluster, BlobKind kind, string text) => cluster.Blobs.PutAsync(
        kind, new GenerationKey(TestCluster.Tenant, new GenerationId("g")), FakeDevice.Bytes(text), Token);

    private static async Task<ClaimAnswer> DenoisingAsync(TestCluster cluster, string deviceKind)
    {
        ClaimAnswer encode = await ClaimAsync(cluster, WorkKind.Encode, deviceKind);
        BlobName caption = await PutAsync(cluster, BlobKind.Caption, "caption");
        Assert.Equal(ReportOutcome.Taken, await cluster.Generation("g").CompleteAsync(encode.Epoch, caption));
        return await ClaimAsync(cluster, WorkKind.Denoise, deviceKind);
    }

    private static async Task<ClaimAnswer> ClaimAsync(TestCluster cluster, WorkKind kind, string deviceKind)
    {
        long lease = Interlocked.Increment(ref s_lease);
        ClaimAnswer answer = await cluster.Generation("g").ClaimAsync(
            new ClaimRequest("by/hand", lease, kind, deviceKind, Alone: false, lease));
        Assert.Equal(ClaimOutcome.Granted, answer.Outcome);
        return answer;
    }

    private static long s_lease = long.MaxValue - 1_000_000;
}
