// The parts of the autoencoder. Submodule names are those of published state dicts. Feature maps of a 1024 x 1024
// picture take half a gigabyte each, so every map is released as soon as the next one is computed, not at the end of
// the block.
//
// Shapes: B pictures, C channels, H x W positions of the current level, N = H * W.
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;
using Conv2d = Atelier.Model.Networks.Conv2d;
using GroupNorm = Atelier.Model.Networks.GroupNorm;
using Linear = Atelier.Model.Networks.Linear;

namespace Atelier.Model.Autoencoder;

/// <summary>Settings and steps shared by all blocks of an autoencoder.</summary>
internal static class Common
{
    public const double Eps = 1e-6;

    public static Conv2d Conv3(long inputs, long outputs) => new(inputs, outputs, (3, 3), padding: (1, 1));

    public static Conv2d Conv1(long inputs, long outputs) => new(inputs, outputs, (1, 1));

    /// <summary>The residual blocks of one level; the first block changes the number of channels.</summary>
    public static ModuleList<ResnetBlock> Resnets(long inputs, long outputs, int layers, long groups) =>
        new([.. Enumerable.Range(0, layers).Select(i => new ResnetBlock(i == 0 ? inputs : outputs, outputs, groups))]);

    /// <summary>conv(silu(norm(x))).</summary>
    public static Tensor NormActConv(GroupNorm norm, Conv2d conv, Tensor x)
    {
        Tensor active;
        using (Tensor normed = norm.call(x))
        {
            active = functional.silu(normed);
        }

        using (active)
        {
            return conv.call(active);
        }
    }

    /// <summary>Runs x through the modules in order. Disposes the intermediate results, but never x itself.</summary>
    public static Tensor Chain(Tensor x, IEnumerable<Module<Tensor, Tensor>> modules)
    {
        Tensor y = x;
        foreach (Module<Tensor, Tensor> module in modules)
        {
            Tensor next = module.call(y);
            if (!ReferenceEquals(y, x))
            {
                y.Dispose();
            }

            y = next;
        }

        return y;
    }
}

/// <summary>
/// y = shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x)))))). Maps [B, Cin, H, W] to [B, Cout, H, W].
/// </summary>
internal sealed class ResnetBlock : Module<Tensor, Tensor>
{
    [ComponentName(Name = "norm1")] private readonly GroupNorm _norm1;
    [ComponentName(Name = "conv1")] private readonly Conv2d _conv1;
    [ComponentName(Name = "norm2")] private readonly GroupNorm _norm2;
    [ComponentName(Name = "conv2")] private readonly Conv2d _conv2;
    [ComponentName(Name = "conv_shortcut")] private readonly Conv2d? _shortcut;

    public ResnetBlock(long inputs, long outputs, long groups) : base(nameof(ResnetBlock))
    {
        _norm1 = new GroupNorm(groups, inputs, Common.Eps);
        _conv1 = Common.Conv3(inputs, outputs);
        _norm2 = new GroupNorm(groups, outputs, Common.Eps);
        _conv2 = Common.Conv3(outputs, outputs);
        _shortcut = inputs == outputs ? null : Common.Conv1(inputs, outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor input)
    {
        using Tensor h1 = Common.NormActConv(_norm1, _conv1, input);  // [B, Cout, H, W]
        using Tensor h2 = Common.NormActConv(_norm2, _conv2, h1);     // [B, Cout, H, W]
        using Tensor? shortcut = _shortcut?.call(input);              // [B, Cout, H, W]
        return (shortcut ?? input).add(h2);
    }
}

/// <summary>
/// y = x + out(softmax(q kᵀ / sqrt(C)) v), with one head over all positions. Maps [B, C, H, W] to [B, C, H, W].
/// </summary>
internal sealed class AttentionBlock : Module<Tensor, Tensor>
{
    [ComponentName(Name = "group_norm")] private readonly GroupNorm _norm;
    [ComponentName(Name = "to_q")] private readonly Linear _query;
    [ComponentName(Name = "to_k")] private readonly Linear _key;
    [ComponentName(Name = "to_v")] private readonly Linear _value;
    [ComponentName(Name = "to_out")] private readonly ModuleList<Linear> _out;

