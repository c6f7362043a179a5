// Goal: nothing accepted is lost, nothing is done twice, and the bytes are those of an undisturbed run, whatever dies
// and whatever message is lost, late or doubled. Method: thousands of seeds of the simulation; a failure names its
// seed.
using Xunit;

namespace Atelier.Grains.Tests.Simulation;

public sealed class ClusterSimulationTests
{
    private const int Seeds = 3000;

    // To replay a failure, put its seed here and run this test alone.
    [Theory]
    [InlineData(1)]
    [InlineData(189)]
    public void OneSeed_LosesNothing(int seed) => new ClusterSimulation(seed, new SimulationCounts()).Run();

    [Fact]
    public void ThousandsOfSeeds_LoseNothing()
    {
        var counts = new SimulationCounts();
        for (int seed = 0; seed < Seeds; seed++)
        {
            try
            {
                new ClusterSimulation(seed, counts).Run();
            }
            catch (Exception error)
            {
                throw new InvalidOperationException($"seed={seed}: {error.Message} (replay: OneSeed_LosesNothing)", error);
            }
        }

        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{Seeds} seeds: {counts.Done} done, {counts.Failed} failed, {counts.Cancelled} cancelled; {counts.Deaths} deaths, "
            + $"{counts.QueueDeaths} of queues, {counts.Losses} lost, {counts.Repeats} repeated, {counts.Conflicts} conflicts, "
            + $"{counts.Restarts} restarts.");
        Assert.True(counts.Done > 20_000 && counts.Deaths > 10_000 && counts.Conflicts > 1000 && counts.Repeats > 10_000);
        Assert.True(counts.Failed > 500 && counts.Cancelled > 300 && counts.Restarts > 10);
    }
}
