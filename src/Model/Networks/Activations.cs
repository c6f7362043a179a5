// Activations of MicroDiT whose bits depend only on the input value, not on its position in a tensor.
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Model.Networks;

/// <summary>
/// On CPUs, libtorch's silu and tanh-GELU compute the last elements of a tensor, and of each thread's part of it, with
/// different instructions, and several percent of these elements differ in their last bit. A picture's bits would then
/// depend on its place in a batch. The bits of tanh, sums and products do not depend on the place, so both activations
/// are composed of them. Training, in which every shard has a fixed shape and place, uses the library's fused version.
/// </summary>
internal static class Activations
{
    /// <summary>silu(x) = x / (1 + e⁻ˣ) = x/2 (1 + tanh(x/2)).</summary>
    public static Tensor Silu(Tensor x)
    {
        if (IsPlaceFixed(x))
        {
            return functional.silu(x);
        }

        using var scope = NewDisposeScope();
        Tensor half = x * 0.5;
        return addcmul(half, half, half.tanh(), 1).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// gelu(x) ≈ x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))) (Hendrycks and Gimpel 2016, arXiv 1606.08415).
    /// </summary>
    public static Tensor TanhGelu(Tensor x)
    {
        if (IsPlaceFixed(x))
        {
            return functional.gelu(x, TorchSharp.Modules.GELU.Approximate.tanh);
        }

        using var scope = NewDisposeScope();
        double scale = Math.Sqrt(2 / Math.PI);
        Tensor half = x * 0.5, cubed = x * x * x;
        return addcmul(half, half, ((x * scale) + (cubed * (scale * 0.044715))).tanh(), 1).MoveToOuterDisposeScope();
    }

    private static bool IsPlaceFixed(Tensor x) => x.device_type != DeviceType.CPU || is_grad_enabled();
}
