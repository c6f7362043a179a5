// The oracle's network. For each cell of a 16 x 16 grid and each kind of thing, it predicts whether the cell contains
// the center of such a thing, and the thing's color, size and exact position. For the whole picture, it predicts
// background and style.
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Atelier.Model.Randomness;
using Atelier.Shapes.Scenes;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;
using GroupNorm = Atelier.Model.Networks.GroupNorm;
using Linear = Atelier.Model.Networks.Linear;

namespace Atelier.Shapes.Judging;

/// <summary>The network's output for B pictures, with K kinds, C colors and a grid of G x G cells.</summary>
/// <param name="Centers">Logits of the cell containing the center of a thing, [B, K, G, G].</param>
/// <param name="Colors">Logits of that thing's color, [B, K, C, G, G].</param>
/// <param name="Boxes">
/// That thing's x and y relative to the cell's middle, in cells, and its diameter as a fraction of the picture's side,
/// [B, K, 3, G, G].
/// </param>
/// <param name="Backgrounds">Logits of the background, [B, 7].</param>
/// <param name="Styles">Logits of the style, [B, 4].</param>
internal sealed record OracleOutput(Tensor Centers, Tensor Colors, Tensor Boxes, Tensor Backgrounds, Tensor Styles)
{
    /// <summary>Converts the output to float32, in which losses and verdicts are computed.</summary>
    public OracleOutput ToFloat32()
    {
        const ScalarType type = ScalarType.Float32;
        return new(Centers.to(type), Colors.to(type), Boxes.to(type), Backgrounds.to(type), Styles.to(type));
    }
}

/// <summary>A residual block: norm, SiLU and convolution, twice. Input and output are [B, C, H, W].</summary>
internal sealed class OracleBlock : Module<Tensor, Tensor>
{
    [ComponentName(Name = "norm1")] private readonly GroupNorm _norm1;
    [ComponentName(Name = "conv1")] private readonly Model.Networks.Conv2d _conv1;
    [ComponentName(Name = "norm2")] private readonly GroupNorm _norm2;
    [ComponentName(Name = "conv2")] private readonly Model.Networks.Conv2d _conv2;

    public OracleBlock(int width) : base(nameof(OracleBlock))
    {
        _norm1 = new GroupNorm(8, width, 1e-5);
        _conv1 = new Model.Networks.Conv2d(width, width, (3, 3), padding: (1, 1), bias: false);
        _norm2 = new GroupNorm(8, width, 1e-5);
        _conv2 = new Model.Networks.Conv2d(width, width, (3, 3), padding: (1, 1), bias: false);
        RegisterComponents();
    }

    public override Tensor forward(Tensor input)
    {
        Tensor x = _conv1.call(functional.silu(_norm1.call(input)));
        return input + _conv2.call(functional.silu(_norm2.call(x)));
    }
}

/// <summary>The network. Its input is a batch of pictures, [B, 3, 64, 64] in [-1, 1].</summary>
internal sealed class OracleNetwork : Module<Tensor, OracleOutput>
{
    public const int Side = 64;
    public const int Grid = 16;

    private const int Outer = 32;
    private const int Middle = 64;
    private const int Inner = 96;
    private const int Head = 128;

    private static readonly int s_kinds = Enum.GetValues<ThingKind>().Length;
    private static readonly int s_colors = Enum.GetValues<ThingColor>().Length;
    private static readonly int s_backgrounds = Enum.GetValues<Background>().Length;
    private static readonly int s_styles = Enum.GetValues<ArtStyle>().Length;

    [ComponentName(Name = "stem")] private readonly Model.Networks.Conv2d _stem;
    [ComponentName(Name = "outer")] private readonly ModuleList<OracleBlock> _outer;
    [ComponentName(Name = "to_middle")] private readonly Model.Networks.Conv2d _toMiddle;
    [ComponentName(Name = "middle")] private readonly ModuleList<OracleBlock> _middle;
    [ComponentName(Name = "to_inner")] private readonly Model.Networks.Conv2d _toInner;
    [ComponentName(Name = "inner")] private readonly ModuleList<OracleBlock> _inner;
    [ComponentName(Name = "from_inner")] private readonly Model.Networks.Conv2d _fromInner;
    [ComponentName(Name = "head_norm")] private readonly GroupNorm _headNorm;
    [ComponentName(Name = "head")] private readonly Model.Networks.Conv2d _head;
    [ComponentName(Name = "cells")] private readonly Model.Networks.Conv2d _cells;
    [ComponentName(Name = "whole")] private readonly Linear _whole;

