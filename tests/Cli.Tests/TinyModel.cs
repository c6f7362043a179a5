// A model of toy size in the formats of published weights, and the model folder that the program makes of it.
using System.IO.Compression;
using System.Text;
using System.Text.Json;
using Atelier.Cli.Tests;
using Atelier.Cli.Verify;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Networks;
using Atelier.Model.Weights;
using TorchSharp;

[assembly: AssemblyFixture(typeof(TinyModel))]

namespace Atelier.Cli.Tests;

/// <summary>Published files, created once and imported once. Tests modify only copies.</summary>
public sealed class TinyModel : IAsyncLifetime
{
    /// <summary>Side of its pictures, in pixels.</summary>
    public const int Resolution = 16;

    private const string DenoiserConfig =
        """
        {
          "input_size": 8, "dim": 32, "depth": 2, "head_dim": 16, "multiple_of": 16, "caption_channels": 32,
          "qkv_multipliers": ["linspace", 0.5, 1.0], "ffn_multipliers": ["linspace", 0.5, 2.0],
          "patch_mixer_depth": 2, "patch_mixer_dim": 32, "use_bias": false, "num_experts": 4, "expert_capacity": 2.0
        }
        """;

    private const string AutoencoderConfigText =
        """
        {
          "_class_name": "AutoencoderKL", "block_out_channels": [8, 8], "norm_num_groups": 4, "latent_channels": 4,
          "layers_per_block": 1, "scaling_factor": 0.5, "sample_size": 16,
          "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
          "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"]
        }
        """;

    private const string ClipConfigText =
        """
        {
          "model_cfg": {
            "embed_dim": 16, "quick_gelu": true,
            "vision_cfg": { "image_size": 28, "layers": 1, "width": 32, "head_width": 16, "patch_size": 14 },
            "text_cfg": { "context_length": 16, "vocab_size": 518, "width": 32, "heads": 2, "layers": 1 }
          }
        }
        """;

    private static readonly string[] s_merges = ["r e", "re d</w>", "t h", "th e</w>"];

    private readonly TemporaryFolder _folder = new();

    /// <summary>The folder of the published files.</summary>
    public string Published => _folder["published"];

    /// <summary>The model folder.</summary>
    public string Folder => _folder["tiny"];

    /// <summary>What import printed.</summary>
    internal ProgramRun Import { get; private set; } = null!;

    /// <inheritdoc/>
    public async ValueTask InitializeAsync()
    {
        Directory.CreateDirectory(Path.Combine(Published, "vae"));
        Write("dit.json", DenoiserConfig);
        Write("vae/config.json", AutoencoderConfigText);
        Write("open_clip_config.json", ClipConfigText);
        WriteVocabulary(Path.Combine(Published, "vocabulary.txt.gz"), s_merges);
        using (JsonDocument json = JsonDocument.Parse(DenoiserConfig))
        using (var network = new MicroDiT(MicroDiTConfig.FromJson(json.RootElement)))
        {
            Save(network, "dit.safetensors");
        }

        using (var autoencoder = new AutoencoderKL(AutoencoderConfig.Read(Path.Combine(Published, "vae/config.json"))))
        {
            Save(autoencoder, "vae/diffusion_pytorch_model.safetensors", OldAttentionName);
        }

        using (var clip = new ClipModel(ClipConfig.Read(Path.Combine(Published, "open_clip_config.json"))))
        {
            Save(clip, "open_clip.safetensors");
        }

        Import = await AtelierProgram.RunAsync(_folder.Path, ImportArguments(Published, "tiny"));
        Import.Succeeded();
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        _folder.Dispose();
        return ValueTask.CompletedTask;
    }

    /// <summary>The command that imports published files.</summary>
    internal static string[] ImportArguments(string published, string folder) =>
    [
        "models", "import", folder, "--denoiser", $"{published}/dit.safetensors", "--denoiser-config",
        $"{published}/dit.json",
        "--autoencoder", $"{published}/vae", "--clip", $"{published}/open_clip.safetensors",
        "--clip-config", $"{published}/open_clip_config.json", "--vocabulary", $"{published}/vocabulary.txt.gz",
        "--licence", "none", "--source", "a formula", "--steps", "3", "--guidance", "2",
    ];

