// atelier data: turns captioned pictures into training data.
using System.CommandLine;
using System.Globalization;
using Atelier.Model;
using Atelier.Model.Data;
using Atelier.Model.Data.Mds;
using Atelier.Model.Data.Sources;
using Atelier.Model.Pipeline;
using Atelier.Model.Runtime;
using Atelier.Shapes.Making;
using TorchSharp;

namespace Atelier.Cli.Commands;

internal static class DataCommand
{
    private const long ScenesMax = 1_000_000_000;

    public static Command Create() => new("data", "Prepares and inspects data sets.") { Precompute(), Inspect() };

    private static Command Precompute()
    {
        var output = new Argument<DirectoryInfo>("DIR")
        {
            Description = "Folder for the latents; if the command is repeated, it resumes where it stopped.",
        };
        Option<DirectoryInfo> pictures = Choices.Path<DirectoryInfo>(
            "--pictures",
            "An MDS data set with a text and a picture column, or a folder of pictures and caption files.");
        Option<long?> shapes = Choices.NumberOrNone(
            "--shapes", 1, ScenesMax, "Encode this many scenes of the demo world, instead of --pictures.");
        Option<string?> captionColumn = Choices.CaptionColumn(), pictureColumn = Choices.PictureColumn();
        Option<DirectoryInfo> model = Choices.Path<DirectoryInfo>(
            "--model", "A model folder, or a folder with only the encoders of a model.", required: true);
        var sizes = new Option<int[]>("--size")
        {
            HelpName = "N",
            Description = "Side lengths, in pixels, at which pictures are encoded.",
            AllowMultipleArgumentsPerToken = true,
            Required = true,
        };
        Option<ulong> seed = Choices.Number<ulong>(
            "--seed", 0, ulong.MaxValue, 18,
            "Seed for sampling latents from their distributions, and for the demo world.");
        Option<int?> workers = Choices.NumberOrNone(
            "--workers", 1, 256,
            "Number of threads, each of which computes one part of the data set; by default one per core.");
        Option<string> compute = Choices.Precision("--compute", "Precision of the networks.");
        Option<FileInfo> json = Choices.Json();
        var command = new Command("precompute", "Encodes captioned pictures into latents and caption features.")
        {
            output, pictures, captionColumn, pictureColumn, shapes, model, sizes, seed, workers, compute, json,
        };
        command.SetAction((parsed, cancellation) =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            var columns = new PictureColumns(parsed.GetValue(captionColumn), parsed.GetValue(pictureColumn));
            ICaptionedPictures source = Open(
                parsed.GetValue(pictures), columns, parsed.GetValue(shapes), parsed.GetValue(seed));
            using var owned = source as IDisposable;
            var stored = source as StoredPictures;
            if (stored is not null)
            {
                ReportOrigin(stored, parsed.GetValue(pictures)!);
            }

            using Encoders encoders = Encoders.Load(parsed.GetRequiredValue(model).FullName);
            torch.ScalarType precision = Precision.Parse(parsed.GetRequiredValue(compute));
            encoders.Autoencoder.to(precision);
            encoders.Text.to(precision);
            var run = new Precompute(
                source, encoders.Autoencoder, encoders.Text, encoders.Tokenizer, parsed.GetRequiredValue(sizes),
                parsed.GetValue(seed));
            DirectoryInfo folder = parsed.GetRequiredValue(output);
            IReadOnlyList<SkippedPicture> skipped = Output.WithProgress("encoding", progress => run.Run(
                folder.FullName, parsed.GetValue(workers) ?? Environment.ProcessorCount,
                done => progress((double)done / source.Count), cancellation));
            SkippedPictures.Report(skipped, folder.FullName);
            ReportTruncated(run.Cut);
            string origin = stored is null ? "" : $": {Describe(stored)}";
            Output.Line($"{source.Count - skipped.Count} samples in {folder}{origin}");
            Output.Json(parsed.GetValue(json), new
            {
                Samples = source.Count - skipped.Count, stored?.Taken, stored?.PassedOver, Skipped = skipped, run.Cut,
            });
            return Task.FromResult(0);
        });
        return command;
    }

    /// <summary>Reports the origin of pictures and captions, and the ignored files of the folder.</summary>
    public static void ReportOrigin(StoredPictures pictures, DirectoryInfo folder)
    {
        Output.Remark($"{folder}: {Describe(pictures)}");
    }

    private static string Describe(StoredPictures pictures) =>
        pictures.PassedOver.Count == 0 ? pictures.Taken : $"{pictures.Taken}; ignored {pictures.PassedOver}";

    /// <summary>Warns about the first truncated captions, and reports their number.</summary>
    public static void ReportTruncated(CutCaptions cut)
    {
        foreach (CutCaption caption in cut.First)
        {
            Output.Remark($"warning: {caption.Tokens.Warning($"caption of picture {caption.Picture}")}");
        }

        if (cut.Count > 0)
        {
            Output.Remark($"{cut.Count} captions were too long for the text encoder and were truncated");
        }
    }

    private static Command Inspect()
    {
        var folder = new Argument<DirectoryInfo>("DIR") { Description = "An MDS data set." };
        Option<FileInfo> json = Choices.Json();
        var command = new Command("inspect", "Shows the contents of a data set.") { folder, json };
        command.SetAction(parsed =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            MdsIndex index = MdsIndex.Read(parsed.GetRequiredValue(folder).FullName);
            var columns = index.Columns.Select(column => new { column.Name, Encoding = column.Encoding.Name })
                .ToArray();
            var choice = new PictureColumns();
            (string? Name, string Text) captions = Chosen(() => choice.CaptionOf(index)),
                pictures = Chosen(() => choice.PictureOf(index));
            Output.Line(string.Create(
                CultureInfo.InvariantCulture, $"{index.Samples:n0} samples in {index.Shards.Count:n0} shards"));
            Output.Table(["column", "encoding"], [.. columns.Select(c => (IReadOnlyList<string>)[c.Name, c.Encoding])]);
            Output.Line($"caption column: {captions.Text}");
            Output.Line($"picture column: {pictures.Text}");
            Output.Json(parsed.GetValue(json), new
            {
                index.Samples, Shards = index.Shards.Count, Columns = columns, CaptionColumn = captions.Name,
                PictureColumn = pictures.Name,
            });
            return 0;
        });
        return command;

        // The column that commands would choose, or the reason why they cannot choose one.
        static (string? Name, string Text) Chosen(Func<MdsColumn> choose)
        {
            try
            {
                string name = choose().Name;
                return (name, name);
            }
            catch (RefusedFileException refusal)
            {
                return (null, refusal.Reason);
            }
        }
    }

    private static ICaptionedPictures Open(DirectoryInfo? pictures, PictureColumns columns, long? shapes, ulong seed)
    {
        if (pictures is null == shapes is null)
        {
            throw new UserErrorException("Give either --pictures DIR or --shapes N.");
        }

        if (pictures is not null)
        {
            return StoredPictures.Open(pictures.FullName, columns);
        }

        return (columns.Caption ?? columns.Picture) is { } column
            ? throw new UserErrorException($"The demo world has no columns: omit the option for the column {column}.")
            : new ShapesPictures(seed, shapes!.Value);
    }
}
