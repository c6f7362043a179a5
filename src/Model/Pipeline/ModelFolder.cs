// A model on disk: model.json describes its networks; the weights are safetensors files beside it.
using System.Security.Cryptography;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Configuration;
using Atelier.Model.Diffusion;
using Atelier.Model.Networks;

namespace Atelier.Model.Pipeline;

/// <summary>A file of a model folder.</summary>
/// <param name="Name">Name of the file, without a path.</param>
/// <param name="Sha256">SHA-256 of its bytes, hexadecimal.</param>
public sealed record ModelFile(string Name, string Sha256);

/// <summary>The contents of a model folder's model.json.</summary>
public sealed record ModelFolder
{
    /// <summary>Name of the manifest.</summary>
    public const string FileName = "model.json";

    /// <summary>Name by which a manifest may refer to the published CLIP configuration instead of listing it.</summary>
    public const string PublishedClip = "ViT-H-14-378-quickgelu";

    /// <summary>Maximum length of a model's name, in characters.</summary>
    public const int NameLengthMax = LineLengthMax;

    private const int LineLengthMax = 1000;

    private static readonly JsonSerializerOptions s_readable =
        new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Path of the folder.</summary>
    public required string Path { get; init; }

    /// <summary>Name of the model.</summary>
    public required string Name { get; init; }

    /// <summary>License of the weights.</summary>
    public required string Licence { get; init; }

    /// <summary>Origin of the weights.</summary>
    public required string Source { get; init; }

    /// <summary>Identity of the model: SHA-256 of the manifest, which holds the digests of all files.</summary>
    public required string Digest { get; init; }

    /// <summary>Weights of the denoising network.</summary>
    public required ModelFile Denoiser { get; init; }

    /// <summary>Architecture of the denoising network.</summary>
    public required MicroDiTConfig DenoiserConfig { get; init; }

    /// <summary>Preconditioning of the denoising network.</summary>
    public required Edm Edm { get; init; }

    /// <summary>Weights of the autoencoder.</summary>
    public required ModelFile Autoencoder { get; init; }

    /// <summary>Architecture of the autoencoder.</summary>
    public required AutoencoderConfig AutoencoderConfig { get; init; }

    /// <summary>Weights of the text encoder; the file may hold the image encoder too.</summary>
    public required ModelFile TextEncoder { get; init; }

    /// <summary>Architecture of the CLIP model that the text encoder belongs to.</summary>
    public required ClipConfig ClipConfig { get; init; }

    /// <summary>Byte-pair merges of the tokenizer.</summary>
    public required ModelFile Vocabulary { get; init; }

    /// <summary>Default number of steps.</summary>
    public required int Steps { get; init; }

    /// <summary>Default guidance scale.</summary>
    public required double Guidance { get; init; }

    /// <summary>Side of this model's pictures, in pixels.</summary>
    public int Resolution => DenoiserConfig.InputSize * AutoencoderConfig.Factor;

    /// <summary>All files of the model except the manifest.</summary>
    public IEnumerable<ModelFile> Files => [Denoiser, Autoencoder, TextEncoder, Vocabulary];

    /// <summary>Path of a file of the model.</summary>
    public string PathOf(ModelFile file) => System.IO.Path.Combine(Path, file.Name);

    /// <summary>
    /// Reads a manifest and checks that it is complete, that its networks fit each other and that its files exist.
    /// </summary>
    /// <exception cref="RefusedFileException">
    /// A member or file is missing, a member is unknown, or the networks do not fit each other.
    /// </exception>
    public static ModelFolder Open(string path)
    {
        string manifest = System.IO.Path.Combine(path, FileName);
        if (!File.Exists(manifest))
        {
            throw new RefusedFileException(
                path, FileName,
                Directory.Exists(path)
                    ? "is missing, so the folder is not a model." : "is missing: the folder does not exist.");
        }

        ModelFolder folder = ReadManifest(manifest);
        foreach (ModelFile file in folder.Files)
        {
            if (!File.Exists(folder.PathOf(file)))
            {
                throw new RefusedFileException(
                    manifest, file.Name, "is listed here, but the file is not in the folder.");
            }
        }

        return folder;
    }

    /// <summary>Reads a manifest; the files that it lists may be absent.</summary>
    /// <param name="manifest">The manifest's file, in the model's folder.</param>
    /// <exception cref="RefusedFileException">The file is not a manifest; the message says why.</exception>
    public static ModelFolder ReadManifest(string manifest) => ConfigFields.ReadFile(
        manifest, (root, file) => Parse(root, file, System.IO.Path.GetDirectoryName(manifest)!));

    /// <summary>Compares every file with its digest, and returns the names of the files that differ.</summary>
    public IEnumerable<string> DifferingFiles() => Files
        .Where(file => Weights.WeightDigest.OfFile(PathOf(file)) != file.Sha256)
        .Select(file => file.Name);

    /// <summary>
    /// Writes a manifest through a temporary file, so that a folder is a model only when it is complete.
    /// </summary>
    /// <param name="path">The folder, which already holds the files.</param>
    /// <param name="manifest">Content in the form that <see cref="Open"/> reads.</param>
    public static void WriteManifest(string path, JsonObject manifest)
    {
        ArgumentNullException.ThrowIfNull(manifest);
        WholeFile.WriteText(System.IO.Path.Combine(path, FileName), manifest.ToJsonString(s_readable) + "\n");
    }

