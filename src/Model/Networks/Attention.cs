// Attention of MicroDiT: queries and keys are normalized over all heads together, by a layer norm without weights,
// before they are split into heads.
using TorchSharp;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Model.Networks;

/// <summary>
/// Keys and values of one block's cross-attention, each [B, heads, L, head width]. Computed once per caption.
/// </summary>
/// <param name="Key">Normalized keys.</param>
/// <param name="Value">Values.</param>
public sealed record KeyValue(Tensor Key, Tensor Value) : IDisposable
{
    /// <inheritdoc/>
    public void Dispose()
    {
        Key.Dispose();
        Value.Dispose();
    }
}

/// <summary>Operations shared by all kinds of attention.</summary>
internal static class Heads
{
    /// <summary>
    /// Normalizes x [B, T, heads * w] over its whole width, then splits it into heads, [B, heads, T, w].
    /// </summary>
    public static Tensor SplitNormalized(Tensor x, int heads, double eps) =>
        Split(functional.layer_norm(x, [x.shape[2]], eps: eps), heads);

    /// <summary>Splits x [B, T, heads * w] into heads: a view [B, heads, T, w].</summary>
    public static Tensor Split(Tensor x, int heads) =>
        x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2);

    /// <summary>
    /// softmax(q kᵀ / √w) v of [B, heads, T, w], with the heads joined: [B, T, heads * w]. If causal, a position
    /// sees only itself and earlier positions.
    /// </summary>
    public static Tensor Attend(Tensor query, Tensor key, Tensor value, bool causal = false)
    {
        // The library's fused attention is faster except in one case: on CPUs, its backward pass in bfloat16 takes five
        // times as long as that of plain matrix products (docs/log.md).
        bool plain = is_grad_enabled() && query.dtype == ScalarType.BFloat16 && query.device_type == DeviceType.CPU;
        Tensor mixed = plain                                                           // [B, heads, T, w]
            ? Products(query, key, value, causal)
            : functional.scaled_dot_product_attention(query, key, value, attn_mask: null, p: 0.0, is_casual: causal);
        return mixed.transpose(1, 2).reshape(query.shape[0], query.shape[2], -1);      // [B, T, heads * w]
    }

    private static Tensor Products(Tensor query, Tensor key, Tensor value, bool causal)
    {
        Tensor scores = matmul(query, key.transpose(2, 3)) / Math.Sqrt(query.shape[3]); // [B, heads, T, L]
        if (causal)
        {
            (long t, long l) = (scores.shape[2], scores.shape[3]);
            scores = scores + full(t, l, float.NegativeInfinity, scores.dtype, scores.device).triu_(1);
        }

        return matmul(functional.softmax(scores, dim: -1), value);                      // [B, heads, T, w]
    }
}

/// <summary>Self-attention over tokens [B, T, D]; queries, keys and values may be narrower than D.</summary>
public sealed class SelfAttention : Module<Tensor, Tensor>
{
    [ComponentName(Name = "qkv")] private readonly Linear _qkv;
    [ComponentName(Name = "proj")] private readonly Linear _projection;
    private readonly int _width;
    private readonly int _heads;
    private readonly double _eps;

    /// <summary>
    /// Allocates attention with <paramref name="heads"/> heads and a total width of <paramref name="width"/>.
    /// </summary>
    public SelfAttention(int dim, int width, int heads, double eps, bool bias) : base(nameof(SelfAttention))
    {
        (_width, _heads, _eps) = (width, heads, eps);
        _qkv = new Linear(dim, 3L * width, bias);
        _projection = new Linear(width, dim, bias);
        RegisterComponents();
    }

    /// <inheritdoc/>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        Tensor qkv = _qkv.call(input);                                                        // [B, T, 3 W]
        Tensor query = Heads.SplitNormalized(qkv.narrow(2, 0, _width), _heads, _eps);         // [B, heads, T, w]
        Tensor key = Heads.SplitNormalized(qkv.narrow(2, _width, _width), _heads, _eps);      // [B, heads, T, w]
        Tensor value = Heads.Split(qkv.narrow(2, 2L * _width, _width), _heads);               // [B, heads, T, w]
        return _projection.call(Heads.Attend(query, key, value)).MoveToOuterDisposeScope();   // [B, T, D]
    }
}

/// <summary>Cross-attention of tokens [B, T, D] to a caption, whose keys and values are projected once.</summary>
public sealed class CrossAttention : Module<Tensor, KeyValue, Tensor>
{
    [ComponentName(Name = "q_linear")] private readonly Linear _query;
    [ComponentName(Name = "kv_linear")] private readonly Linear _keyValue;
    [ComponentName(Name = "proj")] private readonly Linear _projection;
    private readonly int _dim;
    private readonly int _heads;
    private readonly double _eps;

    /// <summary>Allocates attention with <paramref name="heads"/> heads.</summary>
    public CrossAttention(int dim, int heads, double eps, bool bias) : base(nameof(CrossAttention))
    {
        (_dim, _heads, _eps) = (dim, heads, eps);
        _query = new Linear(dim, dim, bias);
        _keyValue = new Linear(dim, 2L * dim, bias);
        _projection = new Linear(dim, dim, bias);
        RegisterComponents();
    }

    /// <summary>Keys and values of a caption [B, L, D].</summary>
    public KeyValue Project(Tensor caption)
    {
        using var scope = NewDisposeScope();
        Tensor both = _keyValue.call(caption);                                                     // [B, L, 2 D]
        Tensor key = Heads.SplitNormalized(both.narrow(2, 0, _dim), _heads, _eps).contiguous();    // [B, heads, L, w]
        Tensor value = Heads.Split(both.narrow(2, _dim, _dim), _heads).contiguous();               // [B, heads, L, w]
        return new KeyValue(key.MoveToOuterDisposeScope(), value.MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public override Tensor forward(Tensor input, KeyValue caption)
    {
        using var scope = NewDisposeScope();
        Tensor query = Heads.SplitNormalized(_query.call(input), _heads, _eps); // [B, heads, T, w]
        return _projection.call(Heads.Attend(query, caption.Key, caption.Value)).MoveToOuterDisposeScope(); // [B, T, D]
    }
}
