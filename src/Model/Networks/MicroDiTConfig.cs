// The configuration of a MicroDiT: the arguments of the reference's constructor under their own names, the two
// published presets, and the widths of every block derived from them.
using System.Text.Json;

namespace Atelier.Model.Networks;

/// <summary>Widths of one transformer block.</summary>
/// <param name="Width">Features per token, D.</param>
/// <param name="AttentionWidth">
/// Features of queries, keys and values in self-attention: at most D, and a multiple of the width of two heads.
/// </param>
/// <param name="FeedForwardWidth">Hidden features of the feed-forward, or of each expert if there are experts.</param>
/// <param name="HasExperts">Whether the feed-forward is an expert-choice mixture.</param>
public sealed record BlockShape(int Width, int AttentionWidth, int FeedForwardWidth, bool HasExperts);

/// <summary>
/// Architecture of a <see cref="MicroDiT"/>. Property names are the reference's argument names in .NET casing;
/// <see cref="FromJson"/> reads the reference's spelling.
/// </summary>
public sealed record MicroDiTConfig
{
    private const int DepthMax = 1024;
    private const int GridMax = 1024;

    /// <summary>Side of the latent, in latent pixels.</summary>
    public int InputSize { get; init; } = 32;

    /// <summary>Side of a patch, in latent pixels. A patch is one token.</summary>
    public int PatchSize { get; init; } = 2;

    /// <summary>Channels of the latent.</summary>
    public int InChannels { get; init; } = 4;

    /// <summary>Features per token in the backbone.</summary>
    public int Dim { get; init; } = 1152;

    /// <summary>Number of blocks in the backbone.</summary>
    public int Depth { get; init; } = 28;

    /// <summary>Features per attention head.</summary>
    public int HeadDim { get; init; } = 64;

    /// <summary>Hidden widths of feed-forwards are rounded up to a multiple of this number.</summary>
    public int MultipleOf { get; init; } = 256;

    /// <summary>Features per caption token.</summary>
    public int CaptionChannels { get; init; } = 1024;

    /// <summary>
    /// Divisor of the position coordinates: 1 at the first training resolution, 2 at twice that resolution.
    /// </summary>
    public double PosInterpScale { get; init; } = 1;

    /// <summary>Epsilon of every layer norm.</summary>
    public double NormEps { get; init; } = 1e-6;

    /// <summary>
    /// Ratio of the self-attention width to D: one value per block, or fewer values, each for an equally long run of
    /// blocks.
    /// </summary>
    public IReadOnlyList<double> QkvMultipliers { get; init; } = [1.0];

    /// <summary>Ratio of the feed-forward width to D, in the form of <see cref="QkvMultipliers"/>.</summary>
    public IReadOnlyList<double> FfnMultipliers { get; init; } = [4.0];

    /// <summary>Whether a patch mixer sees all tokens before any are masked away.</summary>
    public bool UsePatchMixer { get; init; } = true;

    /// <summary>Number of blocks in the patch mixer.</summary>
    public int PatchMixerDepth { get; init; } = 4;

    /// <summary>Features per token in the patch mixer.</summary>
    public int PatchMixerDim { get; init; } = 512;

    /// <summary>Ratio of the self-attention width to the patch mixer's width.</summary>
    public double PatchMixerQkvRatio { get; init; } = 1;

    /// <summary>Ratio of the feed-forward width to the patch mixer's width.</summary>
    public double PatchMixerMlpRatio { get; init; } = 1;

    /// <summary>Whether the linear layers of blocks have offsets.</summary>
    public bool UseBias { get; init; } = true;

    /// <summary>Number of experts in a mixture, E.</summary>
    public int NumExperts { get; init; } = 8;

    /// <summary>Experts per token on average: each expert takes capacity * T / E of T tokens.</summary>
    public double ExpertCapacity { get; init; } = 1;

    /// <summary>Every n-th block has experts.</summary>
    public int ExpertsEveryN { get; init; } = 2;

    /// <summary>Tokens along one side of the latent.</summary>
    public int Grid => InputSize / PatchSize;

    /// <summary>Number of tokens in a latent, T.</summary>
    public int Tokens => Grid * Grid;

    /// <summary>Number of elements in a patch, which the network predicts for each token.</summary>
    public int PatchValues => PatchSize * PatchSize * InChannels;

