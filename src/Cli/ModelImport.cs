// The import of published weights (by the authors of the reference implementation, Stability AI and the OpenCLIP
// project) into a model folder.
using System.Text.Json;
using System.Text.Json.Nodes;
using Atelier.Model;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Networks;
using Atelier.Model.Pipeline;
using Atelier.Model.Weights;
using TorchSharp;

namespace Atelier.Cli;

/// <summary>The result of importing one published file.</summary>
/// <param name="Part">Part of the model.</param>
/// <param name="From">The published file.</param>
/// <param name="Network">The network that was recognized.</param>
/// <param name="Tensors">Number of imported tensors.</param>
/// <param name="Parameters">Total number of elements of these tensors.</param>
/// <param name="Type">Data types of the floating-point tensors. Every tensor keeps its type.</param>
/// <param name="LeftOut">Number of tensors in the file that the model does not use.</param>
internal sealed record ImportedPart(
    string Part, string From, string Network, int Tensors, long Parameters, string Type, int LeftOut);

/// <summary>Imports published weights. The model folder appears only when it is complete.</summary>
internal static class ModelImport
{
    /// <summary>The files to import, and the model's metadata.</summary>
    public sealed record Files(
        DirectoryInfo Output, FileInfo Denoiser, FileInfo? DenoiserConfig, DirectoryInfo Autoencoder, FileInfo Clip,
        FileInfo? ClipConfig, FileInfo Vocabulary, string Name, string Licence, string Source, int Steps,
        double Guidance);

    // A position table stored in bfloat16 has errors of up to 2^-8; tables of different scales differ by far more.
    private const double PositionTolerance = 1.0 / 128;

    private static readonly string[] s_autoencoderFiles =
    [
        "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.bin",
    ];

    /// <summary>Reads, checks and writes all parts.</summary>
    /// <exception cref="UserErrorException">A file is missing, or the folder is in use.</exception>
    /// <exception cref="RefusedFileException">
    /// A file is damaged or of the wrong kind, or its network produces NaN or infinity.
    /// </exception>
    public static ImportedPart[] Run(Files files, CancellationToken cancellation)
    {
        // Cheap checks come before reading large files.
        CheckPaths(files);
        if (ModelFolder.NameFault(files.Name) is { } fault)
        {
            throw new UserErrorException($"--name {fault}");
        }

        JsonNode clipJson = ModelFolder.PublishedClip;
        ClipConfig clipConfig = ClipConfig.VitH14;
        if (files.ClipConfig is { } clipFile)
        {
            clipConfig = ClipConfig.Read(clipFile.FullName);
            clipJson = JsonNode.Parse(File.ReadAllBytes(clipFile.FullName))!;
        }

        string autoencoderJson = Path.Combine(files.Autoencoder.FullName, "config.json");
        AutoencoderConfig autoencoderConfig = AutoencoderConfig.Read(autoencoderJson);
        ClipTokenizer tokenizer = ClipTokenizer.Load(files.Vocabulary.FullName, clipConfig.Text);
        using IWeightSource denoiserSource = WeightFile.Open(files.Denoiser.FullName).FindModel("dit");
        MicroDiTConfig denoiserConfig = files.DenoiserConfig is null
            ? Recognize(denoiserSource)
            : ReadConfig(files.DenoiserConfig.FullName);
        using IWeightSource autoencoderSource = WeightFile.Open(FindAutoencoder(files.Autoencoder)).FindModel("vae");
        using IWeightSource clipSource = WeightFile.Open(files.Clip.FullName).FindModel("clip");
        using var network = new MicroDiT(denoiserConfig);
        using var autoencoder = new AutoencoderKL(autoencoderConfig);
        using var text = new ClipTextEncoder(clipConfig);
        return WriteFolder(files.Output, folder =>
        {
            (ImportedPart Part, JsonObject Entry) denoiser = Take(
                folder, "denoiser", network, denoiserSource, null, null, cancellation);
            (ImportedPart Part, JsonObject Entry) vae = Take(
                folder, "autoencoder", autoencoder, autoencoderSource, AutoencoderKL.CanonicalName,
                AutoencoderKL.CanonicalShape,
                cancellation);
            (ImportedPart Part, JsonObject Entry) encoder = Take(
                folder, "text_encoder", text, clipSource, ClipTextEncoder.CanonicalName, null, cancellation);
            denoiser.Entry["config"] = ToJson(denoiserConfig);
            vae.Entry["config"] = JsonNode.Parse(File.ReadAllBytes(autoencoderJson));
            encoder.Entry["config"] = clipJson;
            WriteManifest(folder, files, denoiser.Entry, vae.Entry, encoder.Entry);
            Probe(ModelFolder.Open(folder));
            return new[] { denoiser.Part, vae.Part, encoder.Part };
        });

        // All weights are finite by now; the networks' results must be finite too.
        void Probe(ModelFolder model)
        {
            network.eval();
            autoencoder.eval();
            text.eval();
            IReadOnlyList<NonFiniteException> faults =
                ModelProbe.Run(tokenizer, text, network, model.Edm, autoencoder, cancellation);
            if (faults is [var first, ..])
            {
                string file = first.Part switch
                {
                    ModelParts.TextEncoder => clipSource.Path,
                    ModelParts.Denoiser => denoiserSource.Path,
                    _ => autoencoderSource.Path,
                };
                throw new RefusedFileException(
                    file, first.Part,
                    $"produces {Finite.Name(first.Value)}: its weights are finite, but too large to compute with.");
            }
        }
    }

