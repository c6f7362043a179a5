// The files of the finished parts: weights in half precision, and configurations in the published formats.
using System.Text.Json;
using System.Text.Json.Nodes;
using Atelier.Model;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Weights;
using TorchSharp;

namespace Atelier.Shapes.Making;

/// <summary>Writes parts. The configuration is written last and marks a part as complete.</summary>
internal static class PartFiles
{
    private static readonly JsonSerializerOptions s_readable = new() { WriteIndented = true };

    /// <summary>Writes an autoencoder.</summary>
    public static void Write(
        AutoencoderKL network, AutoencoderConfig config, string weights, string json,
        IReadOnlyDictionary<string, string>? metadata = null)
    {
        StateDictFile.Save(network, weights, ElementType.Float16, metadata);
        WriteConfiguration(config, json);
    }

    /// <summary>Writes an autoencoder's configuration.</summary>
    public static void WriteConfiguration(AutoencoderConfig config, string json)
    {
        WriteJson(json, new JsonObject
        {
            ["_class_name"] = "AutoencoderKL",
            ["act_fn"] = "silu",
            ["block_out_channels"] = new JsonArray(
                [.. config.BlockOutChannels.Select(width => JsonValue.Create(width))]),
            ["down_block_types"] = Repeated("DownEncoderBlock2D", config.BlockOutChannels.Length),
            ["in_channels"] = config.InChannels,
            ["latent_channels"] = config.LatentChannels,
            ["layers_per_block"] = config.LayersPerBlock,
            ["norm_num_groups"] = config.NormNumGroups,
            ["out_channels"] = config.OutChannels,
            ["sample_size"] = config.SampleSize,
            ["scaling_factor"] = config.ScalingFactor,
            ["shift_factor"] = config.ShiftFactor,
            ["up_block_types"] = Repeated("UpDecoderBlock2D", config.BlockOutChannels.Length),
        });
    }

    /// <summary>Writes a CLIP model.</summary>
    public static void Write(
        ClipModel network, string weights, string json, IReadOnlyDictionary<string, string>? metadata = null)
    {
        StateDictFile.Save(network, weights, ElementType.Float16, metadata);
        WriteConfiguration(network.Config, json);
    }

    /// <summary>Writes a CLIP model's configuration.</summary>
    public static void WriteConfiguration(ClipConfig config, string json)
    {
        var written = new JsonObject
        {
            ["embed_dim"] = config.EmbedDim,
            ["quick_gelu"] = config.QuickGelu,
            ["text_cfg"] = new JsonObject
            {
                ["context_length"] = config.Text.ContextLength,
                ["vocab_size"] = config.Text.VocabSize,
                ["width"] = config.Text.Width,
                ["heads"] = config.Text.Heads,
                ["layers"] = config.Text.Layers,
                ["mlp_ratio"] = config.Text.MlpRatio,
            },
            ["vision_cfg"] = new JsonObject
            {
                ["image_size"] = config.Vision.ImageSize,
                ["patch_size"] = config.Vision.PatchSize,
                ["width"] = config.Vision.Width,
                ["head_width"] = config.Vision.HeadWidth,
                ["layers"] = config.Vision.Layers,
                ["mlp_ratio"] = config.Vision.MlpRatio,
            },
        };
        if (config.Text.NoCausalMask)
        {
            written["text_cfg"]!["no_causal_mask"] = true;
        }

        WriteJson(json, written);
    }

    /// <summary>Loads a part's weights into a network.</summary>
    public static T Load<T>(T network, string weights) where T : torch.nn.Module
    {
        using IWeightSource source = WeightFile.Open(weights);
        StrictLoader.Load(network, source, checkFinite: true);
        return network;
    }

    private static JsonArray Repeated(string name, int count) =>
        new([.. Enumerable.Repeat(name, count).Select(text => JsonValue.Create(text))]);

    private static void WriteJson(string path, JsonObject content) =>
        WholeFile.WriteText(path, content.ToJsonString(s_readable) + "\n");
}
