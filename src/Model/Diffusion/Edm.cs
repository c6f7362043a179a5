// "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras et al. 2022, arXiv 2206.00364): the
// denoiser D built from a network F, and its training loss. Symbols as in the paper: σ noise level, c_*
// preconditioning, λ loss weight.
using Atelier.Model.Networks;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Model.Diffusion;

/// <summary>Coefficients of D(x; σ) = c_skip x + c_out F(c_in x; c_noise), Table 1 of the paper.</summary>
/// <param name="Skip">c_skip.</param>
/// <param name="Out">c_out.</param>
/// <param name="In">c_in.</param>
/// <param name="Noise">c_noise.</param>
public readonly record struct Preconditioning(double Skip, double Out, double In, double Noise);

/// <summary>The noise distribution that a model was trained on, and its preconditioning.</summary>
public sealed record Edm
{
    /// <summary>Standard deviation of the data, σ_data. The reference uses 0.9 for SDXL latents.</summary>
    public double SigmaData { get; init; } = 0.9;

    /// <summary>Mean of ln σ in training, P_mean.</summary>
    public double PMean { get; init; } = -0.6;

    /// <summary>Standard deviation of ln σ in training, P_std.</summary>
    public double PStd { get; init; } = 1.2;

    /// <summary>Preconditioning at noise level <paramref name="sigma"/> > 0.</summary>
    public Preconditioning At(double sigma)
    {
        double total = (sigma * sigma) + (SigmaData * SigmaData);
        return new Preconditioning(
            SigmaData * SigmaData / total, sigma * SigmaData / Math.Sqrt(total), 1 / Math.Sqrt(total),
            Math.Log(sigma) / 4);
    }

    /// <summary>λ(σ) = (σ² + σ_data²) / (σ σ_data)²: it gives every noise level the same weight in F's loss.</summary>
    public double LossWeight(double sigma) =>
        ((sigma * sigma) + (SigmaData * SigmaData)) / (sigma * SigmaData * (sigma * SigmaData));

    /// <summary>The noise level σ that a standard normal draw gives: ln σ ~ N(P_mean, P_std²).</summary>
    public double NoiseLevel(double normal) => Math.Exp((normal * PStd) + PMean);

    /// <summary>D(x; σ) of a batch in which every picture has its own noise level.</summary>
    /// <param name="network">The network F. It may compute in a lower precision; everything else is float32.</param>
    /// <param name="x">Noisy latents [B, C, H, W], float32.</param>
    /// <param name="sigmas">The B noise levels.</param>
    /// <param name="caption">Context of B captions.</param>
    /// <param name="mask">Patches that the backbone sees; null for all.</param>
    /// <returns>Denoised latents [B, C, H, W], float32; meaningless where a patch is masked.</returns>
    public Tensor Denoise(
        MicroDiT network, Tensor x, ReadOnlySpan<double> sigmas, CaptionContext caption, PatchMask? mask = null)
    {
        using var scope = NewDisposeScope();
        var columns = new float[4][];
        for (int i = 0; i < 4; i++)
        {
            columns[i] = new float[sigmas.Length];
        }

        for (int i = 0; i < sigmas.Length; i++)
        {
            Preconditioning c = At(sigmas[i]);
            (columns[0][i], columns[1][i], columns[2][i], columns[3][i]) =
                ((float)c.Skip, (float)c.Out, (float)c.In, (float)c.Noise);
        }

        ScalarType compute = caption.Pooled.dtype;
        Tensor input = (x * Column(columns[2])).to(compute);                           // [B, C, H, W]
        Tensor noise = tensor(columns[3], device: x.device).to(compute);               // [B]
        Tensor f = network.Predict(input, noise, caption, mask).to(ScalarType.Float32); // [B, C, H, W]
        return addcmul(x * Column(columns[0]), f, Column(columns[1]), 1).MoveToOuterDisposeScope();

        Tensor Column(float[] values) => tensor(values, [values.Length, 1, 1, 1], device: x.device);
    }

    /// <summary>
    /// λ(σ) |D(x + n; σ) - x|² of every sample (Eq. 2 and 8), averaged over the sample's elements or, with a mask,
    /// over the elements of the visible patches.
    /// </summary>
    /// <param name="network">The network F, with gradients enabled.</param>
    /// <param name="x">Clean latents [B, C, H, W], float32.</param>
    /// <param name="caption">Context of B captions, computed with gradients enabled.</param>
    /// <param name="sigmas">The B noise levels.</param>
    /// <param name="unitNoise">Standard normal noise ε [B, C, H, W]; the noise n is σ ε.</param>
    /// <param name="mask">Patches that the backbone sees; null for all.</param>
    /// <returns>Loss per sample [B] and the denoised latents [B, C, H, W].</returns>
    public (Tensor Loss, Tensor Denoised) Loss(
        MicroDiT network, Tensor x, CaptionContext caption, ReadOnlySpan<double> sigmas, Tensor unitNoise,
        PatchMask? mask)
    {
        using var scope = NewDisposeScope();
        var (sigma, weight) = (new float[sigmas.Length], new float[sigmas.Length]);
        for (int i = 0; i < sigmas.Length; i++)
        {
            (sigma[i], weight[i]) = ((float)sigmas[i], (float)LossWeight(sigmas[i]));
        }

        Tensor noisy = x + (unitNoise * tensor(sigma, [sigma.Length, 1, 1, 1], device: x.device)); // [B, C, H, W]
        Tensor denoised = Denoise(network, noisy, sigmas, caption, mask);                          // [B, C, H, W]
        Tensor error = (denoised - x).square();                                                    // [B, C, H, W]
        Tensor perSample = mask is null ? error.mean([1, 2, 3]) : VisibleMean(error, mask, network.Config.PatchSize);
        Tensor loss = perSample * tensor(weight, device: x.device);                                // [B]
        return (loss.MoveToOuterDisposeScope(), denoised.MoveToOuterDisposeScope());
    }

    private static Tensor VisibleMean(Tensor error, PatchMask mask, int patch)
    {
        Tensor perPatch = functional.avg_pool2d(error.mean([1], keepdim: true), patch).flatten(1); // [B, T]
        Tensor visible = 1 - mask.Masked;                                                          // [B, T]
        return (perPatch * visible).sum(1) / visible.sum(1);                                       // [B]
    }
}
