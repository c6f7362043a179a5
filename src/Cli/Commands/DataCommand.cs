// atelier data: captioned pictures become training data.
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

    public static Command Create() => new("data", "Prepares and looks into data sets.") { Precompute(), Inspect() };

    private static Command Precompute()
    {
        var output = new Argument<DirectoryInfo>("DIR")
        {
            Description = "Receives the latents; the same command again resumes where it stopped.",
        };
        Option<DirectoryInfo> pictures = Choices.Path<DirectoryInfo>(
            "--pictures",
            "An MDS data set with a text and a picture column, or a folder of pictures with captions beside them.");
        Option<long?> shapes = Choices.NumberOrNone(
            "--shapes", 1, ScenesMax, "Instead of --pictures: this many scenes of the demo world.");
        Option<string?> captionColumn = Choices.CaptionColumn(), pictureColumn = Choices.PictureColumn();
        Option<DirectoryInfo> model = Choices.Path<DirectoryInfo>(
            "--model", "A model folder, or one that holds its encoders.", required: true);
        var sizes = new Option<int[]>("--size")
        {
            HelpName = "N",
            Description = "Sides at which pictures are encoded.",
            AllowMultipleArgumentsPerToken = true,
            Required = true,
        };
        Option<ulong> seed = Choices.Number<ulong>(
            "--seed", 0, ulong.MaxValue, 18, "Seed of the draws from latents' distributions, and of the demo world.");
        Option<int?> workers = Choices.NumberOrNone(
            "--workers", 1, 256, "Parts made at the same time, each by one thread; by default one a core.");
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
                TellTaken(stored, parsed.GetValue(pictures)!);
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
            TellSkipped(skipped, folder.FullName);
            TellCut(run.Cut);
            string told = stored is null ? "" : $": {Said(stored)}";
            Output.Line($"{source.Count - skipped.Count} samples in {folder}{told}");
            Output.Json(parsed.GetValue(json), new
            {
                Samples = source.Count - skipped.Count, stored?.Taken, stored?.PassedOver, Skipped = skipped,
            });
            return Task.FromResult(0);
        });
        return command;
    }

    /// <summary>Says where captions and pictures are taken from, and what of the folder is passed over.</summary>
    public static void TellTaken(StoredPictures pictures, DirectoryInfo folder)
    {
        Output.Remark($"{folder}: {Said(pictures)}");
    }

    private static string Said(StoredPictures pictures) =>
        pictures.PassedOver.Count == 0 ? pictures.Taken : $"{pictures.Taken}; passed over {pictures.PassedOver}";

    /// <summary>Names the first pictures that were skipped, and where the others stand.</summary>
    public static void TellSkipped(IReadOnlyList<SkippedPicture> skipped, string folder)
    {
        const int named = 20;
        foreach (SkippedPicture picture in skipped.Take(named))
        {
            Output.Remark($"picture {picture.Picture} is skipped: its {picture.Column} would hold {picture.Value}");
        }

        if (skipped.Count > 0)
        {
            string list = Path.Combine(folder, Model.Data.Precompute.SkippedFile);
            Output.Remark($"{skipped.Count} pictures are skipped; {list} lists them");
        }
    }

    private static void TellCut(CutCaptions cut)
    {
        foreach (CutCaption caption in cut.First)
        {
            Output.Remark($"warning: {caption.Tokens.Warning($"caption of picture {caption.Picture}")}");
        }

        if (cut.Count > 0)
        {
            Output.Remark($"{cut.Count} captions are longer than the text encoder takes, and were cut");
        }
    }

    private static Command Inspect()
    {
        var folder = new Argument<DirectoryInfo>("DIR") { Description = "An MDS data set." };
        Option<FileInfo> json = Choices.Json();
        var command = new Command("inspect", "Shows what a data set holds.") { folder, json };
        command.SetAction(parsed =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            MdsIndex index = MdsIndex.Read(parsed.GetRequiredValue(folder).FullName);
            var columns = index.Columns.Select(column => new { column.Name, Encoding = column.Encoding.Name })
                .ToArray();
            var choice = new PictureColumns();
            (string? Name, string Said) captions = Chosen(() => choice.CaptionOf(index)),
                pictures = Chosen(() => choice.PictureOf(index));
            Output.Line(string.Create(
                CultureInfo.InvariantCulture, $"{index.Samples:n0} samples in {index.Shards.Count:n0} shards"));
            Output.Table(["column", "encoding"], [.. columns.Select(c => (IReadOnlyList<string>)[c.Name, c.Encoding])]);
            Output.Line($"caption column: {captions.Said}");
            Output.Line($"picture column: {pictures.Said}");
            Output.Json(parsed.GetValue(json), new
            {
                index.Samples, Shards = index.Shards.Count, Columns = columns, CaptionColumn = captions.Name,
                PictureColumn = pictures.Name,
            });
            return 0;
        });
        return command;

        // What the commands that read pictures take, or why they would ask.
        static (string? Name, string Said) Chosen(Func<MdsColumn> choose)
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
            ? throw new UserErrorException($"The demo world has no columns, and {column} names none: leave it out.")
            : new ShapesPictures(seed, shapes!.Value);
    }
}
