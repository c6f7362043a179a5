// Makes a model folder from the files that the reference's authors, Stability AI and the OpenCLIP project publish.
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

/// <summary>What was taken from one published file.</summary>
/// <param name="Part">Part of the model.</param>
/// <param name="From">The published file.</param>
/// <param name="Network">What it turned out to hold.</param>
/// <param name="Tensors">Tensors taken.</param>
/// <param name="Parameters">Numbers in them.</param>
/// <param name="Type">Type they are stored in.</param>
/// <param name="LeftOut">Tensors of the file that the model has no use for.</param>
internal sealed record ImportedPart(
    string Part, string From, string Network, int Tensors, long Parameters, string Type, int LeftOut);

/// <summary>Imports published weights. The folder is a model only when all of it is written.</summary>
internal static class ModelImport
{
    /// <summary>What to import, and what to say of it.</summary>
    public sealed record Files(
        DirectoryInfo Output, FileInfo Denoiser, FileInfo? DenoiserConfig, DirectoryInfo Autoencoder, FileInfo Clip,
        FileInfo? ClipConfig, FileInfo Vocabulary, string Name, string Licence, string Source, int Steps, double Guidance);

    private const int VocabularyBytesMax = 64 << 20;

    private static readonly string[] s_autoencoderFiles =
        ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.bin"];

    /// <summary>Reads, checks and writes all parts.</summary>
    /// <exception cref="UserErrorException">A file is missing, or the folder holds a model already.</exception>
    /// <exception cref="RefusedFileException">A file is damaged, or is not what it was given as.</exception>
    public static ImportedPart[] Run(Files files)
    {
        if (File.Exists(Path.Combine(files.Output.FullName, ModelFolder.FileName)))
        {
            throw new UserErrorException($"{files.Output} holds a model already; choose another folder, or remove that one.");
        }

        foreach (FileInfo file in new[] { files.Denoiser, files.Clip, files.Vocabulary }.Where(file => !file.Exists))
        {
            throw new UserErrorException($"There is no file {file}.");
        }

        // Small things are checked before large files are read.
        JsonNode? clipJson = files.ClipConfig is null ? ModelFolder.PublishedClip : JsonNode.Parse(File.ReadAllBytes(files.ClipConfig.FullName));
        ClipConfig clipConfig = files.ClipConfig is null ? ClipConfig.VitH14 : ClipConfig.Read(files.ClipConfig.FullName);
        string autoencoderFile = FindAutoencoder(files.Autoencoder);
        string autoencoderJson = Path.Combine(files.Autoencoder.FullName, "config.json");
        AutoencoderConfig autoencoderConfig = AutoencoderConfig.Read(autoencoderJson);
        if (files.Vocabulary.Length > VocabularyBytesMax)
        {
            throw new RefusedFileException(files.Vocabulary.FullName, "length", $"is above {VocabularyBytesMax} bytes.");
        }

        ClipTokenizer tokenizer = ClipTokenizer.Load(files.Vocabulary.FullName, clipConfig.Text.ContextLength);
        if (tokenizer.VocabularySize != clipConfig.Text.VocabSize)
        {
            throw new RefusedFileException(
                files.Vocabulary.FullName, "merges",
                $"give {tokenizer.VocabularySize} tokens, but the text encoder knows {clipConfig.Text.VocabSize}.");
        }

        Directory.CreateDirectory(files.Output.FullName);
        using IWeightSource denoiserSource = WeightFile.Open(files.Denoiser.FullName).FindModel("dit");
        MicroDiTConfig denoiserConfig = files.DenoiserConfig is null
            ? Recognise(denoiserSource)
            : ReadConfig(files.DenoiserConfig.FullName);
        using var network = new MicroDiT(denoiserConfig);
        using var autoencoder = new AutoencoderKL(autoencoderConfig);
        using var text = new ClipTextEncoder(clipConfig);
        using IWeightSource autoencoderSource = WeightFile.Open(autoencoderFile);
        using IWeightSource clipSource = WeightFile.Open(files.Clip.FullName);
        (ImportedPart Part, JsonObject Entry) denoiser = Take(files, "denoiser", network, denoiserSource, null);
        (ImportedPart Part, JsonObject Entry) vae = Take(
            files, "autoencoder", autoencoder, autoencoderSource, AutoencoderKL.CanonicalName);
        (ImportedPart Part, JsonObject Entry) encoder = Take(
            files, "text_encoder", text, clipSource, ClipTextEncoder.CanonicalName);
        denoiser.Entry["config"] = ToJson(denoiserConfig);
        vae.Entry["config"] = JsonNode.Parse(File.ReadAllBytes(autoencoderJson));
        encoder.Entry["config"] = clipJson;
        WriteManifest(files, denoiser.Entry, vae.Entry, encoder.Entry);
        ModelFolder.Open(files.Output.FullName);
        return [denoiser.Part, vae.Part, encoder.Part];
    }

