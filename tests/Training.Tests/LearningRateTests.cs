using CsCheck;
using Xunit;

namespace Atelier.Training.Tests;

public sealed class LearningRateTests
{
    private static readonly Gen<LearningRate> s_rates =
        from shape in Gen.Enum<ScheduleShape>()
        from basis in Gen.Double[1e-6, 1]
        from warmup in Gen.Long[0, 100]
        from total in Gen.Long[1, 500]
        from final in Gen.Double[0, 1]
        select new LearningRate
        {
            Shape = shape, Base = basis, WarmupSteps = warmup, TotalSteps = total, FinalFraction = final,
        };

    [Fact]
    public void Rate_StaysBetweenZeroAndItsBase_RisingThenFalling() => s_rates.Sample(rate =>
    {
        LearningRate plain = rate with { LagsOneBatch = false };
        double[] rates = [.. Enumerable.Range(0, 600).Select(step => plain.At(step))];
        Assert.All(rates, r => Assert.InRange(r, 0, rate.Base * (1 + 1e-12)));
        Assert.All(Enumerable.Range(0, 599), i => Assert.True(
            i < rate.WarmupSteps - 1 ? rates[i] < rates[i + 1] : i < rate.WarmupSteps || rates[i] >= rates[i + 1]));
    });

    [Fact]
    public void Warmup_IsLinearFromZeroToTheBase() => s_rates.Where(rate => rate.WarmupSteps > 0).Sample(rate =>
    {
        Assert.Equal(0, rate.Multiplier(0));
        Assert.Equal(0.5, rate.Multiplier(rate.WarmupSteps / 2.0), 1e-12);
        Assert.Equal(1, rate.Multiplier(rate.WarmupSteps), 1e-12);
    });

    [Theory]
    [InlineData(50, 50)]
    [InlineData(50, 40)]
    public void Cosine_WhoseWarmupTakesTheWholeRun_StaysAtTheBaseAfterIt(long warmup, long total)
    {
        LearningRate rate = LearningRate.Cosine(2e-3, warmup, total, finalFraction: 0.33);
        Assert.Equal(49 / 50.0, rate.Multiplier(49), 1e-12);
        Assert.All([50.0, 50.5, 51, 5_000], t => Assert.Equal(1, rate.Multiplier(t)));
        Assert.Equal(2e-3, rate.At(50));
    }

    [Fact]
    public void Cosine_IsHalfWayInTheMiddle_AndStaysAtItsEnd() =>
        s_rates.Where(rate => rate.Shape == ScheduleShape.Cosine && rate.TotalSteps > rate.WarmupSteps).Sample(rate =>
        {
            Assert.Equal(
                (1 + rate.FinalFraction) / 2, rate.Multiplier((rate.WarmupSteps + rate.TotalSteps) / 2.0), 1e-12);
            Assert.Equal(rate.FinalFraction, rate.Multiplier(rate.TotalSteps), 1e-12);
            Assert.Equal(rate.FinalFraction, rate.Multiplier(rate.TotalSteps * 10.0), 1e-12);
        });

    [Fact]
    public void Lag_IsOneBatch_SoThatAWarmupStartsWithTwoZeros() => s_rates.Sample(rate =>
    {
        LearningRate plain = rate with { LagsOneBatch = false };
        Assert.All(Enumerable.Range(0, 100), step => Assert.Equal(plain.At(Math.Max(step - 1, 0)), rate.At(step)));
        Assert.True(rate.WarmupSteps == 0 || (rate.At(0) == 0 && rate.At(1) == 0 && rate.At(2) > 0));
    });

    [Fact]
    public void CosineWithoutAFraction_EndsAtZero_AndDoesNotLag()
    {
        var rate = LearningRate.Cosine(2, 10, 110);
        Assert.Equal(0.2, rate.At(1), 1e-12);
        Assert.Equal(2, rate.At(10), 1e-12);
        Assert.Equal(1, rate.At(60), 1e-12);
        Assert.Equal(0, rate.At(110), 1e-12);
    }

    [Fact]
    public void RateOfNoSettings_IsConstant()
    {
        Assert.Equal((ScheduleShape.Constant, 0, 0, true), Parts(new LearningRate()));
        Assert.All([0L, 1, 1000], step => Assert.Equal(1e-4, new LearningRate().At(step)));

        static (ScheduleShape Shape, long Warmup, double Final, bool Lags) Parts(LearningRate rate) =>
            (rate.Shape, rate.WarmupSteps, rate.FinalFraction, rate.LagsOneBatch);
    }
}
