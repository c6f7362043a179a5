// Denoisers whose sampling has a known answer, and the loop over a sampler that tests vary.
using Atelier.Model.Diffusion;
using Atelier.Model.Randomness;

namespace Atelier.Model.Tests.Diffusion;

internal static class SamplerRuns
{
    /// <summary>
    /// The optimal denoiser of data N(mu, sd²); guidance of w moves mu to w mu, so that its effect is visible.
    /// </summary>
    public static double[] Gaussian(Model.Diffusion.Evaluation evaluation, double mu = 0.3, double sd = 0.5)
    {
        double noise = evaluation.Sigma * evaluation.Sigma, data = sd * sd;
        return [.. evaluation.X.Select(x => ((data * x) + (noise * mu * evaluation.Guidance)) / (data + noise))];
    }

    /// <summary>Runs the sampler for one picture to its end.</summary>
    public static SamplerState Finish(
        HeunSampler sampler, SamplerState state, Func<Model.Diffusion.Evaluation, double[]> denoise)
    {
        while (!sampler.IsDone(state))
        {
            state = sampler.Advance(state, denoise(sampler.Next(state)));
        }

        return state;
    }

    /// <summary>Churn noise, drawn as in the pipeline.</summary>
    public static ChurnNoise Churn(ulong seed) => (step, destination) =>
    {
        var draws = new float[destination.Length];
        SeededNoise.Normal(seed, NoisePurpose.Churn, step, draws);
        for (int i = 0; i < draws.Length; i++)
        {
            destination[i] = draws[i];
        }
    };
}
