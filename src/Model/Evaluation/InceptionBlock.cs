// The blocks of Inception v3 as tables: parallel branches over one input, each a chain of convolutions, whose outputs
// are concatenated.
//
// Shapes: B pictures, C channels, H x W positions.
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;
using Conv2d = Atelier.Model.Networks.Conv2d;

namespace Atelier.Model.Evaluation;

/// <summary>
/// One convolution of a table. With stride 1 it is padded to keep the size; otherwise it is not padded.
/// </summary>
internal sealed record Kernel(string Name, int Outputs, int Height, int Width, int Stride = 1)
{
    public ConvUnit Unit(int inputs) =>
        new(inputs, Outputs, (Height, Width), Stride, Stride > 1 ? (0, 0) : (Height / 2, Width / 2));
}

/// <summary>
/// The pooling before a branch's first convolution: 3 x 3, with stride 1, or stride 2 for HalvingMaximum.
/// </summary>
internal enum Pool
{
    None,
    Average,
    Maximum,
    HalvingMaximum,
}

/// <summary>
/// Pooling, followed by steps in order. A step with two kernels runs both on the same input and concatenates the
/// results.
/// </summary>
internal sealed record Branch(Pool Pool, Kernel[][] Steps);

/// <summary>relu(batch_norm(conv(x))).</summary>
internal sealed class ConvUnit : Module<Tensor, Tensor>
{
    [ComponentName(Name = "conv")] private readonly Conv2d _conv;
    [ComponentName(Name = "bn")] private readonly FrozenBatchNorm _norm;

    public ConvUnit(
        int inputs, int outputs, (int Height, int Width) kernel,
        int stride = 1, (int Height, int Width) padding = default)
        : base(nameof(ConvUnit))
    {
        _conv = new Conv2d(inputs, outputs, kernel, stride, padding, bias: false);
        _norm = new FrozenBatchNorm(outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor input)
    {
        using Tensor mapped = _conv.call(input);
        return _norm.call(mapped).relu_();
    }
}

/// <summary>Batch normalization with stored statistics: y = (x - mean) / sqrt(var + 0.001) * weight + bias.</summary>
internal sealed class FrozenBatchNorm : Module<Tensor, Tensor>
{
    [ComponentName(Name = "weight")] private readonly Parameter _weight;
    [ComponentName(Name = "bias")] private readonly Parameter _bias;

    // These are buffers: they belong to the state dict but receive no gradients.
    [ComponentName(Name = "running_mean")] private readonly Tensor _mean;
    [ComponentName(Name = "running_var")] private readonly Tensor _variance;
    [ComponentName(Name = "num_batches_tracked")] private readonly Tensor _batches;

    public FrozenBatchNorm(long channels) : base(nameof(FrozenBatchNorm))
    {
        _weight = new Parameter(empty(channels));
        _bias = new Parameter(empty(channels));
        _mean = empty(channels);
        _variance = empty(channels);
        _batches = zeros([], dtype: ScalarType.Int64);
        RegisterComponents();
    }

    public override Tensor forward(Tensor input) => functional.batch_norm(
        input, _mean, _variance, _weight, _bias, training: false, momentum: 0.1, eps: 0.001);
}

/// <summary>
/// Branches over one input, whose outputs are concatenated along the channels in the order of the table.
/// </summary>
internal sealed class InceptionBlock : Module<Tensor, Tensor>
{
    private readonly (Pool Pool, ConvUnit[][] Steps)[] _branches;

    private InceptionBlock(int inputs, params Branch[] branches) : base(nameof(InceptionBlock))
    {
        _branches = new (Pool, ConvUnit[][])[branches.Length];
        for (int i = 0; i < branches.Length; i++)
        {
            int width = inputs;
            var steps = new ConvUnit[branches[i].Steps.Length][];
            for (int j = 0; j < steps.Length; j++)
            {
                Kernel[] kernels = branches[i].Steps[j];
                steps[j] = [.. kernels.Select(kernel => kernel.Unit(width))];
                width = kernels.Sum(kernel => kernel.Outputs);
                foreach ((Kernel kernel, ConvUnit unit) in kernels.Zip(steps[j]))
                {
                    register_module(kernel.Name, unit);
                }
            }

            _branches[i] = (branches[i].Pool, steps);
        }
    }

