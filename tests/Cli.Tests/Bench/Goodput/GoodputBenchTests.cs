// Goal: what a preemption costs a stage is bounded, in the simulation and in the formula that estimates use. Method:
// the simulated stage with the sizes of the full model, for single preemptions at several times of a step and for
// hours of random ones; traces whose outcome is known for checkpoint and restart.
using Atelier.Cli.Bench.Goodput;

namespace Atelier.Cli.Tests.Bench.Goodput;

public sealed class GoodputBenchTests
{
    private static readonly GoodputSettings s_eight = new() { Devices = 8, Shards = 64 };

    [Fact]
    public void AStep_TakesTheTimeThatIsAskedFor()
    {
        (double shard, double step) = GoodputSimulation.Calibrate(s_eight);
        Assert.InRange(step, 9.9, 10.1);

        // A device cannot exchange a gradient of 4.64 GB in less than twice 1.3 s.
        Assert.InRange(8 * shard, 5, 7.5);
    }

    [Theory]
    [InlineData(8, 64, true)]
    [InlineData(8, 64, false)]
    [InlineData(17, 16, true)]
    public void APreemption_CostsAtMostFiveSecondsAndTwoSteps(int devices, int shards, bool isNoticed)
    {
        GoodputSettings settings = s_eight with { Devices = devices, Shards = shards, IsNoticed = isNoticed };
        IReadOnlyList<double> costs = GoodputBench.LossCosts(settings, 4);
        Assert.All(costs, cost => Assert.InRange(cost, 0, LossModel.LossSeconds(settings.StepSeconds)));
        Assert.Equal(25, LossModel.LossSeconds(settings.StepSeconds));
    }

    [Fact]
    public void HoursOfPreemptions_CostWhatSingleOnesDo_AndFarLessThanRestarts()
    {
        GoodputFigures figures = GoodputBench.Measure(s_eight with { Rate = 1 }, hours: 4, seed: 1);
        Assert.InRange(figures.Lost, 20, 45);
        Assert.InRange(figures.OfPresent, 0.95, 1);
        Assert.InRange(figures.LossSeconds, 5, 25);
        Assert.InRange(figures.Restart, 0, 0.5);
    }

    [Fact]
    public void WithoutPreemptions_NothingIsLost()
    {
        GoodputFigures figures = GoodputBench.Measure(s_eight, hours: 0.5, seed: 1);
        Assert.Equal(0, figures.Lost);
        Assert.InRange(figures.Goodput, 0.99, 1.001);
        Assert.Equal(1, figures.Restart);
    }

    // Checkpoints every 1,800 s; 90 s until a device is replaced, 30 s to start, and 4.48 s to read 14 GB.
    [Fact]
    public void CheckpointAndRestart_KeepsWholeIntervals()
    {
        double lost = 90 + 30 + 4.48;
        Assert.Equal(7200, Useful(), 6);
        Assert.Equal(3600 + (7200 - 5000 - lost), Useful(5000), 6);

        // Two losses in one wait cost one wait; the second begins it again.
        Assert.Equal(3600 + (7200 - 5060 - lost), Useful(5000, 5060), 6);
        Assert.Equal(0, Useful(1000, 2000, 3000, 4000, 5000, 6000, 7100), 6);

        double Useful(params double[] losses) => CheckpointRestart.Useful(
            s_eight, [.. losses.Select(at => new Preemption(at, 0))], 0, 7200);
    }

    [Fact]
    public void ATrace_HasItsRate_AndDependsOnItsSeedAlone()
    {
        GoodputSettings settings = s_eight with { Rate = 2 };
        IReadOnlyList<Preemption> trace = PreemptionTrace.Of(settings, 0, 3600 * 100, seed: 3);
        Assert.InRange(trace.Count, 1400, 1680); // 8 devices x 100 h x 2, less while they are replaced.
        Assert.Equal(trace, PreemptionTrace.Of(settings, 0, 3600 * 100, seed: 3));
        Assert.NotEqual(trace, PreemptionTrace.Of(settings, 0, 3600 * 100, seed: 4));
        foreach (IGrouping<int, Preemption> place in trace.GroupBy(one => one.Place))
        {
            double[] times = [.. place.Select(one => one.At)];
            Assert.All(times.Zip(times.Skip(1)), pair => Assert.True(pair.Second - pair.First > 90));
        }
    }

    [Fact]
    public async Task TheBench_PrintsARowForEachRate()
    {
        using var folder = new TemporaryFolder();
        ProgramRun run = await AtelierProgram.RunAsync(
            folder.Path, "bench", "goodput", "--devices", "4", "--shards", "16", "--hours", "0.5", "--rates", "0", "6",
            "--json", "g.json");
        Assert.Equal(3, run.Succeeded().Lines.Length);
        Assert.Contains("checkpoint and restart", run.Lines[0], StringComparison.Ordinal);
        Assert.Equal([0, 6], folder.Json("g.json").EnumerateArray().Select(row => row.GetProperty("rate").GetDouble()));
    }
}