    /// <summary>
    /// The published preset with the given name: <c>MicroDiT_XL_2</c> (1.165 B parameters at 4 channels) or
    /// <c>MicroDiT_Tiny_2</c> (201 M). The prefix may be omitted.
    /// </summary>
    /// <exception cref="ArgumentException">No preset has this name.</exception>
    public static MicroDiTConfig Preset(
        string name, int inputSize = 32, int inChannels = 4, int captionChannels = 1024, double posInterpScale = 1)
    {
        bool large = name switch
        {
            "MicroDiT_XL_2" or "XL_2" => true,
            "MicroDiT_Tiny_2" or "Tiny_2" => false,
            _ => throw new ArgumentException(
                $"There is no preset \"{name}\"; presets are Tiny_2 and XL_2.", nameof(name)),
        };
        int depth = large ? 28 : 16;
        return new MicroDiTConfig
        {
            InputSize = inputSize,
            InChannels = inChannels,
            CaptionChannels = captionChannels,
            PosInterpScale = posInterpScale,
            Dim = large ? 1024 : 512,
            Depth = depth,
            HeadDim = large ? 64 : 32,
            QkvMultipliers = Linspace(0.5, 1.0, depth),
            FfnMultipliers = Linspace(0.5, 4.0, depth),
            PatchMixerDepth = large ? 6 : 4,
            PatchMixerDim = large ? 768 : 512,
            PatchMixerMlpRatio = 4,
            UseBias = false,
            ExpertCapacity = 2,
        }.Checked();
    }

    /// <summary>
    /// Reads a configuration in the reference's spelling (<c>patch_mixer_dim</c>, ...); absent members keep their
    /// defaults.
    /// </summary>
    /// <param name="json">An object. Multipliers are a list of numbers or <c>["linspace", first, last]</c>.</param>
    /// <exception cref="ArgumentException">A member is unknown, or a value is not valid.</exception>
    public static MicroDiTConfig FromJson(JsonElement json)
    {
        if (json.ValueKind != JsonValueKind.Object)
        {
            throw new ArgumentException(
                $"A MicroDiT configuration must be a JSON object, not {json.ValueKind}.", nameof(json));
        }

        var config = new MicroDiTConfig();

        // In the JSON, multipliers may precede the depth that they apply to. An invalid depth is refused when its
        // member is read.
        int depth = json.TryGetProperty("depth", out JsonElement d) && d.ValueKind == JsonValueKind.Number
            && d.TryGetInt32(out int given) && given is > 0 and <= DepthMax ? given : config.Depth;
        foreach (JsonProperty member in json.EnumerateObject())
        {
            JsonElement value = member.Value;
            try
            {
                config = member.Name switch
                {
                    "input_size" => config with { InputSize = value.GetInt32() },
                    "patch_size" => config with { PatchSize = value.GetInt32() },
                    "in_channels" => config with { InChannels = value.GetInt32() },
                    "dim" => config with { Dim = value.GetInt32() },
                    "depth" => config with { Depth = value.GetInt32() },
                    "head_dim" => config with { HeadDim = value.GetInt32() },
                    "multiple_of" => config with { MultipleOf = value.GetInt32() },
                    "caption_channels" => config with { CaptionChannels = value.GetInt32() },
                    "pos_interp_scale" => config with { PosInterpScale = value.GetDouble() },
                    "norm_eps" => config with { NormEps = value.GetDouble() },
                    "qkv_multipliers" => config with { QkvMultipliers = Multipliers(value, depth) },
                    "ffn_multipliers" => config with { FfnMultipliers = Multipliers(value, depth) },
                    "use_patch_mixer" => config with { UsePatchMixer = value.GetBoolean() },
                    "patch_mixer_depth" => config with { PatchMixerDepth = value.GetInt32() },
                    "patch_mixer_dim" => config with { PatchMixerDim = value.GetInt32() },
                    "patch_mixer_qkv_ratio" => config with { PatchMixerQkvRatio = value.GetDouble() },
                    "patch_mixer_mlp_ratio" => config with { PatchMixerMlpRatio = value.GetDouble() },
                    "use_bias" => config with { UseBias = value.GetBoolean() },
                    "num_experts" => config with { NumExperts = value.GetInt32() },
                    "expert_capacity" => config with { ExpertCapacity = value.GetDouble() },
                    "experts_every_n" => config with { ExpertsEveryN = value.GetInt32() },
                    "depth_init" => config, // Affects only the initializer, which here always scales with depth.
                    _ => throw new ArgumentException(
                        $"\"{member.Name}\" is not an argument of MicroDiT.", nameof(json)),
                };
            }
            catch (Exception error) when (error is InvalidOperationException or FormatException)
            {
                throw new ArgumentException($"\"{member.Name}\" cannot be {value.GetRawText()}.", nameof(json), error);
            }
        }

        return config.Checked();
    }

