// Goal: a queue that starts anew hears of all open work, whatever else fails or is under way. Method: clusters without
// workers, whose reminders are too far away to help; calls are held up or fail one by one.
using System.Collections.Concurrent;
using Atelier.Contracts;
using Xunit;

namespace Atelier.Grains.Tests.Cluster;

public sealed class RecoveryTests
{
    private const int Generations = 40;

    [Fact]
    public async Task QueueThatDiesDuringAWalk_HearsOfAllWork()
    {
        await using TestCluster cluster = await StartAsync(partitions: 1);
        IWorkQueueGrain queue = cluster.Grains.WorkQueue(FakeDevice.Model);
        var held = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var letGo = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        cluster.Calling = (method, key) =>
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
        IWorkQueueGrain queue = cluster.Grains.WorkQueue(FakeDevice.Model);
        var tries = new ConcurrentDictionary<string, int>(StringComparer.Ordinal);
        cluster.Calling = (method, key) =>
            method == nameof(IOpenSetGrain.WalkAsync) && tries.AddOrUpdate(key, 1, (_, n) => n + 1) <= int.Parse(key)
                ? throw (key == "2" ? new TimeoutException("No.") : new InvalidOperationException("No."))
                : Task.CompletedTask;
        await TestCluster.DeactivateAsync(queue);

        await TestCluster.UntilAsync(async () => (await queue.StatusAsync()).Waiting == Generations);
    }

    [Fact]
    public async Task GenerationThatThrows_CostsAWalkItsOwnQuestionAlone()
    {
        await using TestCluster cluster = await StartAsync(partitions: 1);
        IWorkQueueGrain queue = cluster.Grains.WorkQueue(FakeDevice.Model);
        cluster.Calling = (method, key) =>
            method == nameof(IGenerationGrain.EnsureQueuedAsync) && key.EndsWith("/g3", StringComparison.Ordinal)
                ? throw new InvalidOperationException("This is no transient fault.")
                : Task.CompletedTask;
        await TestCluster.DeactivateAsync(queue);
        await TestCluster.UntilAsync(async () => (await queue.StatusAsync()).Waiting == Generations - 1);

        // Nor does it end the walks that follow.
        cluster.Calling = null;
        await TestCluster.DeactivateAsync(queue);
        await TestCluster.UntilAsync(async () => (await queue.StatusAsync()).Waiting == Generations);
    }

    private static async Task<TestCluster> StartAsync(int partitions)
    {
        TestCluster cluster = await TestCluster.StartAsync(1, _ => null, grains =>
        {
            grains.OpenSetPartitions = partitions;
            grains.WalkPeriod = TimeSpan.FromHours(1);
        });
        await Task.WhenAll(Enumerable.Range(0, Generations).Select(
            i => cluster.SubmitAsync($"g{i}", new Submission { Spec = TestCluster.Spec(i) })));
        Assert.Equal(Generations, (await cluster.Grains.WorkQueue(FakeDevice.Model).StatusAsync()).Waiting);
        return cluster;
    }
}