    private static (ImportedPart Part, JsonObject Entry) Take(
        Files files, string part, torch.nn.Module module, IWeightSource source, Func<string, string?>? rename)
    {
        StrictLoader.Load(module, source, rename, checkFinite: true);
        ElementType type = source.Tensors.Values.First(tensor => tensor.Type.IsFloat()).Type;
        string name = $"{part}.safetensors", path = Path.Combine(files.Output.FullName, name);
        StateDictFile.Save(module, path, type);
        int kept = module.state_dict().Count;
        long parameters = module.parameters().Sum(parameter => parameter.numel());
        return (
            new ImportedPart(part, source.Path, module.GetName(), kept, parameters, type.Code(), source.Tensors.Count - kept),
            new JsonObject { ["file"] = name, ["sha256"] = WeightDigest.OfFile(path) });
    }

    private static void WriteManifest(Files files, JsonObject denoiser, JsonObject autoencoder, JsonObject text)
    {
        const string vocabulary = "vocabulary.txt.gz";
        string path = Path.Combine(files.Output.FullName, vocabulary);
        File.Copy(files.Vocabulary.FullName, path, overwrite: true);
        ModelFolder.WriteManifest(files.Output.FullName, new JsonObject
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

    // The shapes tell preset, channels and resolution; the position table tells how far it was interpolated.
    private static MicroDiTConfig Recognise(IWeightSource source)
    {
        if (!source.Tensors.TryGetValue("x_embedder.proj.weight", out TensorInfo? patches)
            || !source.Tensors.TryGetValue("pos_embed", out TensorInfo? positions)
            || !source.Tensors.TryGetValue("y_embedder.y_proj.fc1.weight", out TensorInfo? captions)
            || patches.Shape.Length != 4 || positions.Shape.Length != 3 || positions.Type != ElementType.Float32 || captions.Shape.Length != 2)
        {
            throw new RefusedFileException(source.Path, "state dict", "is not that of a MicroDiT: its embeddings are missing.");
        }

        string? preset = patches.Shape[0] switch { 1024 => "XL_2", 512 => "Tiny_2", _ => null };
        int grid = (int)Math.Sqrt(positions.Shape[1]);
        if (preset is null || grid is < 1 or > 1024 || grid * grid != positions.Shape[1] || positions.Shape[2] != patches.Shape[0])
        {
            throw new RefusedFileException(
                source.Path, "state dict", "is of no published preset; give its arguments with --denoiser-config.");
        }

        var stored = new float[positions.ElementCount];
        source.ReadInto("pos_embed", System.Runtime.InteropServices.MemoryMarshal.AsBytes(stored.AsSpan()));
        foreach (double scale in new[] { 1.0, 2.0, 4.0 })
        {
            float[] table = PositionTable.Build((int)patches.Shape[0], grid, scale, grid);
            if (table.Zip(stored).All(pair => Math.Abs(pair.First - pair.Second) < 1e-3))
            {
                return MicroDiTConfig.Preset(preset, grid * 2, (int)patches.Shape[1], (int)captions.Shape[1], scale);
            }
        }

        throw new RefusedFileException(
            source.Path, "pos_embed", "is not a table of this size at scale 1, 2 or 4; give the arguments with --denoiser-config.");
    }

    private static MicroDiTConfig ReadConfig(string path)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path));
            return MicroDiTConfig.FromJson(document.RootElement);
        }
        catch (Exception error) when (error is JsonException or ArgumentException)
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
        ?? throw new UserErrorException($"{folder} holds none of {string.Join(", ", s_autoencoderFiles)}.");
}