    public OracleNetwork() : base(nameof(OracleNetwork))
    {
        _stem = new Model.Networks.Conv2d(3, Outer, (5, 5), stride: 2, padding: (2, 2));
        _outer = new ModuleList<OracleBlock>(new OracleBlock(Outer));
        _toMiddle = new Model.Networks.Conv2d(Outer, Middle, (3, 3), stride: 2, padding: (1, 1));
        _middle = new ModuleList<OracleBlock>(new OracleBlock(Middle), new OracleBlock(Middle));
        _toInner = new Model.Networks.Conv2d(Middle, Inner, (3, 3), stride: 2, padding: (1, 1));
        _inner = new ModuleList<OracleBlock>(new OracleBlock(Inner), new OracleBlock(Inner));
        _fromInner = new Model.Networks.Conv2d(Inner, Middle, (1, 1));
        _headNorm = new GroupNorm(8, Middle, 1e-5);
        _head = new Model.Networks.Conv2d(Middle, Head, (3, 3), padding: (1, 1));
        _cells = new Model.Networks.Conv2d(Head, s_kinds * (1 + s_colors + 3), (1, 1));
        _whole = new Linear(Outer + Middle + Inner, s_backgrounds + s_styles, bias: true);
        RegisterComponents();
    }

    /// <inheritdoc/>
    public override OracleOutput forward(Tensor pictures)
    {
        Tensor outer = Run(_outer, _stem.call(pictures));                       // [B, 32, 32, 32]
        Tensor middle = Run(_middle, _toMiddle.call(outer));                    // [B, 64, 16, 16]
        Tensor inner = Run(_inner, _toInner.call(middle));                      // [B, 96, 8, 8]
        Tensor context = functional.interpolate(_fromInner.call(inner), scale_factor: [2, 2]);
        Tensor head = functional.silu(_headNorm.call(middle + context));        // [B, 64, 16, 16]
        Tensor cells = _cells.call(functional.silu(_head.call(head)));          // [B, K (1 + C + 3), 16, 16]
        cells = cells.view(-1, s_kinds, 1 + s_colors + 3, Grid, Grid);
        Tensor features = cat([Mean(outer), Mean(middle), Mean(inner)], 1);     // [B, 192]
        Tensor whole = _whole.call(features);                                   // [B, 7 + 4]
        return new OracleOutput(
            cells.select(2, 0), cells.narrow(2, 1, s_colors), cells.narrow(2, 1 + s_colors, 3),
            whole.narrow(1, 0, s_backgrounds), whole.narrow(1, s_backgrounds, s_styles));

        static Tensor Mean(Tensor x) => functional.silu(x).mean([2, 3]);
    }

    /// <summary>
    /// Fills the network from a seed: He initialization, with the usual values for norms and residual branches.
    /// </summary>
    public void Initialize(ulong seed)
    {
        using var noGradients = no_grad();
        foreach ((string name, Parameter parameter) in named_parameters())
        {
            using var scope = NewDisposeScope();
            var values = new float[parameter.numel()];
            if (name == "cells.bias")
            {
                // Hardly any cell contains a center, so the initial logits of centers are low.
                for (int i = 0; i < values.Length; i += 1 + s_colors + 3)
                {
                    values[i] = -4;
                }
            }
            else if (parameter.dim() == 1)
            {
                Array.Fill(values, name.EndsWith(".weight", StringComparison.Ordinal) ? 1f : 0f);
            }
            else
            {
                long index = MemoryMarshal.Read<long>(SHA256.HashData(Encoding.UTF8.GetBytes(name)));
                SeededNoise.Normal(seed, NoisePurpose.InitialWeights, index, values);
                long inputs = parameter.numel() / parameter.shape[0];
                double part = name.EndsWith("conv2.weight", StringComparison.Ordinal) ? 0.3 : 1;
                double std = part * Math.Sqrt(2.0 / inputs);
                for (int i = 0; i < values.Length; i++)
                {
                    values[i] = (float)(values[i] * std);
                }
            }

            parameter.copy_(tensor(values, parameter.shape));
        }
    }

    private static Tensor Run(ModuleList<OracleBlock> blocks, Tensor x)
    {
        foreach (OracleBlock block in blocks)
        {
            x = block.call(x);
        }

        return x;
    }
}