    /// <summary>A block for feature maps of 35 x 35.</summary>
    public static InceptionBlock A(int inputs, int poolWidth) => new(
        inputs,
        new Branch(Pool.None, [[new("branch1x1", 64, 1, 1)]]),
        new Branch(Pool.None, [[new("branch5x5_1", 48, 1, 1)], [new("branch5x5_2", 64, 5, 5)]]),
        new Branch(Pool.None, [
            [new("branch3x3dbl_1", 64, 1, 1)],
            [new("branch3x3dbl_2", 96, 3, 3)],
            [new("branch3x3dbl_3", 96, 3, 3)],
        ]),
        new Branch(Pool.Average, [[new("branch_pool", poolWidth, 1, 1)]]));

    /// <summary>A block that reduces feature maps from 35 x 35 to 17 x 17.</summary>
    public static InceptionBlock B(int inputs) => new(
        inputs,
        new Branch(Pool.None, [[new("branch3x3", 384, 3, 3, Stride: 2)]]),
        new Branch(Pool.None, [
            [new("branch3x3dbl_1", 64, 1, 1)],
            [new("branch3x3dbl_2", 96, 3, 3)],
            [new("branch3x3dbl_3", 96, 3, 3, Stride: 2)],
        ]),
        new Branch(Pool.HalvingMaximum, []));

    /// <summary>A block for feature maps of 17 x 17, with 7 x 7 kernels split into rows and columns.</summary>
    public static InceptionBlock C(int inputs, int width) => new(
        inputs,
        new Branch(Pool.None, [[new("branch1x1", 192, 1, 1)]]),
        new Branch(Pool.None, [
            [new("branch7x7_1", width, 1, 1)],
            [new("branch7x7_2", width, 1, 7)],
            [new("branch7x7_3", 192, 7, 1)],
        ]),
        new Branch(Pool.None, [
            [new("branch7x7dbl_1", width, 1, 1)],
            [new("branch7x7dbl_2", width, 7, 1)],
            [new("branch7x7dbl_3", width, 1, 7)],
            [new("branch7x7dbl_4", width, 7, 1)],
            [new("branch7x7dbl_5", 192, 1, 7)],
        ]),
        new Branch(Pool.Average, [[new("branch_pool", 192, 1, 1)]]));

    /// <summary>A block that reduces feature maps from 17 x 17 to 8 x 8.</summary>
    public static InceptionBlock D(int inputs) => new(
        inputs,
        new Branch(Pool.None, [[new("branch3x3_1", 192, 1, 1)], [new("branch3x3_2", 320, 3, 3, Stride: 2)]]),
        new Branch(Pool.None, [
            [new("branch7x7x3_1", 192, 1, 1)],
            [new("branch7x7x3_2", 192, 1, 7)],
            [new("branch7x7x3_3", 192, 7, 1)],
            [new("branch7x7x3_4", 192, 3, 3, Stride: 2)],
        ]),
        new Branch(Pool.HalvingMaximum, []));

    /// <summary>A block for feature maps of 8 x 8, with branches that fork at their ends.</summary>
    public static InceptionBlock E(int inputs, Pool pool) => new(
        inputs,
        new Branch(Pool.None, [[new("branch1x1", 320, 1, 1)]]),
        new Branch(Pool.None, [
            [new("branch3x3_1", 384, 1, 1)],
            [new("branch3x3_2a", 384, 1, 3), new("branch3x3_2b", 384, 3, 1)],
        ]),
        new Branch(Pool.None, [
            [new("branch3x3dbl_1", 448, 1, 1)],
            [new("branch3x3dbl_2", 384, 3, 3)],
            [new("branch3x3dbl_3a", 384, 1, 3), new("branch3x3dbl_3b", 384, 3, 1)],
        ]),
        new Branch(pool, [[new("branch_pool", 192, 1, 1)]]));

    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        Tensor[] results = [.. _branches.Select(branch => Run(branch.Pool, branch.Steps, input))];
        return cat(results, dim: 1).MoveToOuterDisposeScope();
    }

    private static Tensor Run(Pool pool, ConvUnit[][] steps, Tensor input)
    {
        Tensor x = pool switch
        {
            Pool.Average => functional.avg_pool2d(
                input, kernel_size: 3, stride: 1, padding: 1, ceil_mode: false, count_include_pad: false),
            Pool.Maximum => functional.max_pool2d(input, kernel_size: 3, stride: 1, padding: 1),
            Pool.HalvingMaximum => functional.max_pool2d(input, kernel_size: 3, stride: 2),
            _ => input,
        };
        foreach (ConvUnit[] step in steps)
        {
            x = step.Length == 1 ? step[0].call(x) : cat([.. step.Select(unit => unit.call(x))], dim: 1);
        }

        return x;
    }
}
