// atelier models: imports published weights as model folders; lists and inspects model folders.
using System.CommandLine;
using System.Globalization;
using Atelier.Model;
using Atelier.Model.Diffusion;
using Atelier.Model.Pipeline;
using Atelier.Model.Weights;

namespace Atelier.Cli.Commands;

internal static class ModelsCommand
{
    public static Command Create() =>
        new("models", "Imports, lists and inspects models; withdraws published ones.")
        {
            Import(), List(), Inspect(), ModelsUnpublishCommand.Create(),
        };

    private static Command Import()
    {
        var output = new Argument<DirectoryInfo>("DIR") { Description = "The model folder to create." };
        Option<FileInfo> denoiser = Choices.Path<FileInfo>(
            "--denoiser", "MicroDiT weights: .pt, .safetensors or an index of shards.", required: true);
        Option<FileInfo> denoiserConfig = Choices.Path<FileInfo>(
            "--denoiser-config",
            "MicroDiT's configuration as JSON, if the weights are not those of a published preset.");
        Option<DirectoryInfo> autoencoder = Choices.Path<DirectoryInfo>(
            "--autoencoder", "A VAE folder: config.json and diffusion_pytorch_model.safetensors (or .bin).",
            required: true);
        Option<FileInfo> clip = Choices.Path<FileInfo>(
            "--clip", "OpenCLIP weights: open_clip_pytorch_model.bin or .safetensors.", required: true);
        Option<FileInfo> clipConfig = Choices.Path<FileInfo>(
            "--clip-config", $"open_clip_config.json; without it {ModelFolder.PublishedClip} is assumed.");
        Option<FileInfo> vocabulary = Choices.Path<FileInfo>(
            "--vocabulary", "bpe_simple_vocab_16e6.txt.gz.", required: true);
        Option<string> name = Choices.Text("--name", "Name of the model; by default the folder's name.", "");
        Option<string> licence = Choices.Text("--licence", "License of the weights.", "not stated");
        Option<string> source = Choices.Text("--source", "Origin of the weights.", "not stated");
        Option<int> steps = Choices.Number(
            "--steps", 1, SamplerSettings.StepsMax, 30, "Default steps, 1 to 1000.");
        Option<double> guidance = Choices.Number(
            "--guidance", 1.0, 100, 5, "Default guidance, 1 (none) to 100.");
        Option<FileInfo> json = Choices.Json();
        var command = new Command(
            "import",
            "Creates a model folder from published files; checks the tensors' names, shapes and values, and runs every "
            + "part once.")
        {
            output, denoiser, denoiserConfig, autoencoder, clip, clipConfig, vocabulary,
            name, licence, source, steps, guidance, json,
        };
        command.SetAction((parsed, cancellation) =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            DirectoryInfo folder = parsed.GetRequiredValue(output);
            var files = new ModelImport.Files(
                folder, parsed.GetRequiredValue(denoiser), parsed.GetValue(denoiserConfig),
                parsed.GetRequiredValue(autoencoder), parsed.GetRequiredValue(clip), parsed.GetValue(clipConfig),
                parsed.GetRequiredValue(vocabulary), parsed.GetValue(name) is { Length: > 0 } given
                    ? given : folder.Name,
                parsed.GetValue(licence)!, parsed.GetValue(source)!, parsed.GetValue(steps), parsed.GetValue(guidance));
            ImportedPart[] parts = ModelImport.Run(files, cancellation);
            Output.Table(
                ["part", "taken from", "network", "tensors", "parameters", "type", "left out"],
                [.. parts.Select(part => (IReadOnlyList<string>)
                [
                    part.Part, Path.GetFileName(part.From), part.Network, Number(part.Tensors), Number(part.Parameters),
                    part.Type, Number(part.LeftOut),
                ])]);
            Output.Json(parsed.GetValue(json), parts);
            return Task.FromResult(0);
        });
        return command;
    }

    private static Command List()
    {
        var root = new Argument<DirectoryInfo>("DIR")
        {
            Description = "Folder that contains model folders.",
            DefaultValueFactory = _ => new DirectoryInfo(Home.At("models")),
        };
        Option<FileInfo> json = Choices.Json();
        var command = new Command("list", "Lists model folders.") { root, json };
        command.SetAction(parsed =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            DirectoryInfo folder = parsed.GetRequiredValue(root);
            if (!folder.Exists)
            {
                throw new UserErrorException($"There is no folder {folder}.");
            }

            var models = new List<ListedModel>();
            bool damaged = false;
            foreach (DirectoryInfo directory in folder.EnumerateDirectories()
                .OrderBy(d => d.Name, StringComparer.Ordinal)
                .Where(d => File.Exists(Path.Combine(d.FullName, ModelFolder.FileName))))
            {
                try
                {
                    models.Add(ListedModel.Of(directory, ModelFolder.Open(directory.FullName)));
                }
                catch (RefusedFileException error)
                {
                    // A damaged model must not hide the others.
                    Output.Remark($"atelier: {error.Message}");
                    damaged = true;
                }
            }

            Output.Table(
                ["folder", "name", "size", "MiB", "license", "digest"],
                [.. models.Select(m => (IReadOnlyList<string>)
                    [m.Folder, m.Name, m.Size, Number(m.Bytes >> 20), m.Licence, m.Digest[..12]])]);
            Output.Json(parsed.GetValue(json), models);
            return damaged ? 1 : 0;
        });
        return command;
    }

    private static Command Inspect()
    {
        var folder = new Argument<DirectoryInfo>("DIR") { Description = "A model folder." };
        Option<FileInfo> json = Choices.Json();
        var command = new Command(
            "inspect",
            "Shows the contents of a model folder, compares every file with its digest, and runs every part once.")
        {
            folder, json,
        };
        command.SetAction((parsed, cancellation) =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            ModelFolder model = ModelFolder.Open(parsed.GetRequiredValue(folder).FullName);
            string[] differing = [.. model.DifferingFiles()];

            // A file that differs from its digest may not even load.
            IReadOnlyList<NonFiniteException>? faults =
                differing.Length == 0 ? ModelProbe.Run(model, cancellation) : null;
            var files = model.Files.Select(file => new
            {
                file.Name,
                Bytes = new FileInfo(model.PathOf(file)).Length,
                Parameters = file == model.Vocabulary ? 0 : CountParameters(model.PathOf(file)),
                Digest = differing.Contains(file.Name) ? "DIFFERS" : "matches",
                InUse = InUse(model, file, faults),
            }).ToArray();
            Output.Line(
                $"{model.Name}: pictures of {model.Resolution}x{model.Resolution}; license {model.Licence}; "
                + $"source {model.Source}");
            Output.Line($"digest {model.Digest}");
            Output.Table(
                ["file", "bytes", "parameters", "digest"],
                [.. files.Select(
                    f => (IReadOnlyList<string>)[f.Name, Number(f.Bytes), Number(f.Parameters), f.Digest])]);
            string[] sentences = faults is null
                ? ["The model's parts were not run, because a file differs from its digest."]
                : faults.Count == 0 ? ["Every part returns finite numbers."]
                : [.. faults.Select(fault => fault.Of(model.Name))];
            Array.ForEach(sentences, Output.Line);
            Output.Json(parsed.GetValue(json), files);
            return Task.FromResult(faults is { Count: 0 } ? 0 : 1);
        });
        return command;
    }

    // The result shown for a file is that of the parts whose weights it holds.
    private static string InUse(ModelFolder model, ModelFile file, IReadOnlyList<NonFiniteException>? faults) =>
        faults is null || file == model.Vocabulary ? "not run"
        : faults.FirstOrDefault(fault => FileOf(model, fault.Part) == file) is { } found
            ? $"the {found.Part} gives {Finite.Name(found.Value)}"
        : file == model.Denoiser && faults.Any(fault => fault.Part == ModelParts.TextEncoder) ? "not run"
        : "finite";

    private static ModelFile FileOf(ModelFolder model, string part) => part switch
    {
        ModelParts.TextEncoder => model.TextEncoder,
        ModelParts.Denoiser => model.Denoiser,
        _ => model.Autoencoder,
    };

    private static long CountParameters(string path)
    {
        using IWeightSource source = WeightFile.Open(path);
        return source.Tensors.Values.Where(tensor => tensor.Type.IsFloat()).Sum(tensor => tensor.ElementCount);
    }

    private static string Number(long value) => value.ToString("n0", CultureInfo.InvariantCulture);

    private sealed record ListedModel(
        string Folder, string Name, string Size, long Bytes, string Licence, string Digest)
    {
        public static ListedModel Of(DirectoryInfo folder, ModelFolder model) => new(
            folder.Name, model.Name, $"{model.Resolution}x{model.Resolution}",
            model.Files.Sum(file => new FileInfo(model.PathOf(file)).Length), model.Licence, model.Digest);
    }
}
