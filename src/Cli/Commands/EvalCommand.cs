// atelier eval: the quality of a model's pictures, on the demo world or on a data set.
using System.CommandLine;
using System.Globalization;
using Atelier.Model.Data;
using Atelier.Model.Data.Sources;
using Atelier.Model.Diffusion;
using Atelier.Model.Evaluation;
using Atelier.Model.Imaging;
using Atelier.Model.Pipeline;
using Atelier.Shapes.Evaluating;
using Atelier.Shapes.Judging;

namespace Atelier.Cli.Commands;

internal static class EvalCommand
{
    private const int SheetColumns = 8, SheetPictures = 32;

    public static Command Create() =>
        new("eval", "Measures the quality of models and pictures.") { Shapes(), Binding(), Fid(), Clip() };

    private static Option<DirectoryInfo> ShapesModel()
    {
        Option<DirectoryInfo> model = Choices.Path<DirectoryInfo>(
            "--model", "Folder of a model that was trained on the demo's scenes.");
        model.DefaultValueFactory = _ => new DirectoryInfo(Home.At("models/shapes"));
        return model;
    }

    private static Command Shapes()
    {
        Option<DirectoryInfo> model = ShapesModel();
        Option<FileInfo> oracle = Choices.Path<FileInfo>("--oracle", "The oracle's weights.");
        oracle.DefaultValueFactory = _ => new FileInfo(Home.At("models/oracle/oracle.safetensors"));
        Option<int> prompts = Choices.Number(
            "--prompts", 16, 1_000_000, 1_600,
            "Total number of prompts over 8 tasks; half of them show held-out combinations.");
        Option<int?> steps = Choices.NumberOrNone(
            "--steps", 1, SamplerSettings.StepsMax, "Steps; by default the model's.");
        Option<double?> guidance = Choices.NumberOrNone("--guidance", 1.0, 100, "Guidance; by default the model's.");
        Option<double> churn = Choices.Churn();
        Option<(double Low, double High)?> interval = Choices.GuidanceInterval();
        Option<ulong> seed = Choices.Number<ulong>("--seed", 0, ulong.MaxValue, 1, "Seed of prompts and pictures.");
        Option<DirectoryInfo> pictures = Choices.Path<DirectoryInfo>(
            "--pictures", "Also write a sheet of each task's pictures, and their prompts, to this folder.");
        Option<FileInfo> json = Choices.Json();
        var command = new Command(
            "shapes", "Draws pictures from prompts of the demo world and lets the oracle judge them.")
        {
            model, oracle, prompts, steps, guidance, churn, interval, seed, pictures, json,
        };
        command.SetAction((parsed, cancellation) =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            ModelFolder folder = ModelFolder.Open(parsed.GetRequiredValue(model).FullName);
            (double low, double high) = parsed.GetValue(interval) ?? (0, double.PositiveInfinity);
            var settings = new ShapesEvaluationSettings
            {
                Prompts = parsed.GetValue(prompts),
                Seed = parsed.GetValue(seed),
                Sampler = new SamplerSettings
                {
                    Steps = parsed.GetValue(steps) ?? folder.Steps,
                    Guidance = parsed.GetValue(guidance) ?? folder.Guidance,
                    SChurn = parsed.GetValue(churn),
                    GuidanceLow = low,
                    GuidanceHigh = high,
                },
            };
            using Oracle judge = Oracle.Load(parsed.GetRequiredValue(oracle).FullName);
            using var evaluation = new ShapesEvaluation(folder, judge, settings);
            var looked = new List<JudgedPicture>();
            ShapesScores scores = Output.WithProgress(
                "evaluating", progress => evaluation.Run(looked.Add, progress, cancellation));
            Show(scores);
            if (parsed.GetValue(pictures) is { } sheets)
            {
                WriteSheets(sheets.FullName, looked);
            }

            Output.Json(parsed.GetValue(json), Report(scores, folder, settings));
            return Task.FromResult(0);
        });
        return command;
    }

    private static Command Binding()
    {
        Option<DirectoryInfo> model = ShapesModel();
        Option<int> captions = Choices.Number(
            "--captions", 100, 100_000, 8_000, "Number of captions to which the probes are fitted.");
        Option<ulong> seed = Choices.Number<ulong>("--seed", 0, ulong.MaxValue, 1, "Seed of captions and noise.");
        Option<FileInfo> json = Choices.Json();
        var command = new Command(
            "binding", "Measures whether a model knows which thing of a prompt is where, within seconds.")
        {
            model, captions, seed, json,
        };
        command.SetAction((parsed, cancellation) =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            ModelFolder folder = ModelFolder.Open(parsed.GetRequiredValue(model).FullName);
            int fitted = parsed.GetValue(captions);
            var settings = new BindingSettings
            {
                Fitted = fitted, Tested = fitted * 3 / 8, Seed = parsed.GetValue(seed),
            };
            using var measure = new BindingMeasure(folder);
            BindingScores scores = Output.WithProgress(
                "measuring", progress => measure.Run(settings, progress, cancellation));
            Show(scores);
            Output.Json(parsed.GetValue(json), new
            {
                scores.Probes, scores.Sensitivities, scores.IsBound, Model = new { folder.Name, folder.Digest },
                Settings = settings,
            });
            return Task.FromResult(0);
        });
        return command;
    }

    private static Command Fid()
    {
        var pictures = new Argument<DirectoryInfo>("PICTURES")
        {
            Description = "A folder of pictures, or an MDS data set with a picture column.",
        };
        var reference = new Argument<DirectoryInfo>("REFERENCE")
        {
            Description = "Reference pictures: a folder, or an MDS data set.",
        };
        Option<FileInfo> inception = Choices.Path<FileInfo>(
            "--inception", "The FID Inception network, pt_inception-2015-12-05-6726825d.pth.", required: true);
        Option<string?> pictureColumn = Choices.PictureColumn(set: "PICTURES'"),
            referenceColumn = Choices.PictureColumn("--reference-column", "REFERENCE's");
        Option<FileInfo> json = Choices.Json();
        var command = new Command("fid", "Computes the Fréchet inception distance between two sets of pictures.")
        {
            pictures, reference, inception, pictureColumn, referenceColumn, json,
        };
        command.SetAction((parsed, cancellation) =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            using StoredPictures first = Open(parsed.GetRequiredValue(pictures), parsed.GetValue(pictureColumn));
            using StoredPictures second = Open(parsed.GetRequiredValue(reference), parsed.GetValue(referenceColumn));
            double total = first.Count + second.Count;
            double distance = Output.WithProgress("scoring", progress => PictureScores.FrechetInception(
                parsed.GetRequiredValue(inception).FullName, All(first), All(second), seen => progress(seen / total),
                cancellation));
            Output.Line($"FID {Number(distance, "f3")} ({first.Count} and {second.Count} pictures)");
            Output.Json(parsed.GetValue(json), new
            {
                Fid = distance, Pictures = first.Count, Reference = second.Count, Taken = first.Taken,
                ReferenceTaken = second.Taken, first.PassedOver, ReferencePassedOver = second.PassedOver,
            });
            return Task.FromResult(0);
        });
        return command;

        static StoredPictures Open(DirectoryInfo folder, string? column)
        {
            StoredPictures set = StoredPictures.Open(
                folder.FullName, new PictureColumns(Picture: column), withCaptions: false);
            DataCommand.ReportOrigin(set, folder);
            return set.Count >= 2
                ? set : throw new UserErrorException($"{folder} has {set.Count} picture; at least 2 are needed.");
        }

        static IEnumerable<RgbImage> All(StoredPictures set)
        {
            for (long i = 0; i < set.Count; i++)
            {
                yield return set.Picture(i);
            }
        }
    }

    private static Command Clip()
    {
        var pictures = new Argument<DirectoryInfo>("PICTURES")
        {
            Description =
                "A folder of pictures and caption files, or an MDS data set with a text and a picture column.",
        };
        Option<DirectoryInfo> model = Choices.Path<DirectoryInfo>(
            "--model", "Model folder whose text encoder file also contains the image encoder.", required: true);
        Option<string?> captionColumn = Choices.CaptionColumn(), pictureColumn = Choices.PictureColumn();
        Option<FileInfo> json = Choices.Json();
        var command = new Command("clip", "Computes the CLIP score of pictures and their captions.")
        {
            pictures, model, captionColumn, pictureColumn, json,
        };
        command.SetAction((parsed, cancellation) =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            using StoredPictures set = StoredPictures.Open(
                parsed.GetRequiredValue(pictures).FullName,
                new PictureColumns(parsed.GetValue(captionColumn), parsed.GetValue(pictureColumn)));
            DataCommand.ReportOrigin(set, parsed.GetRequiredValue(pictures));
            ModelFolder folder = ModelFolder.Open(parsed.GetRequiredValue(model).FullName);
            (double score, CutCaptions cut) = Output.WithProgress("scoring", progress => PictureScores.Clip(
                folder, set, seen => progress((double)seen / set.Count), cancellation));
            DataCommand.ReportTruncated(cut);
            Output.Line($"CLIP score {Number(score, "f3")} ({set.Count} pictures)");
            Output.Json(parsed.GetValue(json), new
            {
                ClipScore = score, Pictures = set.Count, set.Taken, set.PassedOver, Cut = cut,
            });
            return Task.FromResult(0);
        });
        return command;
    }

    private static void Show(ShapesScores scores)
    {
        Output.Table(
            ["task", "seen", "held out", "oracle", "oracle, noise or blur", "oracle, autoencoder", "prompts per split"],
            [
                .. scores.Tasks.Select(task => (IReadOnlyList<string>)
                [
                    task.Name, Number(task.Seen, "f3"), Number(task.HeldOut, "f3"), Number(task.Oracle, "f3"),
                    Number(task.OracleSpoiled, "f3"), Number(task.OracleDecoded, "f3"), $"{task.Prompts}",
                ]),
                [
                    "mean of the first six", Number(scores.MeanSeen, "f3"), Number(scores.MeanHeldOut, "f3"), "", "",
                    "", "",
                ],
            ]);
        Output.Table(
            ["measure", "generated", "true pictures"],
            [
                ["Fréchet distance, CLIP features", Number(scores.Frechet, "f4"), Number(scores.FrechetTrue, "f4")],
                ["CLIP score", Number(scores.ClipScore, "f2"), Number(scores.ClipScoreTrue, "f2")],
                ["autoencoder's PSNR, dB", "", Number(scores.Decibels, "f2")],
            ]);
    }

    private static void Show(BindingScores scores)
    {
        Output.Table(
            ["states", "at", "direction", "held out", "chance", "partner's kind", "held out"],
            [
                .. scores.Probes.Select(probe => (IReadOnlyList<string>)
                [
                    probe.States, probe.Place, Number(probe.Direction, "f3"), Number(probe.DirectionHeldOut, "f3"),
                    Number(probe.DirectionChance, "f3"), Number(probe.PartnerKind, "f3"),
                    Number(probe.PartnerKindHeldOut, "f3"),
                ]),
            ]);
        Output.Table(
            ["noise level", "change of sign", "change of axis", "sign / axis"],
            [
                .. scores.Sensitivities.Select(one => (IReadOnlyList<string>)
                [
                    Number(one.Sigma, "0.#"), Number(one.Sign, "f4"), Number(one.Axis, "f4"), Number(one.Ratio, "f2"),
                ]),
            ]);
        Output.Line(
            $"The text encoder {(scores.IsBound ? "binds" : "does not bind")} directions to nouns: "
            + $"{BindingScores.DirectionMin} is needed at both, for held-out combinations.");
    }

    // Each task is a top-level property of the report, like "mean", so that scripts can read them by name.
    private static Dictionary<string, object> Report(
        ShapesScores scores, ModelFolder folder, ShapesEvaluationSettings settings)
    {
        var report = scores.Tasks.ToDictionary(
            task => task.Name,
            object (task) => new
            {
                task.Seen, task.HeldOut, task.Oracle, task.OracleSpoiled, task.OracleDecoded, task.Prompts,
            },
            StringComparer.Ordinal);
        report["mean"] = new { Seen = scores.MeanSeen, HeldOut = scores.MeanHeldOut };
        report["frechet"] = new { Generated = scores.Frechet, True = scores.FrechetTrue };
        report["clipScore"] = new { Generated = scores.ClipScore, True = scores.ClipScoreTrue };
        report["psnr"] = scores.Decibels;
        report["model"] = new { folder.Name, folder.Digest, folder.Resolution };
        report["settings"] = new
        {
            settings.Sampler.Steps, settings.Sampler.Guidance, settings.Sampler.SChurn, settings.Sampler.GuidanceLow,
            GuidanceHigh = double.IsFinite(settings.Sampler.GuidanceHigh)
                ? settings.Sampler.GuidanceHigh
                : (double?)null,
            settings.Seed,
            Prompts = scores.Tasks.Sum(task => 2 * task.Prompts),
        };
        return report;
    }

    private static void WriteSheets(string folder, List<JudgedPicture> pictures)
    {
        Directory.CreateDirectory(folder);
        foreach (IGrouping<string, JudgedPicture> group in pictures.GroupBy(
            p => $"{TaskScore.NameOf(p.Prompt.Task)}-{(p.Prompt.HeldOut ? "held-out" : "seen")}".ToLowerInvariant()))
        {
            JudgedPicture[] first = [.. group.Take(SheetPictures)];
            RgbImage sheet = PictureSheet.Join([.. first.Select(p => p.Image)], SheetColumns);
            using var png = new MemoryStream();
            Png.Write(png, sheet.Pixels, sheet.Width, sheet.Height, []);
            OutputFile.Write(Path.Combine(folder, group.Key + ".png"), png.ToArray());
            File.WriteAllLines(
                Path.Combine(folder, group.Key + ".txt"),
                first.Select((p, i) => string.Create(
                    CultureInfo.InvariantCulture,
                    $"row {i / SheetColumns + 1} column {i % SheetColumns + 1}  seed {p.Seed}  "
                    + $"{(p.Passed ? "passed" : "FAILED")}  {p.Prompt.Caption.Text}")));
        }
    }

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