    public AttentionBlock(long channels, long groups) : base(nameof(AttentionBlock))
    {
        _norm = new GroupNorm(groups, channels, Common.Eps);
        _query = new Linear(channels, channels, bias: true);
        _key = new Linear(channels, channels, bias: true);
        _value = new Linear(channels, channels, bias: true);
        _out = new ModuleList<Linear>(new Linear(channels, channels, bias: true));
        RegisterComponents();
    }

    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        (long b, long c, long h, long w) = (input.shape[0], input.shape[1], input.shape[2], input.shape[3]);
        Tensor x = _norm.call(input).view(b, c, h * w).transpose(1, 2).unsqueeze(1);  // [B, 1, N, C]

        // The fused kernel never stores the N x N matrix, which alone would take a gigabyte for a 128 x 128 latent.
        Tensor y = functional.scaled_dot_product_attention(
            _query.call(x), _key.call(x), _value.call(x), attn_mask: null, p: 0.0, is_casual: false);  // [B, 1, N, C]
        Tensor mixed = _out[0].call(y).squeeze(1).transpose(1, 2).reshape(b, c, h, w);  // [B, C, H, W]
        return input.add(mixed).MoveToOuterDisposeScope();
    }
}

/// <summary>
/// Halves height and width: pads one column on the right and one row at the bottom, then applies a convolution with
/// stride 2.
/// </summary>
internal sealed class Downsampler : Module<Tensor, Tensor>
{
    [ComponentName(Name = "conv")] private readonly Conv2d _conv;

    public Downsampler(long channels) : base(nameof(Downsampler))
    {
        _conv = new Conv2d(channels, channels, (3, 3), stride: 2);
        RegisterComponents();
    }

    public override Tensor forward(Tensor input)
    {
        using Tensor padded = functional.pad(input, [0, 1, 0, 1]);  // [B, C, H + 1, W + 1]
        return _conv.call(padded);                                  // [B, C, H / 2, W / 2]
    }
}

/// <summary>Doubles height and width by nearest-neighbor upsampling, then applies a convolution.</summary>
internal sealed class Upsampler : Module<Tensor, Tensor>
{
    [ComponentName(Name = "conv")] private readonly Conv2d _conv;

    public Upsampler(long channels) : base(nameof(Upsampler))
    {
        _conv = Common.Conv3(channels, channels);
        RegisterComponents();
    }

    public override Tensor forward(Tensor input)
    {
        using Tensor wide = functional.interpolate(input, scale_factor: [2, 2], mode: InterpolationMode.Nearest);
        return _conv.call(wide);  // [B, C, 2 H, 2 W]
    }
}

/// <summary>The residual blocks of one encoder level, followed by a downsampler except at the coarsest level.</summary>
internal sealed class DownBlock : Module<Tensor, Tensor>
{
    [ComponentName(Name = "resnets")] private readonly ModuleList<ResnetBlock> _resnets;
    [ComponentName(Name = "downsamplers")] private readonly ModuleList<Downsampler>? _downsamplers;

    public DownBlock(long inputs, long outputs, int layers, long groups, bool halve) : base(nameof(DownBlock))
    {
        _resnets = Common.Resnets(inputs, outputs, layers, groups);
        _downsamplers = halve ? new(new Downsampler(outputs)) : null;
        RegisterComponents();
    }

    public override Tensor forward(Tensor input) => Common.Chain(input, [.. _resnets, .. _downsamplers ?? []]);
}

/// <summary>The residual blocks of one decoder level, followed by an upsampler except at the finest level.</summary>
internal sealed class UpBlock : Module<Tensor, Tensor>
{
    [ComponentName(Name = "resnets")] private readonly ModuleList<ResnetBlock> _resnets;
    [ComponentName(Name = "upsamplers")] private readonly ModuleList<Upsampler>? _upsamplers;

    public UpBlock(long inputs, long outputs, int layers, long groups, bool grow) : base(nameof(UpBlock))
    {
        _resnets = Common.Resnets(inputs, outputs, layers, groups);
        _upsamplers = grow ? new(new Upsampler(outputs)) : null;
        RegisterComponents();
    }

