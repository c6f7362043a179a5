// Goal: a dry run says what stages cost on a number of devices, by figures that are marked as assumptions and can be
// replaced. Method: the printed text for two stages of the toy network, at rates whose result is known.
using System.Globalization;
using Atelier.Model.Networks;
using Atelier.Model.Training.Runs;

namespace Atelier.Cli.Tests.Commands;

public sealed class ClusterCostsTests : IDisposable
{
    private const int Steps = 400_000;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task TheTable_HasEveryKindAndStage_AndSaysThatItsFiguresAreAssumed()
    {
        ProgramRun run = await DryRunAsync("--devices", "2");
        Assert.Contains("rates, networks and prices are assumptions", run.Output, StringComparison.Ordinal);
        foreach (string kind in (string[])["H200", "H100", "A100 80 GB", "L40S"])
        {
            Assert.Equal(4, run.Lines.Count(line => line.StartsWith(kind, StringComparison.Ordinal)));
        }

        Assert.DoesNotContain("so only that many devices compute", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task GivenFigures_ReplaceTheAssumedOnes()
    {
        ProgramRun run = await DryRunAsync(
            "--devices", "4", "--tflops", "0.001", "--network", "0.1", "--price", "1000", "--preemptions", "0");
        Assert.DoesNotContain("H100", run.Output, StringComparison.Ordinal);
        var stage = StageConfig.Parse("stage.yaml", TrainTests.Stage, []);

        // Two shards of two samples on four devices: two of them compute one each, and exchange half of the gradient.
        using var network = new MicroDiT(stage.Network);
        double parameters = network.parameters().Sum(tensor => tensor.numel());
        double seconds = (StageCost.SampleFlops(stage) * 2 / 1e9) + (2 * 4 * parameters / 2 * 8 / 1e8);
        double[] first = Row("toy"), all = Row("all");
        Assert.InRange(first[0], seconds * 0.97, seconds * 1.03);
        Assert.InRange(first[2], Steps * seconds / 3600 * 0.97, Steps * seconds / 3600 * 1.03);
        Assert.InRange(all[0], 1.98 * first[2], 2.02 * first[2]);
        Assert.InRange(all[1], (all[0] * 4000 * 0.98) - 1, (all[0] * 4000 * 1.02) + 1);
        Assert.Equal(all[0], all[2]);
        Assert.Contains("toy: trainer.shards is 2, so only that many devices compute", run.Output);

        double[] Row(string name) => Numbers(run.Lines.First(
            line => line.StartsWith("as given", StringComparison.Ordinal)
                && line.Contains($" {name} ", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Preemptions_TakeTime_AndTooManyOfThem_AllOfIt()
    {
        ProgramRun some = await DryRunAsync("--devices", "2", "--preemptions", "4");
        double[] row = Numbers(some.Lines.Last(line => line.StartsWith("L40S", StringComparison.Ordinal)));
        Assert.True(row[^2] > row[^4], string.Join(' ', row));
        Assert.Contains("never", (await DryRunAsync("--devices", "2", "--preemptions", "100")).Output);
    }

    private async Task<ProgramRun> DryRunAsync(params string[] options)
    {
        _folder.Write("stages/1.yaml", TrainTests.Stage);
        _folder.Write("stages/2.yaml", TrainTests.Stage.Replace(": toy", ": second", StringComparison.Ordinal));
        return (await AtelierProgram.RunAsync(
            _folder.Path, ["train", "stages", "--dry-run", $"trainer.max_duration={Steps}ba", .. options]))
            .Succeeded();
    }

    private static double[] Numbers(string line) =>
    [
        .. line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(word =>
            double.TryParse(word, CultureInfo.InvariantCulture, out double number) ? (double?)number : null)
            .OfType<double>(),
    ];
}
