using Atelier.Model.Diffusion;
using Atelier.Model.Tests.Networks;
using CsCheck;
using Xunit;

namespace Atelier.Model.Tests.Diffusion;

// The sampler against the closed form of its differential equation, against interruption after every evaluation, and
// against settings and states that it cannot accept.
public sealed class HeunSamplerTests
{
    private static readonly SamplerSettings s_rich = new()
    {
        Steps = 9, SChurn = 12, SMin = 0.05, SMax = 50, SNoise = 1.003, Guidance = 3, GuidanceLow = 0.3,
        GuidanceHigh = 5,
    };

    private static readonly Gen<SamplerSettings> s_anySettings =
        from steps in Gen.Frequency((1, Gen.Const(1)), (1, Gen.Const(SamplerSettings.StepsMax)), (20, Gen.Int[1, 60]))
        from low in Gen.Double[1e-4, 1]
        from range in Gen.Double[1.001, 1e4]
        from rho in Gen.Double[1, 20]
        from churn in Gen.OneOf(Gen.Const(0.0), Gen.Double[0, 100])
        from guidance in Gen.Double[1, 10]
        select new SamplerSettings
        {
            Steps = steps, SigmaMin = low, SigmaMax = low * range, Rho = rho, SChurn = churn, Guidance = guidance,
        };

    [Fact]
    public void GaussianData_IsReachedWithSecondOrder()
    {
        double[] errors = [.. new[] { 32, 64, 128, 256 }.Select(ErrorAt)];
        for (int i = 1; i < errors.Length; i++)
        {
            Assert.InRange(errors[i - 1] / errors[i], 3.6, 4.4); // Twice the steps, a quarter of the error.
        }

        Assert.InRange(errors[^1], 0, 1e-3);
    }

    [Fact]
    public void AnyNumberOfSteps_EndsFinite_After2NMinus1Evaluations_AtFallingNoise() =>
        s_anySettings.Sample(settings =>
        {
            var sampler = new HeunSampler(settings, SamplerRuns.Churn(3));
            Assert.Equal(settings.Steps + 1, sampler.Sigmas.Count);
            Assert.Equal(settings.SigmaMax, sampler.Sigmas[0], settings.SigmaMax * 1e-12);
            Assert.True(sampler.Sigmas.Zip(sampler.Sigmas.Skip(1)).All(pair => pair.First > pair.Second));
            int evaluations = 0;
            SamplerState end = SamplerRuns.Finish(sampler, sampler.Start(SmallNetworks.Normal(1, 4)), evaluation =>
            {
                evaluations++;
                Assert.True(evaluation.Sigma > 0 && double.IsFinite(evaluation.Sigma));
                Assert.All(evaluation.X, x => Assert.True(double.IsFinite(x)));
                return SamplerRuns.Gaussian(evaluation);
            });
            Assert.Equal((2 * settings.Steps) - 1, evaluations);
            Assert.All(end.Latent, x => Assert.True(double.IsFinite(x)));
        }, iter: 60);

    [Fact]
    public void OneStep_IsTheDenoisersAnswer()
    {
        var sampler = new HeunSampler(new SamplerSettings { Steps = 1 });
        SamplerState start = sampler.Start([0.5f, -1f]);
        Assert.Equal([40, -80], sampler.Next(start).X);
        Assert.Equal([3, 4], sampler.Advance(start, [3, 4]).Latent);
    }

    [Fact]
    public void StoppedAfterAnyEvaluation_AndContinuedElsewhereFromBytes_EndsInTheSameBytes()
    {
        SamplerState start = Make().Start(SmallNetworks.Normal(5, 6));
        byte[] straight = SamplerRuns.Finish(Make(), start, e => SamplerRuns.Gaussian(e)).ToBytes();
        for (int stop = 0; stop <= (2 * s_rich.Steps) - 1; stop++)
        {
            HeunSampler first = Make();
            SamplerState state = start;
            for (int i = 0; i < stop; i++)
            {
                state = first.Advance(state, SamplerRuns.Gaussian(first.Next(state)));
            }

            byte[] snapshot = state.ToBytes(), end = [];
            var elsewhere = new Thread(() =>
            {
                HeunSampler second = Make();
                end =
                    SamplerRuns.Finish(second, SamplerState.FromBytes(snapshot), e => SamplerRuns.Gaussian(e)).ToBytes(
                        );
            });
            elsewhere.Start();
            elsewhere.Join();
            Assert.Equal(straight, end);
        }

        // Everything that a step can depend on is enabled: churn, a guidance interval, a projection that mixes in known
        // values.
        static HeunSampler Make() =>
            new(s_rich, SamplerRuns.Churn(11), (latent, sigma) => latent[0] = (0.5 * latent[0]) + (sigma * 0.125));
    }