    public override Tensor forward(Tensor input) => Common.Chain(input, [.. _resnets, .. _upsamplers ?? []]);
}

/// <summary>
/// The block at the coarsest level: a residual block, attention over all positions, and another residual block.
/// </summary>
internal sealed class MidBlock : Module<Tensor, Tensor>
{
    [ComponentName(Name = "attentions")] private readonly ModuleList<AttentionBlock> _attentions;
    [ComponentName(Name = "resnets")] private readonly ModuleList<ResnetBlock> _resnets;

    public MidBlock(long channels, long groups) : base(nameof(MidBlock))
    {
        _attentions = new(new AttentionBlock(channels, groups));
        _resnets = new(new ResnetBlock(channels, channels, groups), new ResnetBlock(channels, channels, groups));
        RegisterComponents();
    }

    public override Tensor forward(Tensor input) => Common.Chain(input, [_resnets[0], _attentions[0], _resnets[1]]);
}

/// <summary>
/// Encodes a picture [B, 3, H, W] into the moments of its latent, [B, 2 * latent, H / factor, W / factor].
/// </summary>
internal sealed class Encoder : Module<Tensor, Tensor>
{
    [ComponentName(Name = "conv_in")] private readonly Conv2d _in;
    [ComponentName(Name = "down_blocks")] private readonly ModuleList<DownBlock> _down;
    [ComponentName(Name = "mid_block")] private readonly MidBlock _mid;
    [ComponentName(Name = "conv_norm_out")] private readonly GroupNorm _normOut;
    [ComponentName(Name = "conv_out")] private readonly Conv2d _out;

    public Encoder(AutoencoderConfig config) : base(nameof(Encoder))
    {
        int[] widths = config.BlockOutChannels;
        int groups = config.NormNumGroups;
        _in = Common.Conv3(config.InChannels, widths[0]);
        _down = new([.. widths.Select((width, i) => new DownBlock(
            widths[Math.Max(i - 1, 0)], width, config.LayersPerBlock, groups, halve: i < widths.Length - 1))]);
        _mid = new MidBlock(widths[^1], groups);
        _normOut = new GroupNorm(groups, widths[^1], Common.Eps);
        _out = Common.Conv3(widths[^1], 2 * config.LatentChannels);
        RegisterComponents();
    }

    public override Tensor forward(Tensor input)
    {
        using Tensor h = Common.Chain(input, [_in, .. _down, _mid]);
        return Common.NormActConv(_normOut, _out, h);
    }
}

/// <summary>Decodes a latent [B, latent, h, w] into a picture [B, 3, h * factor, w * factor].</summary>
internal sealed class Decoder : Module<Tensor, Tensor>
{
    [ComponentName(Name = "conv_in")] private readonly Conv2d _in;
    [ComponentName(Name = "up_blocks")] private readonly ModuleList<UpBlock> _up;
    [ComponentName(Name = "mid_block")] private readonly MidBlock _mid;
    [ComponentName(Name = "conv_norm_out")] private readonly GroupNorm _normOut;
    [ComponentName(Name = "conv_out")] private readonly Conv2d _out;

    public Decoder(AutoencoderConfig config) : base(nameof(Decoder))
    {
        int[] widths = [.. config.BlockOutChannels.Reverse()];
        int groups = config.NormNumGroups;
        _in = Common.Conv3(config.LatentChannels, widths[0]);
        _up = new([.. widths.Select((width, i) => new UpBlock(
            widths[Math.Max(i - 1, 0)], width, config.LayersPerBlock + 1, groups, grow: i < widths.Length - 1))]);
        _mid = new MidBlock(widths[0], groups);
        _normOut = new GroupNorm(groups, widths[^1], Common.Eps);
        _out = Common.Conv3(widths[^1], config.OutChannels);
        RegisterComponents();
    }

    public override Tensor forward(Tensor input)
    {
        using Tensor h = Common.Chain(input, [_in, _mid, .. _up]);
        return Common.NormActConv(_normOut, _out, h);
    }
}
