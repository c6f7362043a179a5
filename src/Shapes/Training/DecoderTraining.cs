// Further training of the autoencoder's decoder on noisy latents. The output of a diffusion model is never exactly a
// latent of the encoder, and a decoder trained only on the encoder's latents blurs anything that differs slightly from
// them. The encoder, and therefore every latent, stays the same.
using System.Text.Json.Serialization;
using Atelier.Model.Autoencoder;
using Atelier.Model.Randomness;
using Atelier.Model.Training;
using Atelier.Shapes.Drawing;
using Atelier.Shapes.Scenes;
using TorchSharp;
using static TorchSharp.torch;

namespace Atelier.Shapes.Training;

/// <summary>
/// Settings of the decoder's further training. The defaults suit an autoencoder that was trained with the defaults of
/// <see cref="AutoencoderTrainingConfig"/>.
/// </summary>
public sealed record DecoderTrainingConfig : PartTrainingConfig
{
    /// <summary>Creates the default settings.</summary>
    public DecoderTrainingConfig()
    {
        Steps = 45_000;
        WarmupSteps = 200;
        AverageSmoothing = 0.999;
        Seed = 22;
    }

    /// <summary>A step's picture has a side of 128 pixels once in this number of steps, otherwise 64.</summary>
    [JsonPropertyOrder(20)]
    public int LargeEvery { get; init; } = 8;

    /// <summary>
    /// Maximum standard deviation of a picture's noise, on the scale of the denoiser's latents. Half of the pictures
    /// get less than a quarter of this maximum.
    /// </summary>
    [JsonPropertyOrder(50)]
    public double NoiseMax { get; init; } = 0.4;

    /// <summary>
    /// Weight of the errors in the differences between neighboring pixels, relative to the errors in the pixels.
    /// </summary>
    [JsonPropertyOrder(51)]
    public double EdgeWeight { get; init; } = 1;
}

/// <summary>Trains only the decoder of an <see cref="AutoencoderKL"/>.</summary>
internal sealed class DecoderTraining : IDisposable
{
    private const string DecoderName = "decoder";

    private readonly DecoderTrainingConfig _config;
    private readonly AutoencoderKL _encoder;
    private readonly AutoencoderKL _network;
    private readonly PartTrainer _trainer;
    private readonly SceneSampler _sampler;
    private readonly SceneRenderer _renderer = new();

    /// <summary>Prepares a training.</summary>
    /// <param name="config">The settings.</param>
    /// <param name="open">Loads the autoencoder in float32, with its scaling; called twice.</param>
    public DecoderTraining(DecoderTrainingConfig config, Func<AutoencoderKL> open)
    {
        _config = config;
        (_encoder, _network) = (open(), open());
        var optimizer = new AdamWSettings { Beta2 = 0.99, WeightDecay = 0.01 };
        _trainer = new PartTrainer(DecoderOf(_network), config, optimizer);

        // Converts the layers before the decoder. The decoder itself was converted together with its master weights.
        foreach ((string name, nn.Module part) in _network.named_children().Where(child => child.name != DecoderName))
        {
            part.to(_config.Compute);
        }

        _sampler = new SceneSampler(config.Seed);
    }

    /// <summary>Runs the remaining steps; see <see cref="PartTrainer.Run{T}"/>.</summary>
    /// <returns>The autoencoder with the averaged decoder, in float32. It is disposed with this training.</returns>
    public AutoencoderKL Run(string checkpoint, Action<PartProgress>? report, CancellationToken cancellation)
    {
        _trainer.Run(checkpoint, samples: 1, Prepare, Loss, report, cancellation);
        _trainer.CopyResultTo(DecoderOf(_encoder));
        return _encoder;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _trainer.Dispose();
        _network.Dispose();
        _encoder.Dispose();
        _renderer.Dispose();
    }

    private static nn.Module DecoderOf(AutoencoderKL network) =>
        network.named_children().Single(child => child.name == DecoderName).module;

    private Pictures Prepare(long step) => AutoencoderTraining.Render(_renderer, _sampler, step, _config.LargeEvery);

    private double Loss(long step, Pictures picture)
    {
        using var scope = NewDisposeScope();
        Tensor wanted = picture.ToTensor(); // [1, 3, S, S]
        Tensor error = _network.Decode(NoisyLatent(wanted, step).to(_config.Compute)).to(ScalarType.Float32) - wanted;
        Tensor loss = AutoencoderTraining.Difference(error, _config.EdgeWeight);
        loss.backward();
        return loss.item<float>();
    }

    private Tensor NoisyLatent(Tensor picture, long step)
    {
        using var noGradients = no_grad();
        using var scope = NewDisposeScope();
        using LatentDistribution encoded = _encoder.Encode(picture);
        double part = new DrawStream(_config.Seed, Purpose.Spoiling, step).Next();
        double deviation = part * part * _config.NoiseMax / _encoder.Config.ScalingFactor;
        var noise = new float[encoded.Mean.numel()];
        SeededNoise.Normal(_config.Seed, NoisePurpose.LatentSample, step, noise);
        Tensor spread = (encoded.LogVariance.exp() + (deviation * deviation)).sqrt();
        return (encoded.Mean + (spread * tensor(noise, encoded.Mean.shape))).MoveToOuterDisposeScope();
    }
}
