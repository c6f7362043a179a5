// Further training of the autoencoder's decoder on latents with noise. What a diffusion model draws is never quite a latent of
// the encoder's; a decoder that has only seen those blurs what is a little beside them. The encoder, and with it every latent, stays.
using Atelier.Model.Autoencoder;
using Atelier.Model.Randomness;
using Atelier.Model.Runtime;
using Atelier.Model.Training;
using Atelier.Shapes.Drawing;
using Atelier.Shapes.Scenes;
using Atelier.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace Atelier.Shapes.Training;

/// <summary>How the decoder is trained further. The defaults make one after <see cref="AutoencoderTrainingConfig"/>'s.</summary>
public sealed record DecoderTrainingConfig
{
    /// <summary>Steps in all, of one picture each.</summary>
    public long Steps { get; init; } = 45_000;

    /// <summary>Every so many steps one sees a picture of 128 pixels a side, otherwise one of 64.</summary>
    public int LargeEvery { get; init; } = 8;

    /// <summary>Learning rate at its highest.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Steps until the learning rate is at its highest; then it falls along a cosine.</summary>
    public long WarmupSteps { get; init; } = 200;

    /// <summary>
    /// Most standard deviation of a picture's noise, on the scale of the latents that the denoiser works on. Half of the
    /// pictures get less than a quarter of it.
    /// </summary>
    public double NoiseMax { get; init; } = 0.4;

    /// <summary>Weight of the differences between neighbouring pixels beside that of the pixels.</summary>
    public double EdgeWeight { get; init; } = 1;

    /// <summary>Gradients longer than this are cut.</summary>
    public double ClipNorm { get; init; } = 1;

    /// <summary>Smoothing of the averaged weights, which are the result.</summary>
    public double AverageSmoothing { get; init; } = 0.999;

    /// <summary>
    /// Whether the decoder computes in bfloat16 while it learns, and not in float32; by default what this processor is
    /// faster in. A training goes on in the precision that it began in, or not at all.
    /// </summary>
    public bool BFloat16 { get; init; } = Libtorch.FastPrecision == ScalarType.BFloat16;

    /// <summary>Seed of scenes and noise.</summary>
    public ulong Seed { get; init; } = 22;
}

/// <summary>Trains the decoder of an <see cref="AutoencoderKL"/>, and nothing else of it.</summary>
internal sealed class DecoderTraining : IDisposable
{
    private const string DecoderName = "decoder";

    private readonly DecoderTrainingConfig _config;
    private readonly AutoencoderKL _encoder;
    private readonly AutoencoderKL _network;
    private readonly NetworkInTraining _state;
    private readonly SceneSampler _sampler;
    private readonly SceneRenderer _renderer = new();
    private readonly LearningRate _rate;
    private readonly ScalarType _compute;

    /// <summary>Prepares a training.</summary>
    /// <param name="config">How.</param>
    /// <param name="open">The autoencoder in float32, with its scaling; called twice.</param>
    public DecoderTraining(DecoderTrainingConfig config, Func<AutoencoderKL> open)
    {
        _config = config;
        _compute = config.BFloat16 ? ScalarType.BFloat16 : ScalarType.Float32;
        (_encoder, _network) = (open(), open());
        var optimizer = new AdamWSettings { Beta2 = 0.99, WeightDecay = 0.01 };
        _state = new NetworkInTraining(DecoderOf(_network), _compute, optimizer, config.AverageSmoothing, PartRecipe.Of(config));

        // What a latent passes before the decoder, which itself is in that precision now, before its master weights.
        foreach ((string name, nn.Module part) in _network.named_children().Where(child => child.name != DecoderName))
        {
            part.to(_compute);
        }

        _sampler = new SceneSampler(config.Seed);
        _rate = LearningRate.Cosine(config.LearningRate, config.WarmupSteps, config.Steps);
    }

    /// <summary>Makes the missing steps; see <see cref="TrainingLoop.Run"/>.</summary>
    /// <returns>The autoencoder with the averaged decoder, in float32. It lives as long as this training.</returns>
    public AutoencoderKL Run(string checkpoint, Action<PartProgress>? report, CancellationToken cancellation)
    {
        TrainingLoop.Run(_state, checkpoint, _config.Steps, samples: 1, Prepare, Train, report, cancellation);
        _state.CopyAverageTo(DecoderOf(_encoder));
        return _encoder;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _state.Dispose();
        _network.Dispose();
        _encoder.Dispose();
        _renderer.Dispose();
    }

    private static nn.Module DecoderOf(AutoencoderKL network) =>
        network.named_children().Single(child => child.name == DecoderName).module;

    private Pictures Prepare(long step) => AutoencoderTraining.Render(_renderer, _sampler, step, _config.LargeEvery);

    private double Train(long step, Pictures picture)
    {
        using var scope = NewDisposeScope();
        _state.ClearGradients();
        Tensor wanted = picture.ToTensor(); // [1, 3, S, S]
        Tensor error = _network.Decode(NoisyLatent(wanted, step).to(_compute)).to(ScalarType.Float32) - wanted;
        Tensor loss = AutoencoderTraining.Difference(error, _config.EdgeWeight);
        loss.backward();
        _state.Update(_rate.At(step), _config.ClipNorm);
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