    /// <summary>Writes the configuration in the spelling that <see cref="FromJson"/> reads.</summary>
    public void WriteJson(Utf8JsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteNumber("input_size", InputSize);
        writer.WriteNumber("patch_size", PatchSize);
        writer.WriteNumber("in_channels", InChannels);
        writer.WriteNumber("dim", Dim);
        writer.WriteNumber("depth", Depth);
        writer.WriteNumber("head_dim", HeadDim);
        writer.WriteNumber("multiple_of", MultipleOf);
        writer.WriteNumber("caption_channels", CaptionChannels);
        writer.WriteNumber("pos_interp_scale", PosInterpScale);
        writer.WriteNumber("norm_eps", NormEps);
        WriteList("qkv_multipliers", QkvMultipliers);
        WriteList("ffn_multipliers", FfnMultipliers);
        writer.WriteBoolean("use_patch_mixer", UsePatchMixer);
        writer.WriteNumber("patch_mixer_depth", PatchMixerDepth);
        writer.WriteNumber("patch_mixer_dim", PatchMixerDim);
        writer.WriteNumber("patch_mixer_qkv_ratio", PatchMixerQkvRatio);
        writer.WriteNumber("patch_mixer_mlp_ratio", PatchMixerMlpRatio);
        writer.WriteBoolean("use_bias", UseBias);
        writer.WriteNumber("num_experts", NumExperts);
        writer.WriteNumber("expert_capacity", ExpertCapacity);
        writer.WriteNumber("experts_every_n", ExpertsEveryN);
        writer.WriteEndObject();

        void WriteList(string name, IReadOnlyList<double> values)
        {
            writer.WriteStartArray(name);
            foreach (double value in values)
            {
                writer.WriteNumberValue(value);
            }

            writer.WriteEndArray();
        }
    }

    /// <summary>Widths of the patch mixer's blocks, first to last. Its first block never has experts.</summary>
    public IReadOnlyList<BlockShape> MixerBlocks() => !UsePatchMixer ? [] :
    [
        .. Enumerable.Range(0, PatchMixerDepth).Select(i => Block(
            PatchMixerDim, PatchMixerQkvRatio, PatchMixerMlpRatio, i > 0 && (i + 1) % ExpertsEveryN == 0)),
    ];

    /// <summary>Widths of the backbone's blocks, first to last. Its last block never has experts.</summary>
    public IReadOnlyList<BlockShape> BackboneBlocks()
    {
        int run = Depth / QkvMultipliers.Count;
        return
        [
            .. Enumerable.Range(0, Depth).Select(i => Block(
                Dim, QkvMultipliers[i / run], FfnMultipliers[i / run],
                i < Depth - 1 && (i + 1) % ExpertsEveryN == 0)),
        ];
    }

    /// <summary>
    /// Hidden width of the SiLU-gated feed-forward: two thirds of the requested width, because the layer has three
    /// matrices instead of two.
    /// </summary>
    internal int GatedWidth(int hidden) => RoundUp((int)(2 * hidden / 3.0), MultipleOf);

    /// <summary>
    /// <paramref name="count"/> evenly spaced values from <paramref name="first"/> to <paramref name="last"/>.
    /// </summary>
    public static double[] Linspace(double first, double last, int count)
    {
        double step = (last - first) / Math.Max(1, count - 1);
        var values = new double[count];
        for (int i = 0; i < count; i++)
        {
            values[i] = i == count - 1 && count > 1 ? last : first + (i * step);
        }

        return values;
    }

