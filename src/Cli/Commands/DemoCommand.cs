// atelier demo: makes the demo model. Its parts can be made one by one.
using System.CommandLine;
using System.Globalization;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Shapes.Captions;
using Atelier.Shapes.Judging;
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
        var name = new Argument<string>("name") { Description = "vocabulary, autoencoder, clip or oracle." };
        name.AcceptOnlyFromAmong("vocabulary", "autoencoder", "clip", "oracle");
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
            case "oracle":
                parts.TrainOracle(report: Report, cancellation: cancellation);
                ShowOracle(parts);
                break;
            default:
                parts.TrainClip(report: Report, cancellation: cancellation);
                ShowClip(parts);
                break;
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

    private static void ShowOracle(DemoParts parts)
    {
        using Oracle oracle = Oracle.Load(parts.OracleWeights);
        Output.Table(
            ["task", .. s_sides.Select(side => $"{side} px")],
            [
                .. EvaluationPrompts.Tasks.Select(task => (IReadOnlyList<string>)
                [
                    $"{task}",
                    .. s_sides.Select(side => Number(OracleMeasurement.Accuracy(oracle, task, 2 * ScoredPictures, side, seed: 1), "f4")),
                ]),
            ]);
    }

    private static void ShowClip(DemoParts parts)
    {
        using ClipModel network = parts.OpenClip();
        ClipScore score = ClipMeasure.Score(network, ClipTokenizer.Load(parts.Vocabulary, network.Config.Text.ContextLength));
        Output.Table(
            ["what", "part right"],
            [
                [$"picture to text, of {score.Pairs}", Number(score.PictureToText, "f4")],
                [$"text to picture, of {score.Pairs}", Number(score.TextToPicture, "f4")],
                ["own caption or its twin's", Number(score.Twins, "f4")],
                .. score.TwinsByDifference.Select(pair => (IReadOnlyList<string>)[$"twin differs by {pair.Key}", Number(pair.Value, "f4")]),
            ]);
    }

    private static void Report(PartProgress progress) => Output.Remark(
        $"step {progress.Step} of {progress.Steps}, loss {Number(progress.Loss, "f5")}, {Number(progress.SamplesPerSecond, "f1")} samples/s");

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
