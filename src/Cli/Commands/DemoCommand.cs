// atelier demo: makes the demo model, as a whole or part by part.
using System.CommandLine;
using System.Globalization;
using Atelier.Cli.Demo;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Runtime;
using Atelier.Shapes.Captions;
using Atelier.Shapes.Judging;
using Atelier.Shapes.Making;
using TorchSharp;

namespace Atelier.Cli.Commands;

internal static class DemoCommand
{
    private const int Interrupted = 130;
    private const int ScoredPictures = 500;
    private static readonly int[] s_sides = [64, 128];

    public static Command Create() => new("demo", "Makes the demo model from drawn scenes.") { Make(), Part() };

    private static Command Make()
    {
        Option<DirectoryInfo> stages = Choices.Path<DirectoryInfo>(
            "--stages", "Folder of the stages' configurations, which also name the folders of intermediate results.");
        stages.DefaultValueFactory = _ => new DirectoryInfo("configs/shapes");
        Option<DirectoryInfo> output = Choices.Path<DirectoryInfo>(
            "--out", "Folder for the finished model and the oracle; existing results are reused.");
        output.DefaultValueFactory = _ => new DirectoryInfo(Home.At("models"));
        Option<int> scenes = Choices.Number(
            "--scenes", 1, 100_000_000, 98_304, "Number of scenes that the denoiser is trained on.");
        Option<int> prompts = Choices.Number(
            "--prompts", 16, 1_000_000, 1_600, "Number of prompts for scoring the finished model.");
        Option<string?> precision = new("--precision")
        {
            HelpName = $"{Precision.Auto}|{Precision.Float32}|{Precision.BFloat16}",
            Description = "Precision of training and encoding; by default that of each stage, and auto for the rest.",
        };
        precision.AcceptOnlyFromAmong(Precision.Auto, Precision.Float32, Precision.BFloat16);
        Option<int?> threads = Choices.NumberOrNone(
            "--threads", 1, 1024, "Threads for libtorch and for encoding latents; by default one per core.");
        var command = new Command(
            "make", "Makes the demo model from scratch. If the command is repeated, it resumes where it stopped.")
        {
            stages, output, scenes, prompts, precision, threads,
        };
        command.SetAction((parsed, cancellation) =>
        {
            if (parsed.GetValue(threads) is { } count)
            {
                torch.set_num_threads(count);
            }

            var making = new DemoMaking(
                parsed.GetRequiredValue(stages).ToString(), parsed.GetRequiredValue(output).FullName,
                parsed.GetValue(scenes), parsed.GetValue(prompts), parsed.GetValue(precision),
                parsed.GetValue(threads) ?? Environment.ProcessorCount);
            return Task.FromResult(making.Run(cancellation) ? 0 : Interrupted);
        });
        return command;
    }

    private static Command Part()
    {
        var name = new Argument<string>("name") { Description = "The part: vocabulary, autoencoder, clip or oracle." };
        name.AcceptOnlyFromAmong("vocabulary", "autoencoder", "clip", "oracle");
        var output = new Option<DirectoryInfo>("--out")
        {
            Description = "Folder of the parts; a part that was started there is resumed.",
            Required = true,
        };
        var threads = new Option<int>("--threads")
        {
            Description = "libtorch threads.",
            DefaultValueFactory = _ => 1,
        };
        Option<string> precision = Choices.Precision("--precision", "Precision of the training.");
        var command = new Command("part", "Makes one part of the demo model, or resumes it.")
        {
            name, output, threads, precision,
        };
        command.SetAction((parsed, cancellation) =>
        {
            torch.set_num_threads(Math.Max(1, parsed.GetValue(threads)));
            var parts = new DemoParts(parsed.GetRequiredValue(output).FullName);
            torch.ScalarType compute = Precision.Parse(parsed.GetRequiredValue(precision));
            return Task.Factory.StartNew(
                () => MakePart(parts, parsed.GetRequiredValue(name), compute, cancellation), cancellation,
                TaskCreationOptions.LongRunning, TaskScheduler.Default);
        });
        return command;
    }

    private static int MakePart(DemoParts parts, string name, torch.ScalarType compute, CancellationToken cancellation)
    {
        switch (name)
        {
            case "vocabulary":
                parts.MakeVocabulary();
                break;
            case "autoencoder":
                DemoPartTraining.Run(parts, name, compute, cancellation);
                ShowAutoencoder(parts);
                break;
            case "oracle":
                DemoPartTraining.Run(parts, name, compute, cancellation);
                ShowOracle(parts);
                break;
            default:
                DemoPartTraining.Run(parts, name, compute, cancellation);
                ShowClip(parts);
                break;
        }

        return 0;
    }

    private static void ShowAutoencoder(DemoParts parts)
    {
        using AutoencoderKL network = parts.OpenAutoencoder();
        Output.Line(
            $"scaling {Number(network.Config.ScalingFactor, "f4")}, shift {Number(network.Config.ShiftFactor, "f4")}");
        Output.Table(
            ["side", "style", "PSNR, dB", "pictures"],
            [
                .. s_sides.SelectMany(side => AutoencoderMeasure.Score(network, side, ScoredPictures)).Select(score =>
                    (IReadOnlyList<string>)
                    [
                        $"{score.Side}", score.Style?.ToString() ?? "all", Number(score.Decibels, "f2"),
                        $"{score.Pictures}",
                    ]),
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
                    .. s_sides.Select(
                        side =>
                            Number(OracleMeasurement.Accuracy(oracle, task, 2 * ScoredPictures, side, seed: 1), "f4")),
                ]),
            ]);
    }

    private static void ShowClip(DemoParts parts)
    {
        using ClipModel network = parts.OpenClip();
        ClipScore score = ClipMeasure.Score(
            network, ClipTokenizer.Load(parts.Vocabulary, network.Config.Text.ContextLength));
        Output.Table(
            ["match", "fraction correct"],
            [
                [$"picture to text, among {score.Pairs}", Number(score.PictureToText, "f4")],
                [$"text to picture, among {score.Pairs}", Number(score.TextToPicture, "f4")],
                ["own caption preferred to the twin's", Number(score.Twins, "f4")],
                .. score.TwinsByDifference.Select(
                    pair => (IReadOnlyList<string>)[$"twin differs by {pair.Key}", Number(pair.Value, "f4")]),
            ]);
    }

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
