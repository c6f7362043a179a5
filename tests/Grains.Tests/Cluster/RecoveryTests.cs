// Goal: a restarted queue learns of all open work, whatever else fails or is in progress. Method: clusters without
// workers, with reminders too far in the future to help; calls are delayed or fail one by one.
using System.Collections.Concurrent;
using Atelier.Contracts.Generations;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Workers;
using Xunit;

namespace Atelier.Grains.Tests.Cluster;

public sealed class RecoveryTests
{
    private const int Generations = 40;

    [Fact]
    public async Task QueueThatDiesDuringAWalk_LearnsOfAllWork()
    {
        await using TestCluster cluster = await StartAsync(partitions: 1);
        IWorkQueueGrain queue = cluster.Grains.WorkQueue();
        var held = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var letGo = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        cluster.Calling = (method, key, _) =>
            method == nameof(IGenerationGrain.EnsureQueuedAsync) && key.EndsWith("/g30", StringComparison.Ordinal)
            && held.TrySetResult()
                ? letGo.Task
                : Task.CompletedTask;
        await cluster.Grains.GetGrain<IOpenSetGrain>(0).WalkAsync();
        await held.Task.WaitAsync(TestContext.Current.CancellationToken);
        await TestCluster.DeactivateAsync(queue);
        await TestCluster.UntilAsync(async () => (await queue.StatusAsync()).Waiting < Generations);
        letGo.SetResult();

        await TestCluster.UntilAsync(async () => (await queue.StatusAsync()).Waiting == Generations);
    }

    [Fact]
    public async Task PartitionThatDoesNotAnswerAStartingQueue_IsAskedAgain()
    {
        await using TestCluster cluster = await StartAsync(partitions: 4);
        IWorkQueueGrain queue = cluster.Grains.WorkQueue();
        var tries = new ConcurrentDictionary<string, int>(StringComparer.Ordinal);
        cluster.Calling = (method, key, _) =>
            method == nameof(IOpenSetGrain.WalkAsync)
            && tries.AddOrUpdate(key, 1, (_, n) => n + 1) <= int.Parse(key) % 4
                ? throw (key == "2" ? new TimeoutException("No.") : new InvalidOperationException("No."))
                : Task.CompletedTask;
        await TestCluster.DeactivateAsync(queue);

        await TestCluster.UntilAsync(async () => (await queue.StatusAsync()).Waiting == Generations);
    }

    [Fact]
    public async Task GenerationThatThrows_FailsOnlyItsOwnPartOfAWalk()
    {
        await using TestCluster cluster = await StartAsync(partitions: 1);
        IWorkQueueGrain queue = cluster.Grains.WorkQueue();
        cluster.Calling = (method, key, _) =>
            method == nameof(IGenerationGrain.EnsureQueuedAsync) && key.EndsWith("/g3", StringComparison.Ordinal)
                ? throw new InvalidOperationException("This is not a transient fault.")
                : Task.CompletedTask;
        await TestCluster.DeactivateAsync(queue);
        await TestCluster.UntilAsync(async () => (await queue.StatusAsync()).Waiting == Generations - 1);

        // Nor does it end the following walks.
        cluster.Calling = null;
        await TestCluster.DeactivateAsync(queue);
        await TestCluster.UntilAsync(async () => (await queue.StatusAsync()).Waiting == Generations);
    }

    [Fact]
    public async Task QueueThatRestartsDuringALongStep_LeavesItToItsWorker()
    {
        // One worker is blocked within its third step and does not report. The other is idle, and asks each new queue
        // at once.
        var letGo = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using TestCluster cluster = await TestCluster.StartAsync(
            2,
            _ => new FakeDevice("d", 2) { Evaluating = batch => batch[0].Step == 2 ? letGo.Task : Task.CompletedTask },
            grains => grains.Queue.LeaseTime = TimeSpan.FromSeconds(20));
        IWorkQueueGrain queue = cluster.Grains.WorkQueue();
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1, 4) });
        await TestCluster.UntilAsync(async () => (await cluster.Generation("g").ViewAsync())!.Step == 2);
        string holder = (await HolderAsync(cluster)).ToString();
        int asked = 0;
        cluster.Calling = (_, _, argument) => argument is WorkerTurn turn && Interlocked.Increment(ref asked) > 0
            && turn.Worker == holder
                ? throw new TimeoutException("No.")
                : Task.CompletedTask;
        await TestCluster.DeactivateAsync(queue);
        await TestCluster.UntilAsync(async () => await queue.StatusAsync() is { Waiting: 1 } or { Leased: 1 });

        // The other worker asks again and again, until long after the claim may be taken over.
        Volatile.Write(ref asked, 0);
        await TestCluster.UntilAsync(() => Task.FromResult(Volatile.Read(ref asked) > 40));
        cluster.Calling = null;
        await TestCluster.UntilAsync(async () => (await queue.StatusAsync()).Leased == 1);
        letGo.SetResult();

        await cluster.WatchAsync("g");
        Assert.Equal(3, (await cluster.Generation("g").ViewAsync())!.Epoch);
    }

    [Fact]
    public async Task RestartedQueue_ReservesNothingForAWorkerOutsideTheMembership()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(
            1, _ => new FakeDevice("d", 2), grains => grains.Queue.LeaseTime = TimeSpan.FromHours(1));
        cluster.Calling = (_, _, argument) => argument is WorkerTurn
            ? throw new TimeoutException("No.")
            : Task.CompletedTask;
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1, 4) });
        ClaimAnswer claim = await cluster.Generation("g").ClaimAsync(
            new ClaimRequest("gone/d", 1, WorkKind.Encode, "cpu", Alone: false, 1));
        Assert.Equal(ClaimOutcome.Granted, claim.Outcome);
        await TestCluster.DeactivateAsync(cluster.Grains.WorkQueue());
        await TestCluster.UntilAsync(async () =>
            await cluster.Grains.WorkQueue().StatusAsync() is { Waiting: 1 });
        cluster.Calling = null;

        Assert.Equal(GenerationPhase.Done, (await cluster.WatchAsync("g"))[^1].Phase);
    }

    private static async Task<WorkerKey> HolderAsync(TestCluster cluster)
    {
        WorkerStatus[] all = await Task.WhenAll(
            cluster.Silos.Silos.Select(silo => cluster.Grains.Worker($"{silo.Name}/d").StatusAsync()));
        return all.Single(worker => worker.Held > 0).Key;
    }

    private static async Task<TestCluster> StartAsync(int partitions)
    {
        TestCluster cluster = await TestCluster.StartAsync(1, _ => null, grains =>
        {
            grains.OpenSet.Partitions = partitions;
            grains.OpenSet.WalkPeriod = TimeSpan.FromHours(1);
        });
        await Task.WhenAll(Enumerable.Range(0, Generations).Select(
            i => cluster.SubmitAsync($"g{i}", new Submission { Spec = TestCluster.Spec(i) })));
        Assert.Equal(Generations, (await cluster.Grains.WorkQueue().StatusAsync()).Waiting);
        return cluster;
    }
}
