// The sum of gradients and losses over shards.
using Atelier.Training;
using Atelier.Training.Worlds;
using static TorchSharp.torch;

namespace Atelier.Model.Training;

/// <summary>The sums of a shard, a subtree or a batch.</summary>
/// <param name="Gradient">Sum of the gradients of the samples' losses, [P] float32.</param>
/// <param name="Sums">The other sums, over the same samples.</param>
public sealed record GradientSum(Tensor Gradient, BatchSums Sums) : IDisposable
{
    /// <summary>Adds two sums in the buffer of <paramref name="left"/>; both are consumed.</summary>
    public static GradientSum Merge(GradientSum left, GradientSum right)
    {
        using var noGradients = no_grad();
        left.Gradient.add_(right.Gradient);
        right.Dispose();
        return left with { Sums = BatchSums.Merge(left.Sums, right.Sums) };
    }

    /// <summary>The totals as plain numbers, from which the rules decide whether to apply the batch.</summary>
    public BatchOutcome Measure()
    {
        using var noGradients = no_grad();
        using Tensor norm = linalg.norm(Gradient);
        return Sums.Outcome(norm.item<float>() / Sums.Samples);
    }

    /// <inheritdoc/>
    public void Dispose() => Gradient.Dispose();
}
