// Goal: the queue of a large cluster keeps its speed: no operation grows faster than the logarithm of what it holds.
// Method: simulated workers, tenants and generations; operations are counted and timed, and only the counts are
// asserted. Set ATELIER_QUEUE_SCALE=1 for the full size: 1,000 workers, 10,000 tenants, 1,000,000 generations.
using System.Diagnostics;
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class QueueScaleTests
{
    private static readonly bool s_full = Environment.GetEnvironmentVariable("ATELIER_QUEUE_SCALE") == "1";

    [Fact]
    public void LargeQueue_ServesEverything_AtAPaceThatHardlyFalls()
    {
        (int Workers, int Tenants, int Generations)[] sizes = s_full
            ? [(10, 100, 10_000), (100, 1000, 100_000), (1000, 10_000, 1_000_000)]
            : [(10, 100, 2000), (100, 1000, 20_000)];
        foreach ((int workers, int tenants, int generations) in sizes)
        {
            (long operations, double seconds, double growth) = Run(workers, tenants, generations);
            TestContext.Current.TestOutputHelper?.WriteLine(
                $"{workers} workers, {tenants} tenants, {generations} generations: {operations} operations, "
                + $"{operations / seconds:F0} a second; {growth:F1} MiB in the queue.");
        }
    }

    // All generations wait at once; each takes 8 steps, and each step is one turn of its worker.
    private static (long Operations, double Seconds, double Mebibytes) Run(int workers, int tenants, int generations)
    {
        const int Slots = 8;
        var options = new WorkQueueOptions { SizeMax = generations, TenantSizeMax = generations };
        var queue = new WorkQueue(options, 0);
        var fleet = Enumerable.Range(0, workers).Select(i => new SimulatedWorker($"w{i}", Slots)).ToArray();
        long before = GC.GetTotalMemory(forceFullCollection: true);
        var watch = Stopwatch.StartNew();
        DateTimeOffset now = Work.Start;
        for (int i = 0; i < generations; i++)
        {
            queue.Offer(Work.Denoise($"t{i % tenants}", i, 8, 1 + (i % 3), 1 + (i % tenants % 5)), false, now);
        }

        watch.Stop();
        double mebibytes = (GC.GetTotalMemory(forceFullCollection: true) - before) / 1048576.0;
        watch.Start();
        (long operations, int finished) = (generations, 0);
        while (finished < generations)
        {
            foreach (SimulatedWorker worker in fleet)
            {
                finished += worker.Step(queue, now).Count;
                operations += Slots;
            }

            now += TimeSpan.FromSeconds(0.1);
        }

        Assert.Equal((0, 0), (queue.Status(now).Waiting, queue.Status(now).Leased));
        return (operations, watch.Elapsed.TotalSeconds, mebibytes);
    }
}