    /// <summary>Returns this configuration if it is valid.</summary>
    /// <exception cref="ArgumentException">
    /// The configuration is not valid; the message says which values conflict.
    /// </exception>
    public MicroDiTConfig Checked()
    {
        (string Name, int Value, int Max)[] sizes =
        [
            ("input_size", InputSize, 65536), ("patch_size", PatchSize, 65536), ("in_channels", InChannels, 65536),
            ("dim", Dim, 65536), ("depth", Depth, DepthMax), ("head_dim", HeadDim, 65536),
            ("multiple_of", MultipleOf, 65536),
            ("caption_channels", CaptionChannels, 65536), ("num_experts", NumExperts, 65536),
            ("experts_every_n", ExpertsEveryN, 65536),
            ("patch_mixer_depth", UsePatchMixer ? PatchMixerDepth : 1, DepthMax),
            ("patch_mixer_dim", UsePatchMixer ? PatchMixerDim : 1, 65536),
        ];
        foreach ((string name, int value, int max) in sizes)
        {
            Require(value > 0 && value <= max, $"{name} must be in 1..{max}, not {value}");
        }

        Require(InputSize % PatchSize == 0, $"input_size {InputSize} must be a multiple of patch_size {PatchSize}");
        Require(
            Grid <= GridMax, $"input_size {InputSize} gives {Grid} patches along a side; the maximum is {GridMax}");
        Require(Dim % HeadDim == 0, $"dim {Dim} must be a multiple of head_dim {HeadDim}");
        Require(Dim % 4 == 0, $"dim {Dim} must be a multiple of 4, for sine and cosine of row and column");
        Require(
            !UsePatchMixer || PatchMixerDim % HeadDim == 0,
            $"patch_mixer_dim {PatchMixerDim} must be a multiple of head_dim {HeadDim}");
        Require(
            QkvMultipliers.Count == FfnMultipliers.Count && QkvMultipliers.Count > 0,
            "qkv_multipliers and ffn_multipliers must have the same number of values");
        Require(
            Depth % QkvMultipliers.Count == 0,
            $"depth {Depth} must be a multiple of the number of multipliers, {QkvMultipliers.Count}");
        Require(
            QkvMultipliers.Concat(FfnMultipliers).All(m => m is > 0 and <= 64),
            "multipliers must be above 0 and at most 64");
        Require(
            !UsePatchMixer || (PatchMixerQkvRatio is > 0 and <= 64 && PatchMixerMlpRatio is > 0 and <= 64),
            "patch_mixer_qkv_ratio and patch_mixer_mlp_ratio must be above 0 and at most 64");
        Require(
            MixerBlocks().Concat(BackboneBlocks()).All(block => block.AttentionWidth > 0 && block.FeedForwardWidth > 0),
            "qkv_multipliers, ffn_multipliers and the patch mixer's ratios must leave each block at least one feature");
        Require(
            ExpertCapacity > 0 && ExpertCapacity <= NumExperts,
            "expert_capacity must be above 0 and at most num_experts");
        Require(double.IsFinite(PosInterpScale) && PosInterpScale > 0, "pos_interp_scale must be positive");
        Require(NormEps > 0 && NormEps < 1, "norm_eps must be between 0 and 1");
        return this;

        static void Require(bool holds, string rule)
        {
            if (!holds)
            {
                throw new ArgumentException($"The configuration of a MicroDiT is not valid: {rule}.");
            }
        }
    }

    private BlockShape Block(int width, double qkvRatio, double ffnRatio, bool experts)
    {
        int attention = qkvRatio == 1 ? width : RoundUp((int)(width * qkvRatio), 2 * HeadDim);
        int hidden = (int)(width * ffnRatio);
        return new BlockShape(width, attention, experts ? RoundUp(hidden, MultipleOf) : GatedWidth(hidden), experts);
    }

    private static int RoundUp(int value, int multiple) => (value + multiple - 1) / multiple * multiple;

    private static double[] Multipliers(JsonElement value, int depth)
    {
        JsonElement[] items = [.. value.EnumerateArray()];
        return items is [{ ValueKind: JsonValueKind.String } kind, var first, var last] && kind.ValueEquals("linspace")
            ? Linspace(first.GetDouble(), last.GetDouble(), depth)
            : [.. items.Select(item => item.GetDouble())];
    }
}
