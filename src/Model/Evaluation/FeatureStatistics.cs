// Mean and covariance of features that arrive in batches, computed in one pass without storing them.
using static TorchSharp.torch;

namespace Atelier.Model.Evaluation;

/// <summary>
/// Streaming mean and covariance in float64 on the CPU. Batches are centered before they are squared, and are then
/// merged (Chan, Golub and LeVeque 1979), so a large mean causes no loss of precision. Symbols: n samples in a batch, D
/// features.
/// </summary>
public sealed class FeatureStatistics : IDisposable
{
    private readonly Tensor _mean;
    private readonly Tensor _scatter;

    /// <summary>Creates empty statistics.</summary>
    public FeatureStatistics(int dimensions)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(dimensions, 1);
        Dimensions = dimensions;
        _mean = zeros(dimensions, dtype: ScalarType.Float64).DetachFromDisposeScope();
        _scatter = zeros(dimensions, dimensions, dtype: ScalarType.Float64).DetachFromDisposeScope();
    }

    /// <summary>Number of features, D.</summary>
    public int Dimensions { get; }

    /// <summary>Number of samples so far.</summary>
    public long Count { get; private set; }

    /// <summary>The mean of the samples so far, [D] float64; a copy.</summary>
    public Tensor Mean() => _mean.clone();

    /// <summary>The covariance of the samples so far, with divisor <see cref="Count"/> - 1, [D, D] float64.</summary>
    /// <exception cref="InvalidOperationException">There are fewer than two samples.</exception>
    public Tensor Covariance() => Count >= 2
        ? _scatter.div(Count - 1)
        : throw new InvalidOperationException($"A covariance needs two samples or more; there are {Count}.");

    /// <summary>Adds a batch.</summary>
    /// <param name="features">
    /// [n, D] with n at least 1, of any floating-point type and on any device; all elements are finite.
    /// </param>
    /// <exception cref="ArgumentException">The shape does not match, or a feature is not finite.</exception>
    public void Add(Tensor features)
    {
        ArgumentNullException.ThrowIfNull(features);
        if (features.shape is not [> 0, var width] || width != Dimensions)
        {
            throw new ArgumentException(
                $"[{string.Join(", ", features.shape)}] is not [n, {Dimensions}] with n at least 1.", nameof(features));
        }

        using IDisposable noGradients = no_grad();
        using var scope = NewDisposeScope();
        Tensor batch = features.to(ScalarType.Float64, CPU);                    // [n, D]
        if (!batch.isfinite().all().item<bool>())
        {
            throw new ArgumentException("Features must be finite.", nameof(features));
        }

        long n = batch.shape[0];
        long total = Count + n;
        Tensor batchMean = batch.mean([0]);                                     // [D]
        Tensor centered = batch.sub(batchMean);                                  // [n, D]
        Tensor delta = batchMean.sub(_mean);                                    // [D]
        _scatter.add_(centered.t().matmul(centered));
        _scatter.add_(outer(delta, delta).mul_((double)Count / total * n));
        _mean.add_(delta.mul_((double)n / total));
        Count = total;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _mean.Dispose();
        _scatter.Dispose();
    }
}
