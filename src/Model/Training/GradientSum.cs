// The sum of gradients and losses over shards.
using Atelier.Training;
using static TorchSharp.torch;

namespace Atelier.Model.Training;

/// <summary>Sums over samples: of gradients, [P] float32, and of losses.</summary>
/// <param name="Gradient">Sum of the gradients of the samples' losses.</param>
/// <param name="Loss">Sum of the samples' losses.</param>
/// <param name="Samples">Number of samples in the sums.</param>
public sealed record GradientSum(Tensor Gradient, double Loss, long Samples) : IDisposable
{
    /// <summary>Samples excluded from the sums, in the run's order.</summary>
    public IReadOnlyList<BadSample> LeftOut { get; init; } = [];

    /// <summary>
    /// The sample with the largest loss, where NaN counts as the largest; null if the losses of single samples are not
    /// known.
    /// </summary>
    public SampleLoss? Largest { get; init; }

    /// <summary>Number of samples whose own loss is not finite.</summary>
    public long NotFinite { get; init; }

    /// <summary>Samples in the sums, as indices of the data, in the run's order.</summary>
    public IReadOnlyList<int> SampleIds { get; init; } = [];

    /// <summary>Adds two sums in the buffer of <paramref name="left"/>; both are consumed.</summary>
    public static GradientSum Merge(GradientSum left, GradientSum right)
    {
        using var noGradients = no_grad();
        left.Gradient.add_(right.Gradient);
        right.Dispose();
        return left with
        {
            Loss = left.Loss + right.Loss,
            Samples = left.Samples + right.Samples,
            LeftOut = right.LeftOut.Count == 0 ? left.LeftOut : [.. left.LeftOut, .. right.LeftOut],
            Largest = SampleLoss.Larger(left.Largest, right.Largest),
            NotFinite = left.NotFinite + right.NotFinite,
            SampleIds = [.. left.SampleIds, .. right.SampleIds],
        };
    }

    /// <summary>The totals as plain numbers, from which the rules decide whether to apply the batch.</summary>
    public BatchOutcome Measure()
    {
        using var noGradients = no_grad();
        using Tensor norm = linalg.norm(Gradient);
        return new BatchOutcome(Loss, norm.item<float>() / Samples, Samples)
        {
            LeftOut = LeftOut, Largest = Largest, NotFinite = NotFinite,
        };
    }

    /// <inheritdoc/>
    public void Dispose() => Gradient.Dispose();
}
