// The quality of an autoencoder on unseen scenes, and the scale of its latents.
using Atelier.Model.Autoencoder;
using Atelier.Shapes.Drawing;
using Atelier.Shapes.Scenes;
using Atelier.Shapes.Training;
using static TorchSharp.torch;

namespace Atelier.Shapes.Making;

/// <summary>
/// The peak signal-to-noise ratio of reconstructions that are rounded to 8 bits: the mean over pictures.
/// </summary>
/// <param name="Side">Side of the pictures in pixels.</param>
/// <param name="Style">Style of the pictures; null for the whole training mixture.</param>
/// <param name="Decibels">The mean in decibels.</param>
/// <param name="Pictures">Number of pictures.</param>
public sealed record ReconstructionScore(int Side, ArtStyle? Style, double Decibels, int Pictures);

/// <summary>Measures an autoencoder on fresh scenes.</summary>
public static class AutoencoderMeasure
{
    /// <summary>A seed that is not used for training.</summary>
    public const ulong FreshSeed = 9_001;

    // The standard deviation of latents that the diffusion model's preconditioning expects.
    private const double LatentDeviation = 0.9;

    /// <summary>Scores reconstructions (without noise in the latents), over all pictures and by style.</summary>
    /// <param name="network">The autoencoder, in float32.</param>
    /// <param name="side">Side in pixels.</param>
    /// <param name="pictures">Number of scenes.</param>
    public static IReadOnlyList<ReconstructionScore> Score(AutoencoderKL network, int side, int pictures)
    {
        ArgumentNullException.ThrowIfNull(network);
        var found = new List<(ArtStyle Style, double Decibels)>();
        using var noGradients = no_grad();
        foreach ((Scene scene, Tensor picture) in NewPictures(side, pictures))
        {
            using var scope = NewDisposeScope();
            using LatentDistribution encoded = network.Encode(picture);
            Tensor error = (network.Decode(encoded.Mean).clamp(-1, 1) - picture).mul(127.5f).round();
            double squared = Math.Max(error.square().mean().item<float>(), 1e-3);
            found.Add((scene.Style, 10 * Math.Log10(255 * 255 / squared)));
        }

        return
        [
            new ReconstructionScore(side, null, found.Average(f => f.Decibels), found.Count),
            .. found.GroupBy(f => f.Style).OrderBy(group => group.Key)
                .Select(
                    group => new ReconstructionScore(side, group.Key, group.Average(f => f.Decibels), group.Count())),
        ];
    }

    /// <summary>
    /// Computes the configuration whose scaling gives the latents of unseen scenes of both sizes the standard deviation
    /// 0.9. The configuration has a shift if the latents' mean is far from zero.
    /// </summary>
    /// <param name="network">The autoencoder, in float32.</param>
    /// <param name="pictures">Number of scenes of each size.</param>
    public static AutoencoderConfig WithScale(AutoencoderKL network, int pictures = 200)
    {
        ArgumentNullException.ThrowIfNull(network);
        (double sum, double squares, double count) = (0, 0, 0);
        using var noGradients = no_grad();
        foreach ((_, Tensor picture) in NewPictures(64, pictures).Concat(NewPictures(128, pictures)))
        {
            using var scope = NewDisposeScope();
            using LatentDistribution encoded = network.Encode(picture);
            sum += encoded.Mean.sum().item<float>();
            squares += (encoded.Mean.square() + encoded.LogVariance.exp()).sum().item<float>();
            count += encoded.Mean.numel();
        }

        double mean = sum / count, deviation = Math.Sqrt((squares / count) - (mean * mean));
        double shift = Math.Abs(mean) > 0.1 * deviation ? mean : 0;
        double spread = Math.Sqrt((squares / count) - (2 * shift * mean) + (shift * shift));
        return network.Config with { ScalingFactor = LatentDeviation / spread, ShiftFactor = shift };
    }

    private static IEnumerable<(Scene Scene, Tensor Picture)> NewPictures(int side, int count)
    {
        var sampler = new SceneSampler(FreshSeed);
        using var renderer = new SceneRenderer();
        for (int i = 0; i < count; i++)
        {
            Scene scene = sampler.Draw(i);
            using Tensor picture = Pictures.Render(renderer, [scene], side).ToTensor();
            yield return (scene, picture);
        }
    }
}
