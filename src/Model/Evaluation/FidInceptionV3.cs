// The network whose features the Fréchet inception distance compares: Inception v3 (Szegedy et al., arXiv 1512.00567)
// in the form of its 2015 TensorFlow graph, which differs from later versions: average pooling does not count padding,
// the last block uses max pooling instead of average pooling, and there are 1008 classes. Parameter names are those of
// the published PyTorch port.
//
// Shapes: B pictures, C channels, H x W positions.
using Atelier.Model.Networks;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Model.Evaluation;

/// <summary>
/// Maps pictures [B, 3, H, W] in [0, 1], of any size, to features [B, 2048]. The network is always in evaluation mode:
/// its batch norms use their stored statistics. Run it inside inference_mode().
/// </summary>
public sealed class FidInceptionV3 : Module<Tensor, Tensor>
{
    private const int Side = 299;

    [ComponentName(Name = "Conv2d_1a_3x3")] private readonly ConvUnit _conv1a = new(3, 32, (3, 3), stride: 2);
    [ComponentName(Name = "Conv2d_2a_3x3")] private readonly ConvUnit _conv2a = new(32, 32, (3, 3));
    [ComponentName(Name = "Conv2d_2b_3x3")] private readonly ConvUnit _conv2b = new(32, 64, (3, 3), padding: (1, 1));
    [ComponentName(Name = "Conv2d_3b_1x1")] private readonly ConvUnit _conv3b = new(64, 80, (1, 1));
    [ComponentName(Name = "Conv2d_4a_3x3")] private readonly ConvUnit _conv4a = new(80, 192, (3, 3));
    [ComponentName(Name = "Mixed_5b")] private readonly InceptionBlock _mixed5b = InceptionBlock.A(192, poolWidth: 32);
    [ComponentName(Name = "Mixed_5c")] private readonly InceptionBlock _mixed5c = InceptionBlock.A(256, poolWidth: 64);
    [ComponentName(Name = "Mixed_5d")] private readonly InceptionBlock _mixed5d = InceptionBlock.A(288, poolWidth: 64);
    [ComponentName(Name = "Mixed_6a")] private readonly InceptionBlock _mixed6a = InceptionBlock.B(288);
    [ComponentName(Name = "Mixed_6b")] private readonly InceptionBlock _mixed6b = InceptionBlock.C(768, width: 128);
    [ComponentName(Name = "Mixed_6c")] private readonly InceptionBlock _mixed6c = InceptionBlock.C(768, width: 160);
    [ComponentName(Name = "Mixed_6d")] private readonly InceptionBlock _mixed6d = InceptionBlock.C(768, width: 160);
    [ComponentName(Name = "Mixed_6e")] private readonly InceptionBlock _mixed6e = InceptionBlock.C(768, width: 192);
    [ComponentName(Name = "Mixed_7a")] private readonly InceptionBlock _mixed7a = InceptionBlock.D(768);
    [ComponentName(Name = "Mixed_7b")] private readonly InceptionBlock _mixed7b = InceptionBlock.E(1280, Pool.Average);
    [ComponentName(Name = "Mixed_7c")] private readonly InceptionBlock _mixed7c = InceptionBlock.E(2048, Pool.Maximum);

    // The classifier. Published files contain it, but the distance does not use it.
    [ComponentName(Name = "fc")] private readonly Linear _classes = new(2048, 1008, bias: true);

    /// <summary>Allocates the network. Its weights are undefined until they are loaded.</summary>
    public FidInceptionV3() : base(nameof(FidInceptionV3)) => RegisterComponents();

    /// <summary>
    /// Whether a published file may lack the entry with this name: only training counters may be absent, because they
    /// are not used here.
    /// </summary>
    public static bool IsOptional(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return name.EndsWith(".num_batches_tracked", StringComparison.Ordinal);
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">The input is not a batch of pictures with three channels.</exception>
    public override Tensor forward(Tensor input)
    {
        ArgumentNullException.ThrowIfNull(input);
        if (input.shape is not [> 0, 3, > 0 and var h, > 0 and var w])
        {
            throw new ArgumentException($"[{string.Join(", ", input.shape)}] is not [B, 3, H, W].", nameof(input));
        }

        using var scope = NewDisposeScope();
        Tensor sized = h == Side && w == Side ? input : functional.interpolate(
            input, size: [Side, Side], mode: InterpolationMode.Bilinear, align_corners: false);
        Tensor x = sized.mul(2).sub_(1);                                        // [B, 3, 299, 299] in [-1, 1]
        x = Next(x, _conv1a);                                                   // [B, 32, 149, 149]
        x = Next(x, _conv2a);                                                   // [B, 32, 147, 147]
        x = Next(x, _conv2b);                                                   // [B, 64, 147, 147]
        x = Halve(x);                                                           // [B, 64, 73, 73]
        x = Next(x, _conv3b);                                                   // [B, 80, 73, 73]
        x = Next(x, _conv4a);                                                   // [B, 192, 71, 71]
        x = Halve(x);                                                           // [B, 192, 35, 35]
        x = Next(x, _mixed5b, _mixed5c, _mixed5d);                              // [B, 288, 35, 35]
        x = Next(x, _mixed6a, _mixed6b, _mixed6c, _mixed6d, _mixed6e);          // [B, 768, 17, 17]
        x = Next(x, _mixed7a, _mixed7b, _mixed7c);                              // [B, 2048, 8, 8]
        return x.mean([2, 3]).MoveToOuterDisposeScope();                        // [B, 2048]
    }

    private static Tensor Next(Tensor x, params ReadOnlySpan<Module<Tensor, Tensor>> modules)
    {
        foreach (Module<Tensor, Tensor> module in modules)
        {
            using Tensor before = x;
            x = module.call(before);
        }

        return x;
    }

    private static Tensor Halve(Tensor x)
    {
        using Tensor before = x;
        return functional.max_pool2d(before, kernel_size: 3, stride: 2);
    }
}