    /// <summary>
    /// The reason why a model's name is not valid, as the rest of a sentence about the name; null if the name is valid.
    /// In the API, the name is the last part of a URL.
    /// </summary>
    public static string? NameFault(string name) => name switch
    {
        { Length: 0 or > LineLengthMax } => $"must have 1 to {LineLengthMax} characters.",
        _ when name.Any(char.IsControl) => "must be one line without control characters.",
        _ when name.Split('/').Any(part => part is "." or "..") =>
            $"is \"{name}\", but a part between slashes must not be \".\" or \"..\", which no URL can have.",
        _ => null,
    };

    private static ModelFolder Parse(JsonElement root, string file, string path)
    {
        var fields = new ConfigFields(root, file, "");
        if (fields.Integer("format") is not 1 and var format)
        {
            throw new RefusedFileException(file, "format", $"is {format}; only 1 is supported.");
        }

        ConfigFields denoiser = fields.Section("denoiser"), defaults = fields.Section("defaults");
        var folder = new ModelFolder
        {
            Path = path,
            Name = NameOf(fields),
            Licence = Line(fields, "licence"),
            Source = Line(fields, "source"),
            Digest = Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(file))),
            Denoiser = FileOf(denoiser),
            DenoiserConfig = ReadDenoiser(denoiser, file),
            Edm = new Edm
            {
                SigmaData = denoiser.Number("sigma_data", 0.9),
                PMean = denoiser.Number("p_mean", -0.6),
                PStd = denoiser.Number("p_std", 1.2),
            },
            Autoencoder = FileOf(fields.Section("autoencoder")),
            AutoencoderConfig = AutoencoderConfig.Parse(fields.Section("autoencoder").Raw("config"), file),
            TextEncoder = FileOf(fields.Section("text_encoder")),
            ClipConfig = ReadClip(fields.Section("text_encoder").Raw("config"), file),
            Vocabulary = FileOf(fields.Section("vocabulary")),
            Steps = defaults.Integer("steps"),
            Guidance = defaults.Number("guidance"),
        };
        CheckFit(folder, file);
        return folder;
    }

    private static ModelFile FileOf(ConfigFields part)
    {
        string name = part.Text("file");
        if (name.Length == 0 || name != System.IO.Path.GetFileName(name) || name is "." or "..")
        {
            throw part.Refusal($"names the file \"{name}\"; a model's files must be in its own folder.");
        }

        return new ModelFile(name, part.Text("sha256"));
    }

    private static string NameOf(ConfigFields fields)
    {
        string name = fields.Text("name");
        return NameFault(name) is { } fault ? throw fields.Refusal($"name {fault}") : name;
    }

    // These values are printed, so they must not contain terminal control characters.
    private static string Line(ConfigFields fields, string name)
    {
        string text = fields.Text(name);
        return text.Length is > 0 and <= LineLengthMax && !text.Any(char.IsControl)
            ? text
            : throw fields.Refusal($"{name} must be one line of 1 to {LineLengthMax} characters.");
    }

    private static MicroDiTConfig ReadDenoiser(ConfigFields denoiser, string file)
    {
        try
        {
            return MicroDiTConfig.FromJson(denoiser.Raw("config"));
        }
        catch (Exception error) when (error is ArgumentException or InvalidOperationException)
        {
            throw new RefusedFileException(file, "denoiser.config", error.Message, error);
        }
    }

    private static ClipConfig ReadClip(JsonElement config, string file) =>
        config.ValueKind == JsonValueKind.String && config.ValueEquals(PublishedClip)
            ? ClipConfig.VitH14
            : ClipConfig.Parse(config, file);

    private static void CheckFit(ModelFolder folder, string file)
    {
        try
        {
            new SamplerSettings { Steps = folder.Steps, Guidance = folder.Guidance }.Checked();
        }
        catch (ArgumentException error)
        {
            throw new RefusedFileException(file, "defaults", error.Message, error);
        }

        if (!(folder.Edm.SigmaData > 0 && double.IsFinite(folder.Edm.SigmaData)))
        {
            throw new RefusedFileException(
                file, "denoiser.sigma_data", $"is {folder.Edm.SigmaData}; it must be positive.");
        }

        if (folder.DenoiserConfig.InChannels != folder.AutoencoderConfig.LatentChannels)
        {
            throw new RefusedFileException(
                file, "denoiser.config.in_channels",
                $"is {folder.DenoiserConfig.InChannels}, but the autoencoder's latents have "
                + $"{folder.AutoencoderConfig.LatentChannels} channels.");
        }

        if (folder.DenoiserConfig.CaptionChannels != folder.ClipConfig.Text.Width)
        {
            throw new RefusedFileException(
                file, "denoiser.config.caption_channels",
                $"is {folder.DenoiserConfig.CaptionChannels}, but the text encoder has "
                + $"{folder.ClipConfig.Text.Width} features per token.");
        }
    }
}
