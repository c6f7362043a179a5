// atelier demo: makes the demo model. Its parts can be made one by one.
using System.CommandLine;
using System.Globalization;
using Atelier.Model.Autoencoder;
using Atelier.Shapes.Making;
using TorchSharp;

namespace Atelier.Cli.Commands;

internal static class DemoCommand
{
    private const int ScoredPictures = 500;
    private static readonly int[] s_sides = [64, 128];

    public static Command Create() => new("demo", "Makes the demo model, of drawn scenes.") { Part() };

    private static Command Part()
    {
        var name = new Argument<string>("name") { Description = "vocabulary, autoencoder or clip." };
        name.AcceptOnlyFromAmong("vocabulary", "autoencoder", "clip");
        var output = new Option<DirectoryInfo>("--out") { Description = "The folder of the parts; begun ones go on from there.", Required = true };
        var threads = new Option<int>("--threads") { Description = "Threads of libtorch.", DefaultValueFactory = _ => 1 };
        var command = new Command("part", "Makes one part of the demo model, or goes on making it.") { name, output, threads };
        command.SetAction((parsed, cancellation) =>
        {
            torch.set_num_threads(Math.Max(1, parsed.GetValue(threads)));
            var parts = new DemoParts(parsed.GetRequiredValue(output).FullName);
            return Task.Factory.StartNew(
                () => Make(parts, parsed.GetRequiredValue(name), cancellation), cancellation, TaskCreationOptions.LongRunning,
                TaskScheduler.Default);
        });
        return command;
    }

    private static int Make(DemoParts parts, string name, CancellationToken cancellation)
    {
        switch (name)
        {
            case "vocabulary":
                parts.MakeVocabulary();
                break;
            case "autoencoder":
                parts.TrainAutoencoder(report: Report, cancellation: cancellation);
                ShowAutoencoder(parts);
                break;
            default:
                throw new UserErrorException("CLIP is not ready.");
        }

        return 0;
    }

    private static void ShowAutoencoder(DemoParts parts)
    {
        using AutoencoderKL network = parts.OpenAutoencoder();
        Output.Line($"scaling {Number(network.Config.ScalingFactor, "f4")}, shift {Number(network.Config.ShiftFactor, "f4")}");
        Output.Table(
            ["side", "style", "PSNR, dB", "pictures"],
            [
                .. s_sides.SelectMany(side => AutoencoderMeasure.Score(network, side, ScoredPictures)).Select(score =>
                    (IReadOnlyList<string>)[$"{score.Side}", score.Style?.ToString() ?? "all", Number(score.Decibels, "f2"), $"{score.Pictures}"]),
            ]);
    }

    private static void Report(PartProgress progress) => Output.Remark(
        $"step {progress.Step} of {progress.Steps}, loss {Number(progress.Loss, "f5")}, {Number(progress.SamplesPerSecond, "f1")} samples/s");

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
