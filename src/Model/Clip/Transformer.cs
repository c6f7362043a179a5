// The pre-norm transformer of both CLIP towers (Radford et al., arXiv 2103.00020), with open_clip's parameter names.
//
// Shapes: B samples, T positions, D features, H heads.
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;
using Heads = Atelier.Model.Networks.Heads;
using LayerNorm = Atelier.Model.Networks.LayerNorm;
using Linear = Atelier.Model.Networks.Linear;

namespace Atelier.Model.Clip;

/// <summary>The shape shared by all blocks of a tower.</summary>
/// <param name="Width">Features per position, D.</param>
/// <param name="Heads">Attention heads, H.</param>
/// <param name="Layers">Number of blocks.</param>
/// <param name="Hidden">Hidden features of the feed-forward part.</param>
/// <param name="QuickGelu">Whether the activation is QuickGELU instead of GELU.</param>
/// <param name="Causal">Whether a position sees only itself and earlier positions.</param>
internal sealed record TowerShape(int Width, int Heads, int Layers, int Hidden, bool QuickGelu, bool Causal)
{
    /// <summary>Epsilon of all norms.</summary>
    public const double Eps = 1e-5;

    public LayerNorm Norm() => new(Width, Eps, weight: true, bias: true);
}

/// <summary>The stack of blocks. Maps [B, T, D] to [B, T, D].</summary>
internal sealed class Transformer : Module<Tensor, Tensor>
{
    [ComponentName(Name = "resblocks")] private readonly ModuleList<ResidualBlock> _blocks;

    public Transformer(TowerShape shape) : base(nameof(Transformer))
    {
        _blocks = new([.. Enumerable.Range(0, shape.Layers).Select(_ => new ResidualBlock(shape))]);
        RegisterComponents();
    }

    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        Tensor x = input.alias();
        foreach (ResidualBlock block in _blocks)
        {
            using Tensor before = x;
            x = block.call(before);  // [B, T, D]
        }

        return x.MoveToOuterDisposeScope();
    }
}

/// <summary>x += attn(ln_1(x)); x += mlp(ln_2(x)). Maps [B, T, D] to [B, T, D].</summary>
internal sealed class ResidualBlock : Module<Tensor, Tensor>
{
    [ComponentName(Name = "ln_1")] private readonly LayerNorm _norm1;
    [ComponentName(Name = "attn")] private readonly TowerAttention _attention;
    [ComponentName(Name = "ln_2")] private readonly LayerNorm _norm2;
    [ComponentName(Name = "mlp")] private readonly TowerFeedForward _mlp;

    public ResidualBlock(TowerShape shape) : base(nameof(ResidualBlock))
    {
        _norm1 = shape.Norm();
        _attention = new TowerAttention(shape);
        _norm2 = shape.Norm();
        _mlp = new TowerFeedForward(shape);
        RegisterComponents();
    }

    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        Tensor x = input.add(_attention.call(_norm1.call(input)));             // [B, T, D]
        return x.add(_mlp.call(_norm2.call(x))).MoveToOuterDisposeScope();     // [B, T, D]
    }
}

/// <summary>softmax(q kᵀ / sqrt(D / H) + mask) v, with q, k and v stacked in one matrix in this order.</summary>
internal sealed class TowerAttention : Module<Tensor, Tensor>
{
    [ComponentName(Name = "in_proj_weight")] private readonly Parameter _inWeight;
    [ComponentName(Name = "in_proj_bias")] private readonly Parameter _inBias;
    [ComponentName(Name = "out_proj")] private readonly Linear _out;
    private readonly int _heads;
    private readonly bool _causal;

    public TowerAttention(TowerShape shape) : base(nameof(TowerAttention))
    {
        _heads = shape.Heads;
        _causal = shape.Causal;
        _inWeight = new Parameter(empty(3 * shape.Width, shape.Width));
        _inBias = new Parameter(empty(3 * shape.Width));
        _out = new Linear(shape.Width, shape.Width, bias: true);
        RegisterComponents();
    }

    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        (long b, long t, long d) = (input.shape[0], input.shape[1], input.shape[2]);
        Tensor qkv = functional.linear(input, _inWeight, _inBias)               // [B, T, 3 D]
            .view(b, t, 3, _heads, d / _heads).permute(2, 0, 3, 1, 4);          // [3, B, H, T, D / H]
        Tensor y = Heads.Attend(qkv[0], qkv[1], qkv[2], _causal);               // [B, T, D]
        return _out.call(y).MoveToOuterDisposeScope();                          // [B, T, D]
    }
}

/// <summary>c_proj(act(c_fc(x))). Maps [B, T, D] to [B, T, D].</summary>
internal sealed class TowerFeedForward : Module<Tensor, Tensor>
{
    [ComponentName(Name = "c_fc")] private readonly Linear _up;
    [ComponentName(Name = "c_proj")] private readonly Linear _down;
    private readonly bool _quickGelu;

    public TowerFeedForward(TowerShape shape) : base(nameof(TowerFeedForward))
    {
        _quickGelu = shape.QuickGelu;
        _up = new Linear(shape.Width, shape.Hidden, bias: true);
        _down = new Linear(shape.Hidden, shape.Width, bias: true);
        RegisterComponents();
    }

    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        Tensor h = _up.call(input);                                                    // [B, T, Hidden]
        Tensor active = _quickGelu ? h.mul(h.mul(1.702).sigmoid_()) : functional.gelu(h);  // [B, T, Hidden]
        return _down.call(active).MoveToOuterDisposeScope();                           // [B, T, D]
    }
}
