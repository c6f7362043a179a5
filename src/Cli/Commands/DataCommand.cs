// atelier data: captioned pictures become training data.
using System.CommandLine;
using System.Globalization;
using Atelier.Model.Data;
using Atelier.Model.Pipeline;
using Atelier.Shapes;
using TorchSharp;

namespace Atelier.Cli.Commands;

internal static class DataCommand
{
    public static Command Create() => new("data", "Prepares and looks into data sets.") { Precompute(), Inspect() };

    private static Command Precompute()
    {
        var output = new Argument<DirectoryInfo>("dir") { Description = "Receives the latents; the same command again goes on where it stopped." };
        var pictures = new Option<DirectoryInfo?>("--pictures") { Description = "An MDS data set with a text and a picture column, or a folder of pictures with captions beside them." };
        var shapes = new Option<long>("--shapes") { Description = "Instead of --pictures: this many scenes of the demo world." };
        var model = new Option<DirectoryInfo>("--model") { Description = "A model folder, or one that holds its encoders.", Required = true };
        var sizes = new Option<int[]>("--size") { Description = "Sides at which pictures are encoded.", AllowMultipleArgumentsPerToken = true, Required = true };
        var seed = new Option<ulong>("--seed") { Description = "Seed of the draws from latents' distributions, and of the demo world.", DefaultValueFactory = _ => 18 };
        Option<int?> workers = Choices.NumberOrNone(
            "--workers", 1, 256, "Parts made at the same time, each by one thread; by default one a core.");
        Option<string> compute = Choices.Word("--compute", "Precision of the networks.", "bfloat16", "float32");
        var command = new Command("precompute", "Encodes captioned pictures into latents and caption features.")
        {
            output, pictures, shapes, model, sizes, seed, workers, compute,
        };
        command.SetAction((parsed, cancellation) =>
        {
            ICaptionedPictures source = Open(parsed.GetValue(pictures), parsed.GetValue(shapes), parsed.GetValue(seed));
            using var owned = source as IDisposable;
            using Encoders encoders = Encoders.Load(parsed.GetRequiredValue(model).FullName);
            if (parsed.GetValue(compute) == "bfloat16")
            {
                encoders.Autoencoder.to(torch.ScalarType.BFloat16);
                encoders.Text.to(torch.ScalarType.BFloat16);
            }

            var run = new Precompute(
                source, encoders.Autoencoder, encoders.Text, encoders.Tokenizer, parsed.GetRequiredValue(sizes), parsed.GetValue(seed));
            DirectoryInfo folder = parsed.GetRequiredValue(output);
            Output.WithProgress("encoding", progress =>
            {
                run.Run(folder.FullName, parsed.GetValue(workers) ?? Environment.ProcessorCount, done => progress((double)done / source.Count), cancellation);
                return true;
            });
            Output.Line($"{source.Count} samples in {folder}");
            return Task.FromResult(0);
        });
        return command;
    }

    private static Command Inspect()
    {
        var folder = new Argument<DirectoryInfo>("dir") { Description = "An MDS data set." };
        var json = new Option<FileInfo?>("--json") { Description = "Also write the table to this file." };
        var command = new Command("inspect", "Shows what a data set holds.") { folder, json };
        command.SetAction(parsed =>
        {
            MdsIndex index = MdsIndex.Read(parsed.GetRequiredValue(folder).FullName);
            var columns = index.Columns.Select(column => new { column.Name, Encoding = column.Encoding.Name }).ToArray();
            Output.Line(string.Create(CultureInfo.InvariantCulture, $"{index.Samples:n0} samples in {index.Shards.Count:n0} shards"));
            Output.Table(["column", "encoding"], [.. columns.Select(c => (IReadOnlyList<string>)[c.Name, c.Encoding])]);
            Output.Json(parsed.GetValue(json), new { index.Samples, Shards = index.Shards.Count, Columns = columns });
            return 0;
        });
        return command;
    }

    private static ICaptionedPictures Open(DirectoryInfo? pictures, long shapes, ulong seed)
    {
        if (pictures is null == (shapes <= 0))
        {
            throw new UserErrorException("Give either --pictures DIR or --shapes N with N above 0.");
        }

        return pictures is null ? new ShapesPictures(seed, shapes)
            : File.Exists(Path.Combine(pictures.FullName, MdsIndex.FileName)) ? new MdsPictures(pictures.FullName)
            : new FolderPictures(pictures.FullName);
    }
}