    [Fact]
    public void AState_MayBeAskedAndAnsweredTwice()
    {
        var sampler = new HeunSampler(s_rich, SamplerRuns.Churn(1));
        SamplerState state = sampler.Start(SmallNetworks.Normal(2, 5));
        while (!sampler.IsDone(state))
        {
            byte[] before = state.ToBytes();
            Model.Diffusion.Evaluation first = sampler.Next(state), second = sampler.Next(state);
            double[] answer = SamplerRuns.Gaussian(first);
            Assert.Equal(first.X, second.X);
            SamplerState next = sampler.Advance(state, answer);
            Assert.Equal(next.ToBytes(), sampler.Advance(state, answer).ToBytes());
            Assert.Equal(before, state.ToBytes());
            state = next;
        }
    }

    [Fact]
    public void StartedAtAnyStep_FromWhereAPictureStood_ItEndsWhereThePictureEnds()
    {
        var sampler = new HeunSampler(s_rich, SamplerRuns.Churn(4));
        SamplerState state = sampler.Start(SmallNetworks.Normal(3, 4));
        double[] end = SamplerRuns.Finish(sampler, state, e => SamplerRuns.Gaussian(e)).Latent;
        for (int step = 0; step <= s_rich.Steps; step++)
        {
            Assert.Equal((step, false), (state.Step, state.IsCorrector));
            SamplerState started = sampler.StartAt(step, state.Latent);
            Assert.Equal(end, SamplerRuns.Finish(sampler, started, e => SamplerRuns.Gaussian(e)).Latent);
            do
            {
                state = sampler.IsDone(state)
                    ? state
                    : sampler.Advance(state, SamplerRuns.Gaussian(sampler.Next(state)));
            }
            while (state.IsCorrector);
        }

        Assert.Throws<ArgumentOutOfRangeException>(() => sampler.StartAt(-1, new double[4]));
        Assert.Throws<ArgumentOutOfRangeException>(() => sampler.StartAt(s_rich.Steps + 1, new double[4]));
    }

    [Fact]
    public void Projection_IsCalledOnceAStep_WithTheNoiseLevelThatTheLatentHas()
    {
        List<double> levels = [];
        var sampler = new HeunSampler(s_rich, SamplerRuns.Churn(1), (latent, sigma) =>
        {
            levels.Add(sigma);
            latent[0] = 7; // Changes in place must arrive in the next state.
        });
        SamplerState state = sampler.Start(SmallNetworks.Normal(3, 4));
        while (!sampler.IsDone(state))
        {
            Assert.True(state.Step == 0 || state.IsCorrector || state.Latent[0] == 7);
            state = sampler.Advance(state, SamplerRuns.Gaussian(sampler.Next(state)));
        }

        Assert.Equal(sampler.Sigmas.Skip(1), levels);
        Assert.Equal(7, state.Latent[0]);
    }

    [Fact]
    public void Guidance_ActsInsideItsInterval_OpenBelowAndClosedAbove()
    {
        double[] sigmas = [.. new HeunSampler(new SamplerSettings { Steps = 12 }).Sigmas];
        var settings = new SamplerSettings
        {
            Steps = 12,
            Guidance = 4,
            GuidanceLow = sigmas[8],
            GuidanceHigh = sigmas[3],
        };
        HashSet<double> guided = [], unguided = [];
        var sampler = new HeunSampler(settings);
        SamplerRuns.Finish(sampler, sampler.Start([1f]), evaluation =>
        {
            Assert.Contains(evaluation.Guidance, new double[] { 1, 4 });
            (evaluation.Guidance == 4 ? guided : unguided).Add(evaluation.Sigma);
            return SamplerRuns.Gaussian(evaluation);
        });
        Assert.Equal(sigmas[3..8], guided.OrderDescending());
        Assert.Equal([.. sigmas[..3], .. sigmas[8..12]], unguided.OrderDescending());
    }

    [Fact]
    public void Churn_ActsInsideItsInterval_BothEndsIncluded()
    {
        double[] sigmas = [.. new HeunSampler(new SamplerSettings { Steps = 12 }).Sigmas];
        var settings = new SamplerSettings { Steps = 12, SChurn = 3, SMin = sigmas[8], SMax = sigmas[3] };
        List<double> asked = [];
        var sampler = new HeunSampler(settings, SamplerRuns.Churn(1));
        SamplerState state = sampler.Start([1f]);
        for (bool corrects = false; !sampler.IsDone(state); corrects = state.IsCorrector)
        {
            Model.Diffusion.Evaluation evaluation = sampler.Next(state);
            if (!corrects)
            {
                asked.Add(evaluation.Sigma);
            }

            state = sampler.Advance(state, SamplerRuns.Gaussian(evaluation));
        }

        // γ = S_churn / N.
        Assert.Equal(sigmas[..12].Select((sigma, i) => i is >= 3 and <= 8 ? sigma * 1.25 : sigma), asked, (a, b) =>
            Math.Abs(a - b) < 1e-12 * a);
    }