    private static void CheckPaths(Files files)
    {
        if (files.Output.Exists && files.Output.EnumerateFileSystemInfos().Any())
        {
            bool isModel = File.Exists(Path.Combine(files.Output.FullName, ModelFolder.FileName));
            throw new UserErrorException(
                $"{files.Output} already holds {(isModel ? "a model" : "files")}; use another folder, or remove "
                + "this one.");
        }

        (string Option, FileInfo? File)[] given =
        [
            ("--denoiser", files.Denoiser), ("--denoiser-config", files.DenoiserConfig), ("--clip", files.Clip),
            ("--clip-config", files.ClipConfig), ("--vocabulary", files.Vocabulary),
        ];
        foreach ((string option, FileInfo? file) in given)
        {
            if (file is { Exists: false })
            {
                throw new UserErrorException($"{option} is \"{file}\", but there is no such file.");
            }
        }

        if (!files.Autoencoder.Exists)
        {
            throw new UserErrorException($"--autoencoder is \"{files.Autoencoder}\", but there is no such folder.");
        }
    }

    // Everything is written to a temporary folder, which is renamed when it is complete.
    private static T WriteFolder<T>(DirectoryInfo folder, Func<string, T> write)
    {
        string path = Path.TrimEndingDirectorySeparator(folder.FullName), aside = WholeFile.Aside(path);
        if (Path.Exists(aside))
        {
            throw new UserErrorException(
                $"{aside} was left by an import that was interrupted or is still running; remove it first.");
        }

        Directory.CreateDirectory(aside);
        try
        {
            T result = write(aside);
            if (Directory.Exists(path))
            {
                Directory.Delete(path); // Only an empty folder can be replaced.
            }

            Directory.Move(aside, path);
            return result;
        }
        catch
        {
            Directory.Delete(aside, recursive: true);
            throw;
        }
    }

    private static (ImportedPart Part, JsonObject Entry) Take(
        string folder, string part, torch.nn.Module module, IWeightSource source, Func<string, string?>? rename,
        Func<string, long[], long[]>? reshape, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        StrictLoader.Load(module, source, rename, reshape, checkFinite: true);
        var types = source.Tensors.Values.Where(tensor => rename is null || rename(tensor.Name) is not null)
            .ToDictionary(tensor => rename?.Invoke(tensor.Name) ?? tensor.Name, tensor => tensor.Type);
        string name = $"{part}.safetensors", path = Path.Combine(folder, name);
        StateDictFile.Save(module, path, (tensor, _) => types[tensor]);
        int kept = module.state_dict().Count;
        long parameters = module.parameters().Sum(parameter => parameter.numel());
        IEnumerable<string> floats = types.Values.Where(type => type.IsFloat()).Select(type => type.Code());
        return (
            new ImportedPart(
                part, source.Path, module.GetName(), kept, parameters, string.Join(", ", floats.Distinct().Order()),
                source.Tensors.Count - kept),
            new JsonObject { ["file"] = name, ["sha256"] = WeightDigest.OfFile(path) });
    }

