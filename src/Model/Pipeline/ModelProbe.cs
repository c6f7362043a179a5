// A probe of a model's parts. Finite weights may still cause overflow, which only running the networks shows. The probe
// runs each part once, on a small input.
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Diffusion;
using Atelier.Model.Networks;
using Atelier.Model.Randomness;
using static TorchSharp.torch;

namespace Atelier.Model.Pipeline;

/// <summary>Runs each part of a model once, on fixed inputs.</summary>
public static class ModelProbe
{
    // Side of the probe's latent, in positions: large enough for every layer, and cheap even if the model's own latents
    // are large.
    private const int LatentSide = 16;

    private const string Caption = "a red square above two blue circles, on a green background";

    private static readonly double[] s_sigmas = [80, 1, 0.002];

    /// <summary>
    /// Encodes a caption, evaluates the denoiser at the highest, a middle and the lowest noise level, decodes a latent
    /// and encodes the picture. The caller keeps ownership of the networks; they compute in their own precision.
    /// </summary>
    /// <param name="tokenizer">Maps words to token ids.</param>
    /// <param name="text">Maps token ids to caption features.</param>
    /// <param name="network">The denoising network.</param>
    /// <param name="edm">The network's preconditioning.</param>
    /// <param name="autoencoder">Decodes latents into pictures and encodes pictures into latents.</param>
    /// <param name="cancellation">Checked between parts.</param>
    /// <returns>
    /// The failures, in the order of these operations. A part that needs the output of a failed part is not run.
    /// </returns>
    public static IReadOnlyList<NonFiniteException> Run(
        ClipTokenizer tokenizer, ClipTextTower text, MicroDiT network, Edm edm, AutoencoderKL autoencoder,
        CancellationToken cancellation = default)
    {
        var faults = new List<NonFiniteException>();
        Try(() => TryDenoising(tokenizer, text, network, edm, cancellation));
        Try(() => TryPictures(autoencoder, edm));
        return faults;

        void Try(Action part)
        {
            cancellation.ThrowIfCancellationRequested();
            using var noGradients = inference_mode();
            using var scope = NewDisposeScope();
            try
            {
                part();
            }
            catch (NonFiniteException fault)
            {
                faults.Add(fault);
            }
        }
    }

    /// <summary>Loads a model's networks in float32 and runs each part once.</summary>
    /// <param name="model">The model.</param>
    /// <param name="cancellation">Checked between parts.</param>
    /// <returns>The failures.</returns>
    /// <exception cref="RefusedFileException">A file is damaged or does not fit the others.</exception>
    public static IReadOnlyList<NonFiniteException> Run(ModelFolder model, CancellationToken cancellation = default)
    {
        using Encoders encoders = Encoders.Load(model);
        using var network = new MicroDiT(model.DenoiserConfig);
        Encoders.LoadWeights(network, model.PathOf(model.Denoiser));
        return Run(encoders.Tokenizer, encoders.Text, network, model.Edm, encoders.Autoencoder, cancellation);
    }

    private static void TryDenoising(
        ClipTokenizer tokenizer, ClipTextTower text, MicroDiT network, Edm edm, CancellationToken cancellation)
    {
        int length = text.Config.Text.ContextLength;
        Tensor ids = tensor([.. tokenizer.Encode(Caption).Select(id => (long)id)], [1, length]);
        Tensor features = Finite.Check(ModelParts.TextEncoder, text.Encode(ids));                     // [1, L, D]
        using CaptionContext caption = network.Caption(features);
        MicroDiTConfig config = network.Config;
        long[] shape = [1, config.InChannels, config.InputSize, config.InputSize];
        foreach (double sigma in s_sigmas)
        {
            cancellation.ThrowIfCancellationRequested();
            Tensor noisy = Normal(shape) * Math.Sqrt((sigma * sigma) + (edm.SigmaData * edm.SigmaData)); // [1, C, H, W]
            Finite.Check(ModelParts.Denoiser, edm.Denoise(network, noisy, [sigma], caption));
        }
    }

    private static void TryPictures(AutoencoderKL autoencoder, Edm edm)
    {
        AutoencoderConfig config = autoencoder.Config;
        Tensor latent = Normal([1, config.LatentChannels, LatentSide, LatentSide]) * edm.SigmaData;    // [1, C, h, w]
        Tensor scaled = (latent / config.ScalingFactor) + config.ShiftFactor;
        Tensor picture = Finite.Check(ModelParts.Decoder, autoencoder.Decode(scaled));                 // [1, 3, H, W]
        if (config.OutChannels != config.InChannels)
        {
            return; // The encoder cannot take the decoder's pictures.
        }

        using LatentDistribution encoded = autoencoder.Encode(picture.clamp(-1, 1));
        Finite.Check(ModelParts.PictureEncoder, encoded.Mean);
        Finite.Check(ModelParts.PictureEncoder, encoded.LogVariance);
    }

    private static Tensor Normal(long[] shape)
    {
        var numbers = new float[shape.Aggregate(1L, (product, extent) => product * extent)];
        SeededNoise.Normal(0, NoisePurpose.StartLatent, 0, numbers);
        return tensor(numbers, shape);
    }
}