    [Fact]
    public void Settings_AtTheirBounds_AreTaken()
    {
        var bounds = new SamplerSettings
        {
            SigmaMin = 1e-6,
            SigmaMax = 1e6,
            Rho = 1,
            SMin = 0,
            SMax = 0,
            SNoise = 0,
            Guidance = 1,
        };
        Assert.Same(bounds, bounds.Checked());
        SamplerSettings others =
            bounds with { Rho = 100, SNoise = 2, Guidance = 100, GuidanceLow = 3, GuidanceHigh = 3 };
        Assert.Same(others, others.Checked());
        Assert.Throws<ArgumentException>(() => (bounds with { SigmaMin = 9.9e-7 }).Checked());
        Assert.Throws<ArgumentException>(() => (bounds with { SigmaMax = 1.01e6 }).Checked());
    }

    [Fact]
    public void Settings_ThatNoSamplerCanFollow_AreRefusedInASentence()
    {
        var good = new SamplerSettings();
        (SamplerSettings Bad, string Word)[] rows =
        [
            (good with { Steps = 0 }, "Steps must be in 1..1000, not 0"),
            (good with { Steps = 1001 }, "not 1001"),
            (good with { SigmaMin = 0 }, "SigmaMin"), (good with { SigmaMin = 80 }, "SigmaMin"),
            (good with { SigmaMin = double.NaN }, "SigmaMin"), (good with { SigmaMin = 1e-300 }, "SigmaMin"),
            (good with { SigmaMax = double.PositiveInfinity }, "SigmaMax"),
            (good with { SigmaMax = 1e300 }, "SigmaMax"),
            (good with { Rho = 0 }, "Rho"), (good with { Rho = double.NaN }, "Rho"),
            (good with { Rho = 0.005 }, "Rho"), (good with { Rho = 1e300 }, "Rho"),
            (good with { SChurn = -1 }, "Churn"), (good with { SChurn = double.PositiveInfinity }, "Churn"),
            (good with { SMin = -1 }, "SMin"), (good with { SMin = 2, SMax = 1 }, "SMax"),
            (good with { SMax = double.NaN }, "SMax"),
            (good with { SNoise = -1 }, "SNoise"), (good with { SNoise = 1e300 }, "SNoise"),
            (good with { Guidance = 0.5 }, "Guidance must be in 1..100 (1 means none), not 0.5"),
            (good with { Guidance = 101 }, "Guidance"), (good with { Guidance = double.NaN }, "Guidance"),
            (good with { GuidanceLow = -1 }, "guidance interval"),
            (good with { GuidanceLow = 3, GuidanceHigh = 2 }, "guidance interval"),
            (good with { GuidanceHigh = double.NaN }, "guidance interval"),
        ];
        Assert.All(rows, row => Assert.Contains(
            row.Word, Assert.Throws<ArgumentException>(() => new HeunSampler(row.Bad, SamplerRuns.Churn(1))).Message));
        Assert.Throws<ArgumentException>(() => new HeunSampler(good with { SChurn = 1 }));
    }

    [Fact]
    public void StatesThatAreNotThisSamplers_AreRefused()
    {
        var sampler = new HeunSampler(new SamplerSettings { Steps = 3 });
        SamplerState start = sampler.Start([1f, 2f]);
        Assert.Throws<ArgumentException>(() => sampler.Advance(start, [1]));
        SamplerState end = SamplerRuns.Finish(sampler, start, e => SamplerRuns.Gaussian(e));
        Assert.Throws<InvalidOperationException>(() => sampler.Next(end));
        Assert.Throws<InvalidOperationException>(() => sampler.Advance(end, [1, 2]));

        // A snapshot of a picture with more steps, and one that expects a corrector where there is none.
        var longer = new SamplerState(4, [1, 2], null);
        Assert.Throws<ArgumentException>(() => sampler.IsDone(longer));
        Assert.Throws<ArgumentException>(() => sampler.Next(longer));
        var last = new SamplerState(2, [1, 2], [0, 0]);
        Assert.Throws<ArgumentException>(() => sampler.Next(last));
        Assert.Throws<ArgumentException>(() => sampler.Advance(last, [1, 2]));
    }

    // Distance to x(0) of dx/dσ = (x - D(x; σ)) / σ, whose solution is mu + (x(σ) - mu) √((sd² + σ²) / (sd² + σ_max²)).
    private static double ErrorAt(int steps)
    {
        const double Mu = 0.3, Sd = 0.5;
        var settings = new SamplerSettings { Steps = steps, SigmaMin = 1e-4, SigmaMax = 20 };
        var sampler = new HeunSampler(settings);
        SamplerState start = sampler.Start(SmallNetworks.Normal(8, 16));
        double shrink = Sd / Math.Sqrt((Sd * Sd) + (20 * 20));
        double[] end = SamplerRuns.Finish(sampler, start, e => SamplerRuns.Gaussian(e, Mu, Sd)).Latent;
        return end.Zip(start.Latent, (x, x0) => Math.Abs(x - (Mu + ((x0 - Mu) * shrink)))).Max();
    }
}
