// The variational autoencoder between pictures and latents (Kingma and Welling, arXiv 1312.6114; Rombach et al.,
// arXiv 2112.10752), in the published layout of SDXL's autoencoder.
using Atelier.Model.Networks;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Model.Autoencoder;

/// <summary>
/// Encodes pictures to latents and decodes latents to pictures. Pictures are processed one at a time, so that the bits
/// of a result never depend on the other pictures in the batch. The caller decides whether gradients are recorded: run
/// inference inside inference_mode().
/// </summary>
public sealed class AutoencoderKL : Module
{
    [ComponentName(Name = "encoder")] private readonly Encoder _encoder;
    [ComponentName(Name = "decoder")] private readonly Decoder _decoder;
    [ComponentName(Name = "quant_conv")] private readonly Conv2d? _quant;
    [ComponentName(Name = "post_quant_conv")] private readonly Conv2d? _postQuant;

    /// <summary>Allocates the network. Its weights are undefined until they are loaded.</summary>
    /// <exception cref="ArgumentException">The configuration is not valid; the message says why.</exception>
    public AutoencoderKL(AutoencoderConfig config) : base(nameof(AutoencoderKL))
    {
        ArgumentNullException.ThrowIfNull(config);
        if (config.Problem() is { } problem)
        {
            throw new ArgumentException(problem, nameof(config));
        }

        Config = config;
        _encoder = new Encoder(config);
        _decoder = new Decoder(config);
        _quant = config.UseQuantConv ? Common.Conv1(2 * config.LatentChannels, 2 * config.LatentChannels) : null;
        _postQuant = config.UsePostQuantConv ? Common.Conv1(config.LatentChannels, config.LatentChannels) : null;
        RegisterComponents();
    }

    /// <summary>The architecture of this network.</summary>
    public AutoencoderConfig Config { get; }

    /// <summary>Encodes pictures into the distribution of their latents.</summary>
    /// <param name="image">[B, in, H, W] in [-1, 1]; H and W are multiples of the factor.</param>
    /// <returns>
    /// Mean and log variance, each [B, latent, H / factor, W / factor], before the scaling factor is applied.
    /// </returns>
    /// <exception cref="ArgumentException">The shape does not match.</exception>
    public LatentDistribution Encode(Tensor image)
    {
        CheckShape(image, Config.InChannels, multiple: Config.Factor, nameof(image));
        using var scope = NewDisposeScope();
        Tensor moments = OneByOne(image, EncodeOne);           // [B, 2 * latent, h, w]
        Tensor[] halves = moments.chunk(2, dim: 1);
        return new LatentDistribution(
            halves[0].contiguous().MoveToOuterDisposeScope(),
            halves[1].clamp(-30, 20).MoveToOuterDisposeScope());
    }

    /// <summary>Decodes latents.</summary>
    /// <param name="latent">[B, latent, h, w], already divided by the scaling factor.</param>
    /// <returns>[B, out, h * factor, w * factor], near [-1, 1] but not clamped to it.</returns>
    /// <exception cref="ArgumentException">The shape does not match.</exception>
    public Tensor Decode(Tensor latent)
    {
        CheckShape(latent, Config.LatentChannels, multiple: 1, nameof(latent));
        return OneByOne(latent, DecodeOne);
    }

