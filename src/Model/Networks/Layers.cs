// The basic layers of all networks. They differ from TorchSharp's own layers in one point: the memory of a new layer is
// allocated but not written. A network is filled exactly once, from a file, a formula or an initializer, so creating a
// network with a billion parameters takes neither time nor resident memory.
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Model.Networks;

/// <summary>y = x Wᵀ + b. Weight [out, in], optional bias [out].</summary>
public sealed class Linear : Module<Tensor, Tensor>
{
    [ComponentName(Name = "weight")] private readonly Parameter _weight;
    [ComponentName(Name = "bias")] private readonly Parameter? _bias;

    /// <summary>Allocates a layer from <paramref name="inputs"/> to <paramref name="outputs"/> features.</summary>
    public Linear(long inputs, long outputs, bool bias) : base(nameof(Linear))
    {
        _weight = new Parameter(empty(outputs, inputs));
        _bias = bias ? new Parameter(empty(outputs)) : null;
        RegisterComponents();
    }

    /// <summary>The matrix, [out, in].</summary>
    public Parameter Weight => _weight;

    /// <summary>The offset, [out]; null if there is none.</summary>
    public Parameter? Bias => _bias;

    /// <inheritdoc/>
    public override Tensor forward(Tensor input) => functional.linear(input, _weight, _bias);
}

/// <summary>
/// Layer normalization over the last dimension, optionally with a scale, or with a scale and an offset.
/// </summary>
public sealed class LayerNorm : Module<Tensor, Tensor>
{
    [ComponentName(Name = "weight")] private readonly Parameter? _weight;
    [ComponentName(Name = "bias")] private readonly Parameter? _bias;
    private readonly long[] _shape;
    private readonly double _eps;

    /// <summary>Allocates a norm over <paramref name="width"/> features.</summary>
    public LayerNorm(long width, double eps, bool weight = true, bool bias = false) : base(nameof(LayerNorm))
    {
        _shape = [width];
        _eps = eps;
        _weight = weight ? new Parameter(empty(width)) : null;
        _bias = bias ? new Parameter(empty(width)) : null;
        RegisterComponents();
    }

    /// <summary>The scale, [width]; null if there is none.</summary>
    public Parameter? Weight => _weight;

    /// <summary>The offset, [width]; null if there is none.</summary>
    public Parameter? Bias => _bias;

    /// <inheritdoc/>
    public override Tensor forward(Tensor input) => functional.layer_norm(input, _shape, _weight, _bias, _eps);
}

/// <summary>Group normalization of [B, C, H, W] with a scale and an offset per channel.</summary>
public sealed class GroupNorm : Module<Tensor, Tensor>
{
    [ComponentName(Name = "weight")] private readonly Parameter _weight;
    [ComponentName(Name = "bias")] private readonly Parameter _bias;
    private readonly long _groups;
    private readonly double _eps;

    /// <summary>Allocates a norm of <paramref name="channels"/> channels in <paramref name="groups"/> groups.</summary>
    public GroupNorm(long groups, long channels, double eps) : base(nameof(GroupNorm))
    {
        _groups = groups;
        _eps = eps;
        _weight = new Parameter(empty(channels));
        _bias = new Parameter(empty(channels));
        RegisterComponents();
    }

    /// <summary>The scale, [C].</summary>
    public Parameter Weight => _weight;

    /// <summary>The offset, [C].</summary>
    public Parameter Bias => _bias;

    /// <inheritdoc/>
    public override Tensor forward(Tensor input) => functional.group_norm(input, _groups, _weight, _bias, _eps);
}

/// <summary>Two-dimensional convolution. Weight [out, in, kernelHeight, kernelWidth], optional bias [out].</summary>
public sealed class Conv2d : Module<Tensor, Tensor>
{
    [ComponentName(Name = "weight")] private readonly Parameter _weight;
    [ComponentName(Name = "bias")] private readonly Parameter? _bias;
    private readonly long[] _stride;
    private readonly long[] _padding;

    /// <summary>Allocates a convolution. Sizes are (height, width).</summary>
    public Conv2d(
        long inputs, long outputs, (long Height, long Width) kernel, long stride = 1,
        (long Height, long Width) padding = default, bool bias = true) : base(nameof(Conv2d))
    {
        _weight = new Parameter(empty(outputs, inputs, kernel.Height, kernel.Width));
        _bias = bias ? new Parameter(empty(outputs)) : null;
        _stride = [stride, stride];
        _padding = [padding.Height, padding.Width];
        RegisterComponents();
    }

    /// <summary>The kernels, [out, in, kernelHeight, kernelWidth].</summary>
    public Parameter Weight => _weight;

    /// <summary>The offset, [out]; null if there is none.</summary>
    public Parameter? Bias => _bias;

    /// <inheritdoc/>
    public override Tensor forward(Tensor input) =>
        functional.conv2d(input, _weight, _bias, strides: _stride, padding: _padding);
}
