// The architecture of a CLIP model, as given by the model_cfg of its open_clip_config.json.
using System.Text.Json;
using System.Text.Json.Serialization;
using Atelier.Model.Configuration;

namespace Atelier.Model.Clip;

/// <summary>Architecture of a <see cref="ClipModel"/>.</summary>
public sealed record ClipConfig
{
    private const int WidestLayer = 16384;

    /// <summary>Width of the feature space shared by pictures and texts.</summary>
    public required int EmbedDim { get; init; }

    /// <summary>Whether both towers use x * sigmoid(1.702 x) instead of the exact GELU.</summary>
    public bool QuickGelu { get; init; }

    /// <summary>The text tower.</summary>
    public required ClipTextConfig Text { get; init; }

    /// <summary>The image tower.</summary>
    public required ClipVisionConfig Vision { get; init; }

    /// <summary>DFN5B-CLIP-ViT-H-14-378: 986,714,881 parameters, 354,032,640 of them in the text tower.</summary>
    public static ClipConfig VitH14 { get; } = new()
    {
        EmbedDim = 1024,
        QuickGelu = true,
        Text = new ClipTextConfig { Width = 1024, Heads = 16, Layers = 24 },
        Vision = new ClipVisionConfig { ImageSize = 378, PatchSize = 14, Width = 1280, HeadWidth = 80, Layers = 32 },
    };

    /// <summary>Reads an open_clip_config.json.</summary>
    /// <exception cref="RefusedFileException">The file is not a valid configuration.</exception>
    public static ClipConfig Read(string path) => ConfigFields.ReadFile(path, Parse);

    /// <summary>
    /// Reads the configuration in <paramref name="element"/>, part of <paramref name="file"/>: a model_cfg, or the
    /// object that contains one. Unknown members are refused, because they might change the network.
    /// </summary>
    /// <exception cref="RefusedFileException">
    /// A value is of the wrong kind or describes an unsupported network.
    /// </exception>
    public static ClipConfig Parse(JsonElement element, string file)
    {
        var fields = new ConfigFields(element, file, place: "");
        if (fields.Has("model_cfg"))
        {
            fields = fields.Section("model_cfg");
        }

        fields.AllowOnly("embed_dim", "quick_gelu", "vision_cfg", "text_cfg");
        ConfigFields text = fields.Section("text_cfg");
        text.AllowOnly(
            "context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "no_causal_mask");
        ConfigFields vision = fields.Section("vision_cfg");
        vision.AllowOnly("image_size", "patch_size", "width", "head_width", "layers", "mlp_ratio");
        var config = new ClipConfig
        {
            EmbedDim = fields.Integer("embed_dim"),
            QuickGelu = fields.Flag("quick_gelu", false),
            Text = new ClipTextConfig
            {
                ContextLength = text.Integer("context_length", 77),
                VocabSize = text.Integer("vocab_size", 49408),
                Width = text.Integer("width", 512),
                Heads = text.Integer("heads", 8),
                Layers = text.Integer("layers", 12),
                MlpRatio = text.Number("mlp_ratio", 4),
                NoCausalMask = text.Flag("no_causal_mask", false),
            },
            Vision = new ClipVisionConfig
            {
                ImageSize = vision.Integer("image_size", 224),
                PatchSize = vision.Integer("patch_size", 16),
                Width = vision.Integer("width", 768),
                HeadWidth = vision.Integer("head_width", 64),
                Layers = vision.Integer("layers", 12),
                MlpRatio = vision.Number("mlp_ratio", 4),
            },
        };
        return config.Problem() is { } problem ? throw fields.Refusal(problem) : config;
    }

    /// <summary>
    /// The first problem found in this configuration, as a sentence; null if the configuration is valid.
    /// </summary>
    internal string? Problem() => this switch
    {
        { EmbedDim: < 1 or > WidestLayer } => $"embed_dim {EmbedDim} is not in 1..{WidestLayer}.",
        { Text.ContextLength: < 2 or > 4096 } => $"context_length {Text.ContextLength} is not in 2..4096.",
        { Text.VocabSize: < 2 or > 1 << 20 } => $"vocab_size {Text.VocabSize} is not in 2..{1 << 20}.",
        { Vision.PatchSize: < 1 } => $"patch_size {Vision.PatchSize} is not positive.",
        _ when Vision.ImageSize is < 1 or > 2048 || Vision.ImageSize % Vision.PatchSize != 0 =>
            $"image_size {Vision.ImageSize} must be a multiple of patch_size {Vision.PatchSize}, at most 2048.",
        _ when Vision.HeadWidth < 1 || Vision.Width % Vision.HeadWidth != 0 =>
            $"vision width {Vision.Width} must be a multiple of head_width {Vision.HeadWidth}.",
        _ => TowerProblem("text_cfg", Text.Width, Text.Heads, Text.Layers, Text.MlpRatio)
            ?? TowerProblem("vision_cfg", Vision.Width, Vision.Heads, Vision.Layers, Vision.MlpRatio),
    };

    private static string? TowerProblem(string name, int width, int heads, int layers, double ratio)
    {
        if (width is < 1 or > WidestLayer || heads < 1 || width % heads != 0)
        {
            return $"{name}: width {width} must be in 1..{WidestLayer} and a multiple of heads {heads}.";
        }

        return layers is < 1 or > 256 || !(ratio > 0 && width * ratio is >= 1 and <= 8 * WidestLayer)
            ? $"{name}: layers {layers} must be in 1..256, and width * mlp_ratio {ratio} in 1..{8 * WidestLayer}."
            : null;
    }
}

/// <summary>Architecture of a <see cref="ClipTextTower"/>.</summary>
public sealed record ClipTextConfig
{
    /// <summary>Token ids per text.</summary>
    public int ContextLength { get; init; } = 77;

    /// <summary>Number of token ids.</summary>
    public int VocabSize { get; init; } = 49408;

    /// <summary>Features per position.</summary>
    public int Width { get; init; } = 512;

    /// <summary>Attention heads.</summary>
    public int Heads { get; init; } = 8;

    /// <summary>Residual blocks.</summary>
    public int Layers { get; init; } = 12;

    /// <summary>Number of hidden features in a block's feed-forward part, divided by the width.</summary>
    public double MlpRatio { get; init; } = 4;

    /// <summary>
    /// Whether a position sees all others, OpenCLIP's no_causal_mask; otherwise it sees itself and earlier ones.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool NoCausalMask { get; init; }
}

/// <summary>Architecture of a <see cref="ClipImageEncoder"/>.</summary>
public sealed record ClipVisionConfig
{
    /// <summary>Side of a picture in pixels.</summary>
    public int ImageSize { get; init; } = 224;

    /// <summary>Side of a patch in pixels.</summary>
    public int PatchSize { get; init; } = 16;

    /// <summary>Features per position.</summary>
    public int Width { get; init; } = 768;

    /// <summary>Features of one attention head.</summary>
    public int HeadWidth { get; init; } = 64;

    /// <summary>Attention heads.</summary>
    public int Heads => Width / HeadWidth;

    /// <summary>Residual blocks.</summary>
    public int Layers { get; init; } = 12;

    /// <summary>Number of hidden features in a block's feed-forward part, divided by the width.</summary>
    public double MlpRatio { get; init; } = 4;
}
