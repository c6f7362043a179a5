// Training of the demo model's autoencoder on renderings of its world.
using System.Text.Json.Serialization;
using Atelier.Model.Autoencoder;
using Atelier.Model.Randomness;
using Atelier.Model.Training;
using Atelier.Shapes.Drawing;
using Atelier.Shapes.Scenes;
using static TorchSharp.torch;

namespace Atelier.Shapes.Training;

/// <summary>
/// Settings of the autoencoder's training. The defaults train an autoencoder from scratch; docs/log.md describes how
/// the shipped one was trained.
/// </summary>
public sealed record AutoencoderTrainingConfig : PartTrainingConfig
{
    /// <summary>Creates the default settings.</summary>
    public AutoencoderTrainingConfig()
    {
        Steps = 32_000;
        AverageSmoothing = 0.999;
        Seed = 21;
    }

    /// <summary>The network; its scaling and shift are determined after the training.</summary>
    public AutoencoderConfig Network { get; init; } = new()
    {
        BlockOutChannels = [16, 32, 64],
        LatentChannels = 4,
        LayersPerBlock = 1,
        NormNumGroups = 8,
        SampleSize = 128,
    };

    /// <summary>
    /// Each step uses one picture. Its side is 128 pixels once in this number of steps, and otherwise 64 pixels, which
    /// takes a quarter of the time and has the finer detail.
    /// </summary>
    [JsonPropertyOrder(20)]
    public int LargeEvery { get; init; } = 8;

    /// <summary>
    /// Weight of the errors in the differences between neighboring pixels, relative to the errors in the pixels. It
    /// keeps edges sharp.
    /// </summary>
    [JsonPropertyOrder(51)]
    public double EdgeWeight { get; init; } = 1;

    /// <summary>
    /// Weight of the divergence of the latents' distribution from a standard normal distribution. The divergence is
    /// divided by the number of values of the picture, not of the smaller latent.
    /// </summary>
    [JsonPropertyOrder(52)]
    public double DivergenceWeight { get; init; } = 1e-5;
}

/// <summary>Trains an <see cref="AutoencoderKL"/>.</summary>
internal sealed class AutoencoderTraining : IDisposable
{
    private const int SmallSide = 64, LargeSide = 128;

    // The latents' noise is small at the start, so that the decoder can learn from the first step on.
    private const float InitialLogVariance = -5;

    private readonly AutoencoderTrainingConfig _config;
    private readonly AutoencoderKL _network;
    private readonly PartTrainer _trainer;
    private readonly SceneSampler _sampler;
    private readonly SceneRenderer _renderer = new();

    public AutoencoderTraining(AutoencoderTrainingConfig config)
    {
        _config = config;
        _network = new AutoencoderKL(config.Network);
        InitialWeights.Fill(_network, config.Seed, FillSpecial);
        var optimizer = new AdamWSettings { Beta2 = 0.99, WeightDecay = 0.01 };
        _trainer = new PartTrainer(_network, config, optimizer);
        _sampler = new SceneSampler(config.Seed);
    }

    /// <summary>Runs the remaining steps; see <see cref="PartTrainer.Run{T}"/>.</summary>
    /// <returns>The averaged network in float32, without scaling. The caller disposes it.</returns>
    public AutoencoderKL Run(string checkpoint, Action<PartProgress>? report, CancellationToken cancellation)
    {
        _trainer.Run(checkpoint, samples: 1, Prepare, Loss, report, cancellation);
        var result = new AutoencoderKL(_config.Network);
        _trainer.CopyResultTo(result);
        return result;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _trainer.Dispose();
        _network.Dispose();
        _renderer.Dispose();
    }

    /// <summary>|e| + w |∇e| of an error e [1, 3, S, S], each a mean over the picture's values.</summary>
    public static Tensor Difference(Tensor error, double edgeWeight)
    {
        Tensor across = error.diff(dim: 3).abs().mean(), down = error.diff(dim: 2).abs().mean();
        return error.abs().mean() + ((across + down) * edgeWeight);
    }

    /// <summary>Renders a step's picture; one picture in <paramref name="largeEvery"/> is large.</summary>
    public static Pictures Render(SceneRenderer renderer, SceneSampler sampler, long step, int largeEvery) =>
        Pictures.Render(renderer, [sampler.Draw(step)], step % largeEvery == largeEvery - 1 ? LargeSide : SmallSide);

    private bool FillSpecial(string name, Tensor parameter)
    {
        if (name != "quant_conv.bias")
        {
            return false;
        }

        parameter.zero_();
        parameter.narrow(0, _config.Network.LatentChannels, _config.Network.LatentChannels).fill_(InitialLogVariance);
        return true;
    }

    private Pictures Prepare(long step) => Render(_renderer, _sampler, step, _config.LargeEvery);

    private double Loss(long step, Pictures picture)
    {
        using var scope = NewDisposeScope();
        Tensor loss = Objective(picture.ToTensor(), step);
        loss.backward();
        return loss.item<float>();
    }

    // |x - y| + w |∇x - ∇y| + v KL, each divided by the number of values of the picture.
    private Tensor Objective(Tensor picture, long number)
    {
        LatentDistribution encoded = _network.Encode(picture.to(_config.Compute));
        Tensor mean = encoded.Mean.to(ScalarType.Float32), logVariance = encoded.LogVariance.to(ScalarType.Float32);
        var noise = new float[mean.numel()];
        SeededNoise.Normal(_config.Seed, NoisePurpose.LatentSample, number, noise);
        Tensor latent = new LatentDistribution(mean, logVariance).Sample(tensor(noise, mean.shape));
        Tensor error = _network.Decode(latent.to(_config.Compute)).to(ScalarType.Float32) - picture;   // [1, 3, S, S]
        Tensor divergence = (mean.square() + logVariance.exp() - 1 - logVariance).sum() * (0.5 / picture.numel());
        return Difference(error, _config.EdgeWeight) + (divergence * _config.DivergenceWeight);
    }
}
