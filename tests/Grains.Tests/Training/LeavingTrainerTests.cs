// Goal: a trainer whose silo stops, or whose node will be taken, leaves at the end of the shard that it is computing:
// it computes no further shard of the step, the others continue meanwhile, and no bit changes. Method: an in-process
// cluster; a device that holds one shard until the test releases it.
using System.Collections.Concurrent;
using Atelier.Contracts.Training;
using Atelier.Grains.Ports;
using Microsoft.Extensions.DependencyInjection;
using Xunit;
using TestCluster = Atelier.Grains.Tests.Cluster.TestCluster;

namespace Atelier.Grains.Tests.Training;

public sealed class LeavingTrainerTests
{
    private const int Steps = 30;

    [Fact]
    public async Task ATrainerThatDrains_LeavesAtTheEndOfItsShard()
    {
        var network = new MemoryNetwork();
        var devices = new ConcurrentDictionary<string, FakeTraining>();
        await using TestCluster cluster = await TestCluster.StartAsync(
            2, _ => null,
            options =>
            {
                options.Trainer.HeartbeatPeriod = TimeSpan.FromMilliseconds(50);
                options.Trainer.IdlePeriod = TimeSpan.FromMilliseconds(50);
                options.Trainer.LeaveTimeout = TimeSpan.FromMinutes(1);
            },
            services: (name, services) => services.AddSingleton<ITrainerNetwork>(network)
                .AddSingleton<ITrainingWork>(_ => devices[name] = new FakeTraining()));
        string leaving = cluster.Silos.Silos[1].Name;
        var (held, release) = (new TaskCompletionSource(), new TaskCompletionSource());
        var computed = new ConcurrentQueue<(long Step, int Shard)>();
        devices[cluster.Silos.Silos[0].Name].Computing =
            (step, _) => step < 3 ? Task.CompletedTask : held.Task.WaitAsync(Timeout.InfiniteTimeSpan);
        devices[leaving].Computing = async (step, shard) =>
        {
            if (step >= 3 && held.TrySetResult())
            {
                await release.Task.WaitAsync(TestContext.Current.CancellationToken);
            }

            if (held.Task.IsCompleted)
            {
                computed.Enqueue((step, shard));
            }
        };
        ITrainingRunGrain run = cluster.Grains.GetGrain<ITrainingRunGrain>("run");
        await run.SubmitStagesAsync([new StageSource
        {
            Name = "toy", Configuration = "", Overrides = [$"steps={Steps}"],
        }]);
        await held.Task.WaitAsync(TestContext.Current.CancellationToken);

        Task drained = Task.WhenAll(
            cluster.Silos.Silos[1].ServiceProvider.GetServices<IDeviceDrain>().Select(drain => drain.DrainAsync()));
        await TestCluster.UntilAsync(async () => (await run.ViewAsync())!.Phase == RunPhase.Done);
        Assert.False(drained.IsCompleted);
        Assert.Empty(computed);

        release.SetResult();
        await drained.WaitAsync(TestContext.Current.CancellationToken);
        Assert.Single(computed);
        Assert.Equal(FakeTraining.AloneDigest(Steps), (await run.ViewAsync())!.Stages[0].Weights);
        Assert.Contains(cluster.Logs, text => text.Contains("is leaving", StringComparison.Ordinal));
    }
}