    /// <summary>Writes a vocabulary in the format of CLIP's.</summary>
    internal static void WriteVocabulary(string path, params IEnumerable<string> merges)
    {
        using var file = new GZipStream(File.Create(path), CompressionLevel.Fastest);
        file.Write(Encoding.UTF8.GetBytes(string.Join('\n', merges.Prepend("#version: 0.2")) + "\n"));
    }

    /// <summary>Names, shapes, types and bytes of a weight file.</summary>
    internal static Dictionary<string, (TensorInfo Info, byte[] Bytes)> Read(string path)
    {
        using IWeightSource source = WeightFile.Open(path);
        return source.Tensors.Values.ToDictionary(info => info.Name, info =>
        {
            var bytes = new byte[info.ByteLength];
            source.ReadInto(info.Name, bytes);
            return (info, bytes);
        });
    }

    /// <summary>Fills tensors of a model folder's part with a value, and updates the manifest to match.</summary>
    /// <param name="folder">The model folder.</param>
    /// <param name="part">The part's name in the manifest.</param>
    /// <param name="name">Prefix of the tensors' names; only those of two dimensions or more are filled.</param>
    /// <param name="value">The value.</param>
    internal static void Fill(string folder, string part, string name, float value)
    {
        FillFile(Path.Combine(folder, $"{part}.safetensors"), name, value);
        UpdateDigest(folder, part);
    }

    /// <summary>Updates the manifest of a model folder after the weights of a part were replaced.</summary>
    internal static void UpdateDigest(string folder, string part)
    {
        string manifest = Path.Combine(folder, "model.json");
        var json = System.Text.Json.Nodes.JsonNode.Parse(File.ReadAllText(manifest))!;
        json[part]!["sha256"] = WeightDigest.OfFile(Path.Combine(folder, $"{part}.safetensors"));
        File.WriteAllText(manifest, json.ToJsonString());
    }

    /// <summary>
    /// Fills the tensors of a float32 file that have two or more dimensions and a name with this prefix.
    /// </summary>
    internal static void FillFile(string path, string name, float value)
    {
        var tensors = Read(path);
        foreach ((TensorInfo info, byte[] bytes) in tensors.Values.Where(tensor =>
            tensor.Info.Name.StartsWith(name, StringComparison.Ordinal) && tensor.Info.Shape.Length > 1))
        {
            System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(bytes.AsSpan()).Fill(value);
        }

        Write(path, tensors.Values);
    }

    /// <summary>Writes a safetensors file.</summary>
    internal static void Write(string path, IEnumerable<(TensorInfo Info, byte[] Bytes)> tensors)
    {
        var all = tensors.ToDictionary(tensor => tensor.Info.Name);
        using var writer = new SafeTensorsWriter(path, all.Values.Select(tensor => tensor.Info));
        foreach (TensorInfo info in writer.Order)
        {
            writer.Append(info.Name, all[info.Name].Bytes);
        }

        writer.Commit();
    }

    private void Write(string name, string text) => File.WriteAllText(Path.Combine(Published, name), text);

    private void Save(torch.nn.Module module, string name, Func<string, string>? rename = null)
    {
        FormulaWeights.Fill(module, name + "/");
        Write(Path.Combine(Published, name), module.state_dict().Select(pair => (
            new TensorInfo(
                rename?.Invoke(pair.Key) ?? pair.Key, ElementTypes.FromTorch(pair.Value.dtype), pair.Value.shape),
            pair.Value.detach().contiguous().bytes.ToArray())));
    }

    // Files of older libraries use these names for the projections of the middle attention.
    private static string OldAttentionName(string name) => name
        .Replace(".to_q.", ".query.", StringComparison.Ordinal).Replace(".to_k.", ".key.", StringComparison.Ordinal)
        .Replace(".to_v.", ".value.", StringComparison.Ordinal).Replace(
            ".to_out.0.", ".proj_attn.", StringComparison.Ordinal);
}