    private static void WriteManifest(
        string folder, Files files, JsonObject denoiser, JsonObject autoencoder, JsonObject text)
    {
        const string vocabulary = "vocabulary.txt.gz";
        string path = Path.Combine(folder, vocabulary);
        File.Copy(files.Vocabulary.FullName, path);
        ModelFolder.WriteManifest(folder, new JsonObject
        {
            ["format"] = 1,
            ["name"] = files.Name,
            ["licence"] = files.Licence,
            ["source"] = files.Source,
            ["denoiser"] = denoiser,
            ["autoencoder"] = autoencoder,
            ["text_encoder"] = text,
            ["vocabulary"] = new JsonObject { ["file"] = vocabulary, ["sha256"] = WeightDigest.OfFile(path) },
            ["defaults"] = new JsonObject { ["steps"] = files.Steps, ["guidance"] = files.Guidance },
        });
    }

    // The tensors' shapes determine preset, channels and resolution; the position table determines the interpolation
    // scale.
    private static MicroDiTConfig Recognize(IWeightSource source)
    {
        if (!source.Tensors.TryGetValue("x_embedder.proj.weight", out TensorInfo? patches)
            || !source.Tensors.TryGetValue("pos_embed", out TensorInfo? positions)
            || !source.Tensors.TryGetValue("y_embedder.y_proj.fc1.weight", out TensorInfo? captions)
            || patches.Shape.Length != 4 || positions.Shape.Length != 3 || !positions.Type.IsFloat()
            || captions.Shape.Length != 2)
        {
            throw new RefusedFileException(
                source.Path, "state dict", "is not a MicroDiT's: its embeddings are missing.");
        }

        string? preset = patches.Shape[0] switch { 1024 => "XL_2", 512 => "Tiny_2", _ => null };
        int grid = (int)Math.Sqrt(positions.Shape[1]);
        if (preset is null || grid is < 1 or > 1024 || grid * grid != positions.Shape[1]
            || positions.Shape[2] != patches.Shape[0])
        {
            throw new RefusedFileException(
                source.Path, "state dict",
                "does not match a published preset; give its configuration with --denoiser-config.");
        }

        using torch.Tensor table = source.ReadTensor(positions.Name), numbers = table.to(torch.ScalarType.Float64);
        double[] stored = numbers.data<double>().ToArray();
        foreach (double scale in new[] { 1.0, 2.0, 4.0 })
        {
            float[] expected = PositionTable.Build((int)patches.Shape[0], grid, scale, grid);
            if (expected.Zip(stored).All(pair => Math.Abs(pair.First - pair.Second) < PositionTolerance))
            {
                return MicroDiTConfig.Preset(preset, grid * 2, (int)patches.Shape[1], (int)captions.Shape[1], scale);
            }
        }

        throw new RefusedFileException(
            source.Path, "pos_embed",
            "is not a table of this size at scale 1, 2 or 4; give the configuration with --denoiser-config.");
    }

    private static MicroDiTConfig ReadConfig(string path)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path));
            return MicroDiTConfig.FromJson(document.RootElement);
        }
        catch (Exception error) when (error is JsonException or ArgumentException or InvalidOperationException)
        {
            throw new RefusedFileException(path, "configuration", error.Message, error);
        }
    }

    private static JsonNode ToJson(MicroDiTConfig config)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
        {
            config.WriteJson(writer);
        }

        return JsonNode.Parse(stream.ToArray())!;
    }

    private static string FindAutoencoder(DirectoryInfo folder) =>
        s_autoencoderFiles.Select(name => Path.Combine(folder.FullName, name)).FirstOrDefault(File.Exists)
        ?? throw new UserErrorException($"{folder} does not contain any of {string.Join(", ", s_autoencoderFiles)}.");
}
