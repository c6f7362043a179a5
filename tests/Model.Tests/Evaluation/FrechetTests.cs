using Atelier.Cli.Verify;
using Atelier.Model.Evaluation;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Evaluation;

public sealed class FrechetTests
{
    [Fact]
    public void Distance_OfIndependentFeaturesIsTheClosedForm()
    {
        using var scope = NewDisposeScope();
        Tensor turn = linalg.qr(Noise("turn", 3, 3)).Q;
        Tensor c1 = turn.matmul(diag(tensor(new[] { 4.0, 9.0, 0.25 }))).matmul(turn.t());
        Tensor c2 = turn.matmul(diag(tensor(new[] { 1.0, 1.0, 0.25 }))).matmul(turn.t());
        double d = Frechet.Distance(tensor(new[] { 1.0, 2, 3 }), c1, tensor(new[] { 1.0, 0, 3 }), c2);
        Assert.Equal(4.0 + 1 + 4 + 0, d, 1e-12);
    }

    [Fact]
    public void Distance_OfRankOneCovariancesIsTheClosedForm()
    {
        using var scope = NewDisposeScope();
        Tensor v = Noise("v", 50);
        Tensor w = Noise("w", 50);
        double expected = (v.dot(v) + w.dot(w) - (2 * v.dot(w).abs())).item<double>();
        Tensor mean = zeros(50, dtype: ScalarType.Float64);
        Assert.Equal(expected, Frechet.Distance(mean, outer(v, v), mean, outer(w, w)), 1e-10);
        Tensor nothing = zeros(50, 50, dtype: ScalarType.Float64);
        Assert.Equal(v.dot(v).item<double>(), Frechet.Distance(mean, outer(v, v), mean, nothing), 1e-12);
    }

    [Theory]
    [InlineData(200, 16)]
    [InlineData(40, 64)]
    [InlineData(2, 5)]
    public void Distance_OfASetToItselfIsZero_AlsoWithFewerSamplesThanFeatures(int count, int width)
    {
        using var scope = NewDisposeScope();
        using FeatureStatistics set = Statistics(Noise("set", count, width).add(100));
        Assert.Equal(0, Frechet.Distance(set, set), 1e-9);
    }

    [Fact]
    public void Distance_IsSymmetricAndNotNegative()
    {
        using var scope = NewDisposeScope();
        using FeatureStatistics a = Statistics(Noise("a", 30, 40));
        using FeatureStatistics b = Statistics(Noise("b", 100, 40).mul(2).add(1));
        double there = Frechet.Distance(a, b);
        Assert.True(there > 0);
        Assert.Equal(there, Frechet.Distance(b, a), 1e-9);
    }

    [Fact]
    public void StatisticsOfBatches_AreThoseOfTheWhole_AlsoFarFromZero()
    {
        using var scope = NewDisposeScope();
        Tensor features = Noise("features", 100, 7).add(1e6);
        using FeatureStatistics whole = Statistics(features);
        using var batches = new FeatureStatistics(7);
        foreach ((int start, int length) in new[] { (0, 1), (1, 9), (10, 60), (70, 30) })
        {
            batches.Add(features.narrow(0, start, length));
        }

        Assert.Equal(100, batches.Count);
        Tensor centered = features.sub(features.mean([0]));
        Tensor expected = centered.t().matmul(centered).div(99);
        Assert.True(batches.Mean().allclose(features.mean([0]), rtol: 1e-14));
        Assert.True(batches.Covariance().allclose(expected, rtol: 1e-7, atol: 1e-9));
        Assert.True(whole.Covariance().allclose(expected, rtol: 1e-7, atol: 1e-9));
    }

    [Fact]
    public void FeaturesThatDoNotFit_AreRefused()
    {
        using var scope = NewDisposeScope();
        using var three = new FeatureStatistics(3);
        using FeatureStatistics four = Statistics(Noise("x", 10, 4));
        Assert.Throws<ArgumentException>(() => three.Add(zeros(2, 4)));
        Assert.Throws<ArgumentException>(() => three.Add(full(2, 3, float.NaN)));
        Assert.Equal(0, three.Count);
        three.Add(zeros(1, 3));
        Assert.Throws<InvalidOperationException>(() => Frechet.Distance(three, four));
        three.Add(zeros(1, 3));
        Assert.Throws<ArgumentException>(() => Frechet.Distance(three, four));
    }

    [Fact]
    public void Calls_LeaveNoTensorsBehind()
    {
        using var scope = NewDisposeScope();
        Tensor features = Noise("x", 10, 4);
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (int i = 0; i < 3; i++)
        {
            using FeatureStatistics statistics = Statistics(features);
            Frechet.Distance(statistics, statistics);
        }

        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    private static FeatureStatistics Statistics(Tensor features)
    {
        var statistics = new FeatureStatistics((int)features.shape[1]);
        statistics.Add(features);
        return statistics;
    }

    private static Tensor Noise(string name, params long[] shape)
    {
        using Tensor single = empty(shape);
        FormulaWeights.Fill(single, name, 0, 1);
        return single.to(ScalarType.Float64);
    }
}
