// Goal: nothing accepted is lost, nothing is done twice, and the bytes are those of an undisturbed run, whatever dies
// and whatever call is lost or late. Method: seeds of the simulated cluster; a failure names its seed. ATELIER_SEEDS
// says which ones to run: a number is one seed, a range like 0..20000 is all of them.
using Xunit;

namespace Atelier.Grains.Tests.Simulation;

public sealed class ClusterSimulationTests
{
    private const int Seeds = 500;

    [Fact]
    public void ManySeeds_LoseNothing()
    {
        string? given = Environment.GetEnvironmentVariable("ATELIER_SEEDS");
        string[] range = (given is { Length: > 0 } ? given : $"0..{Seeds}").Split("..");
        int first = int.Parse(range[0]), end = range.Length > 1 ? int.Parse(range[1]) : first + 1;
        var counts = new SimulationCounts();
        var faults = new List<Exception>();
        Parallel.For(first, end, new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount }, seed =>
        {
            try
            {
                SimulationCounts one = ClusterSimulation.Run(seed);
                lock (counts)
                {
                    counts.Add(one);
                }
            }
            catch (InvalidOperationException error)
            {
                lock (counts)
                {
                    faults.Add(error);
                }
            }
        });
        TestContext.Current.TestOutputHelper?.WriteLine($"{end - first} seeds: {counts}.");
        string[] messages = [.. faults.Select(one => one.Message).Order(StringComparer.Ordinal)];
        Assert.True(
            messages.Length == 0,
            $"{messages.Length} of {end - first} seeds fail:\n"
            + $"{string.Join('\n', messages.Select(one => one.Split('\n')[0]).Take(20))}\n\n"
            + messages.FirstOrDefault());

        // Zero would mean that nothing was tested.
        if (given is not { Length: > 0 })
        {
            Assert.True(counts is { Done: > 2500, Failed: > 150, Cancelled: > 250, Deleted: > 400 }, $"{counts}");
            Assert.True(counts is { Kills: > 2500, Drains: > 750, Freezes: > 750, Parted: > 600 }, $"{counts}");
            Assert.True(counts is { Conflicts: > 1000, Restarts: > 25, Exact: > 20 }, $"{counts}");
        }
    }
}
