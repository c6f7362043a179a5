// The architecture of a variational autoencoder of the Stable Diffusion family, as given by its config.json.
using System.Text.Json;
using Atelier.Model.Configuration;

namespace Atelier.Model.Autoencoder;

/// <summary>
/// Architecture of an <see cref="AutoencoderKL"/>. In a file, the members have the snake-case names of a Hugging Face
/// config.json; absent members take the defaults of diffusers, the library that writes such files.
/// </summary>
public sealed record AutoencoderConfig
{
    private const int WidestLevel = 8192;
    private const int MostLevels = 8;
    private const int MostLayers = 16;

    /// <summary>Channels of an input picture.</summary>
    public int InChannels { get; init; } = 3;

    /// <summary>Channels of an output picture.</summary>
    public int OutChannels { get; init; } = 3;

    /// <summary>
    /// Channels of each resolution level, finest first. Every level except the last halves height and width.
    /// </summary>
    public int[] BlockOutChannels { get; init; } = [64];

    /// <summary>Residual blocks per encoder level; a decoder level has one more.</summary>
    public int LayersPerBlock { get; init; } = 1;

    /// <summary>Channels of a latent.</summary>
    public int LatentChannels { get; init; } = 4;

    /// <summary>Number of groups in every group norm.</summary>
    public int NormNumGroups { get; init; } = 32;

    /// <summary>
    /// Side of the pictures that the network was trained on, in pixels. Any multiple of <see cref="Factor"/> works.
    /// </summary>
    public int SampleSize { get; init; } = 32;

    /// <summary>
    /// Scaling of latents: a diffusion model's latent is (encoded - shift) * scaling. The caller applies this formula.
    /// </summary>
    public double ScalingFactor { get; init; } = 0.18215;

    /// <summary>The shift in the formula of <see cref="ScalingFactor"/>.</summary>
    public double ShiftFactor { get; init; }

    /// <summary>Whether a 1x1 convolution follows the encoder.</summary>
    public bool UseQuantConv { get; init; } = true;

    /// <summary>Whether a 1x1 convolution precedes the decoder.</summary>
    public bool UsePostQuantConv { get; init; } = true;

    /// <summary>Pixels per latent position along one side.</summary>
    public int Factor => 1 << (BlockOutChannels.Length - 1);

    /// <summary>The autoencoder of SDXL: 8x, 4 channels, 83,653,863 parameters.</summary>
    public static AutoencoderConfig Sdxl { get; } = new()
    {
        BlockOutChannels = [128, 256, 512, 512],
        LayersPerBlock = 2,
        SampleSize = 1024,
        ScalingFactor = 0.13025,
    };

    /// <summary>Reads a config.json.</summary>
    /// <exception cref="RefusedFileException">The file is not a valid configuration.</exception>
    public static AutoencoderConfig Read(string path) => ConfigFields.ReadFile(path, Parse);

    /// <summary>Reads the configuration in <paramref name="element"/>, part of <paramref name="file"/>.</summary>
    /// <exception cref="RefusedFileException">
    /// A value is of the wrong kind or describes an unsupported network.
    /// </exception>
    public static AutoencoderConfig Parse(JsonElement element, string file)
    {
        var fields = new ConfigFields(element, file, place: "");
        fields.MustBe("_class_name", "AutoencoderKL");
        fields.MustBe("act_fn", "silu");
        fields.MustBe("down_block_types", "DownEncoderBlock2D");
        fields.MustBe("up_block_types", "UpDecoderBlock2D");
        if (!fields.Flag("mid_block_add_attention", true) || fields.Has("latents_mean") || fields.Has("latents_std"))
        {
            throw fields.Refusal(
                "mid_block_add_attention must be true, and latents_mean and latents_std are not supported.");
        }

        var config = new AutoencoderConfig
        {
            InChannels = fields.Integer("in_channels", 3),
            OutChannels = fields.Integer("out_channels", 3),
            BlockOutChannels = fields.Integers("block_out_channels", [64]),
            LayersPerBlock = fields.Integer("layers_per_block", 1),
            LatentChannels = fields.Integer("latent_channels", 4),
            NormNumGroups = fields.Integer("norm_num_groups", 32),
            SampleSize = fields.Integer("sample_size", 32),
            ScalingFactor = fields.Number("scaling_factor", 0.18215),
            ShiftFactor = fields.Number("shift_factor", 0),
            UseQuantConv = fields.Flag("use_quant_conv", true),
            UsePostQuantConv = fields.Flag("use_post_quant_conv", true),
        };
        return config.Problem() is { } problem ? throw fields.Refusal(problem) : config;
    }

    /// <summary>
    /// The first problem found in this configuration, as a sentence; null if the configuration is valid.
    /// </summary>
    internal string? Problem()
    {
        if (BlockOutChannels.Length is < 1 or > MostLevels)
        {
            return $"block_out_channels has {BlockOutChannels.Length} levels; it must have 1 to {MostLevels}.";
        }

        if (NormNumGroups < 1 || BlockOutChannels.Any(c => c is < 1 or > WidestLevel || c % NormNumGroups != 0))
        {
            return $"block_out_channels [{string.Join(", ", BlockOutChannels)}] must be multiples of norm_num_groups "
                + $"{NormNumGroups} from 1 to {WidestLevel}.";
        }

        return this switch
        {
            { LayersPerBlock: < 1 or > MostLayers } => $"layers_per_block {LayersPerBlock} is not in 1..{MostLayers}.",
            { InChannels: < 1 or > 64 } or { OutChannels: < 1 or > 64 } =>
                $"in_channels {InChannels} and out_channels {OutChannels} must be in 1..64.",
            { LatentChannels: < 1 or > 256 } => $"latent_channels {LatentChannels} is not in 1..256.",
            { SampleSize: < 1 } => $"sample_size {SampleSize} is not positive.",
            _ when !(ScalingFactor > 0 && double.IsFinite(ScalingFactor) && double.IsFinite(ShiftFactor)) =>
                $"scaling_factor {ScalingFactor} must be positive and finite, and shift_factor {ShiftFactor} finite.",
            _ => null,
        };
    }
}
