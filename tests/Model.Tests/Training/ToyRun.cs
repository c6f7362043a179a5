// A training run small enough for tests: four patterns with a caption each, plus something unique to every sample.
using Atelier.Model.Networks;
using Atelier.Model.Randomness;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Training;
using Atelier.Training;

namespace Atelier.Model.Tests.Training;

internal sealed class ToyData(int count, MicroDiTConfig config) : ITrainingData
{
    public int Count => count;

    public (int Channels, int Height, int Width) LatentShape => (config.InChannels, config.InputSize, config.InputSize);

    public (int Length, int Channels) CaptionShape => (5, config.CaptionChannels);

    public void Read(int sample, Span<float> latent, Span<float> caption)
    {
        SeededNoise.Normal((ulong)sample, NoisePurpose.LatentSample, 1, latent);
        for (int i = 0; i < latent.Length; i++)
        {
            latent[i] = (0.1f * latent[i]) + ((i >> (sample % 4)) % 2 == 0 ? 0.8f : -0.8f);
        }

        SeededNoise.Normal((ulong)sample % 4, NoisePurpose.LatentSample, 2, caption);
    }
}

internal static class ToyRun
{
    /// <summary>Everything that a step can depend on is enabled.</summary>
    public static TrainingSettings Settings { get; } = new()
    {
        MaskRatio = 0.5,
        Shards = 8,
        Microbatch = 2,
        LearningRate = new LearningRate { Base = 2e-3, LagsOneBatch = false },
        Optimizer = new AdamWSettings { WeightDecay = 0.01 },
        ClipNorm = 0.5,
        EmaSmoothing = 0.9,
    };

    /// <summary>A data set of 13, so that batches of 16 straddle epochs.</summary>
    public static SeededShards Shards(TrainingSettings settings, ulong seed = 1) =>
        new(new ToyData(13, SmallNetworks.Tiny), settings, SmallNetworks.Tiny, seed, captionDrop: 0.1);

    /// <summary>An engine over a network of its own, which is always the same at the start.</summary>
    public static (MicroDiT Network, TrainingEngine Engine) Worker(TrainingSettings settings, int parallel = 1)
    {
        var network = new MicroDiT(SmallNetworks.Tiny);
        MicroDiTInitializer.Initialize(network, 17);
        return (network, new TrainingEngine(network, settings, Shards(settings), parallel: parallel));
    }
}
