// The Fréchet distance between two normal distributions, as used by FID (Heusel et al., arXiv 1706.08500).
using static TorchSharp.torch;

namespace Atelier.Model.Evaluation;

/// <summary>
/// d² = |m1 - m2|² + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2)), in float64.
/// </summary>
public static class Frechet
{
    // 2^-52, the distance from 1 to the next float64.
    private const double UnitRoundoff = 2.220446049250313e-16;

    /// <summary>The distance between two sets of features, given by their statistics.</summary>
    /// <exception cref="ArgumentException">The two sets have different numbers of features.</exception>
    /// <exception cref="InvalidOperationException">One of the sets has fewer than two samples.</exception>
    public static double Distance(FeatureStatistics first, FeatureStatistics second)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        using var scope = NewDisposeScope();
        return Distance(first.Mean(), first.Covariance(), second.Mean(), second.Covariance());
    }

    /// <summary>The distance between two distributions, at least 0.</summary>
    /// <param name="mean1">[D].</param>
    /// <param name="covariance1">[D, D], symmetric, and positive semidefinite up to rounding.</param>
    /// <param name="mean2">[D].</param>
    /// <param name="covariance2">[D, D], symmetric, and positive semidefinite up to rounding.</param>
    /// <exception cref="ArgumentException">The shapes do not match.</exception>
    public static double Distance(Tensor mean1, Tensor covariance1, Tensor mean2, Tensor covariance2)
    {
        ArgumentNullException.ThrowIfNull(mean1);
        ArgumentNullException.ThrowIfNull(covariance1);
        ArgumentNullException.ThrowIfNull(mean2);
        ArgumentNullException.ThrowIfNull(covariance2);
        long d = mean1.numel();
        if (mean1.dim() != 1 || mean2.dim() != 1 || mean2.numel() != d
            || !covariance1.shape.SequenceEqual([d, d]) || !covariance2.shape.SequenceEqual([d, d]))
        {
            Tensor[] all = [mean1, covariance1, mean2, covariance2];
            string shapes = string.Join(", ", all.Select(t => $"[{string.Join(", ", t.shape)}]"));
            throw new ArgumentException($"{shapes} should be [D], [D, D], [D], [D, D].", nameof(covariance2));
        }

        using IDisposable noGradients = no_grad();
        using var scope = NewDisposeScope();
        Tensor c1 = covariance1.to(ScalarType.Float64, CPU);
        Tensor c2 = covariance2.to(ScalarType.Float64, CPU);
        Tensor difference = mean1.to(ScalarType.Float64, CPU).sub(mean2.to(ScalarType.Float64, CPU));
        double traces = c1.trace().add(c2.trace()).item<double>();
        return Math.Max(difference.dot(difference).item<double>() + traces - (2 * TraceOfRoot(c1, c2)), 0);
    }

    // With C = F Fᵀ the eigenvalues of C1 C2 are the squared singular values of F1ᵀ F2, so the trace of the square
    // root is the plain sum of these singular values. This avoids squaring them and taking square roots again. Rounding
    // errors stay at 1e-16 of the largest value, while the square root of an eigenvalue that is 0 up to rounding would
    // be 1e-8 of it, which matters as soon as a covariance is singular.
    private static double TraceOfRoot(Tensor c1, Tensor c2)
    {
        Tensor? f1 = Factor(c1);
        Tensor? f2 = Factor(c2);
        return f1 is null || f2 is null ? 0 : linalg.svdvals(f1.t().matmul(f2)).sum().item<double>();
    }

    // F [D, rank] = V sqrt(L) over the eigenvalues L above rounding error; null if all are below.
    private static Tensor? Factor(Tensor c)
    {
        Tensor symmetric = c.add(c.t()).mul(0.5);
        (Tensor values, Tensor vectors) = linalg.eigh(symmetric);      // ascending
        double noise = Math.Max(values.max().item<double>(), 0) * c.shape[0] * UnitRoundoff;
        int rank = (int)values.gt(noise).sum().item<long>();
        return rank == 0
            ? null
            : vectors.narrow(1, c.shape[0] - rank, rank).mul(values.narrow(0, c.shape[0] - rank, rank).sqrt());
    }
}