    /// <summary>
    /// Decodes latents that are too large to decode at once. The latent is cut into overlapping tiles of equal size,
    /// each tile is decoded on its own, and neighboring tiles are blended linearly. This takes the memory of one tile
    /// and of the result. Norms and attention see only their own tile, so the result differs slightly from that of
    /// <see cref="Decode"/>, unless the whole latent fits into one tile. Gradients are not recorded.
    /// </summary>
    /// <param name="latent">[B, latent, h, w], as for <see cref="Decode"/>.</param>
    /// <param name="tile">Side of a tile in latent positions.</param>
    /// <param name="overlap">
    /// Latent positions over which two neighboring tiles are blended, at most half a tile.
    /// </param>
    /// <returns>[B, out, h * factor, w * factor].</returns>
    /// <exception cref="ArgumentException">The shape does not match, or the overlap does not fit the tile.</exception>
    public Tensor DecodeTiled(Tensor latent, int tile, int overlap)
    {
        CheckShape(latent, Config.LatentChannels, multiple: 1, nameof(latent));
        ArgumentOutOfRangeException.ThrowIfLessThan(tile, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(overlap);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(overlap, tile / 2);
        using IDisposable noGradients = no_grad();
        using var scope = NewDisposeScope();
        int factor = Config.Factor;
        (long b, long height, long width) = (latent.shape[0], latent.shape[2], latent.shape[3]);
        Tile[] rows = Tile.Cover(height, tile, overlap, factor);
        Tile[] columns = Tile.Cover(width, tile, overlap, factor);
        if (rows.Length == 1 && columns.Length == 1)
        {
            return Decode(latent).MoveToOuterDisposeScope();
        }

        Tensor picture = zeros(b, Config.OutChannels, height * factor, width * factor, latent.dtype, latent.device);
        foreach (Tile row in rows)
        {
            foreach (Tile column in columns)
            {
                using var inner = NewDisposeScope();
                Tensor part = Decode(latent.narrow(2, row.Start, row.Length).narrow(3, column.Start, column.Length));
                Tensor weight = row.Weight(latent).unsqueeze(1).mul(column.Weight(latent));  // [h, w] of the tile
                picture.narrow(2, row.Start * factor, row.Length * factor)
                    .narrow(3, column.Start * factor, column.Length * factor)
                    .add_(part.mul_(weight));
            }
        }

        return picture.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Maps a parameter's name in a published file to its name in this class. Older files call the layers of attention
    /// query, key, value and proj_attn.
    /// </summary>
    public static string? CanonicalName(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        string[] parts = name.Split('.');
        if (parts is [.., "attentions", _, var old, "weight" or "bias"])
        {
            parts[^2] = old switch
            {
                "query" => "to_q",
                "key" => "to_k",
                "value" => "to_v",
                "proj_attn" => "to_out.0",
                _ => old,
            };
        }

        return string.Join('.', parts);
    }

    /// <summary>
    /// Maps a parameter's shape in a published file to its shape in this class. The oldest files store the matrices of
    /// attention as 1x1 convolutions, [c, c, 1, 1]. Other shapes are unchanged.
    /// </summary>
    /// <param name="name">Name as returned by <see cref="CanonicalName"/>.</param>
    /// <param name="shape">Shape in the file.</param>
    public static long[] CanonicalShape(string name, long[] shape)
    {
        ArgumentNullException.ThrowIfNull(name);
        return shape is [_, _, 1, 1] && name.Contains(".attentions.", StringComparison.Ordinal) ? shape[..2] : shape;
    }

    private Tensor EncodeOne(Tensor image)
    {
        Tensor moments = _encoder.call(image);
        if (_quant is null)
        {
            return moments;
        }

        using (moments)
        {
            return _quant.call(moments);
        }
    }

    private Tensor DecodeOne(Tensor latent)
    {
        using Tensor? mapped = _postQuant?.call(latent);
        return _decoder.call(mapped ?? latent);
    }

    private static Tensor OneByOne(Tensor batch, Func<Tensor, Tensor> map)
    {
        if (batch.shape[0] == 1)
        {
            return map(batch);
        }

        using var scope = NewDisposeScope();
        Tensor[] results = [.. Enumerable.Range(0, (int)batch.shape[0]).Select(i => map(batch.narrow(0, i, 1)))];
        return cat(results, dim: 0).MoveToOuterDisposeScope();
    }

    private static void CheckShape(Tensor tensor, int channels, int multiple, string name)
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        if (tensor.shape is not [> 0, var c, > 0 and var h, > 0 and var w]
            || c != channels || h % multiple != 0 || w % multiple != 0)
        {
            string shape = string.Join(", ", tensor.shape);
            throw new ArgumentException(
                $"[{shape}] is not [B, {channels}, H, W] with H and W multiples of {multiple}.", name);
        }
    }
}

/// <summary>A normal distribution of latents, whose elements are independent.</summary>
/// <param name="Mean">[B, latent, h, w].</param>
/// <param name="LogVariance">[B, latent, h, w], within [-30, 20].</param>
public sealed record LatentDistribution(Tensor Mean, Tensor LogVariance) : IDisposable
{
    /// <summary>exp(logvar / 2), [B, latent, h, w].</summary>
    public Tensor StandardDeviation()
    {
        using Tensor half = LogVariance.mul(0.5);
        return half.exp();
    }

    /// <summary>mean + std * eps, with eps [B, latent, h, w] drawn by the caller.</summary>
    public Tensor Sample(Tensor eps)
    {
        using Tensor deviation = StandardDeviation();
        return addcmul(Mean, deviation, eps, 1);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Mean.Dispose();
        LogVariance.Dispose();
    }
}
