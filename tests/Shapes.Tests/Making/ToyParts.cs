// Recipes of toy size for every part: networks of a few thousand weights, a handful of steps.
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Shapes.Training;

namespace Atelier.Shapes.Tests.Making;

internal static class ToyParts
{
    public static AutoencoderTrainingConfig Autoencoder { get; } = new()
    {
        Network = new AutoencoderConfig
        {
            BlockOutChannels = [8, 8, 8, 8], LatentChannels = 4, NormNumGroups = 4, SampleSize = 128,
        },
        Steps = 6,
        LargeEvery = 2,
    };

    public static DecoderTrainingConfig Decoder { get; } = new() { Steps = 5, LargeEvery = 2 };

    public static ClipTrainingConfig Clip { get; } = new()
    {
        EmbedDim = 16,
        Text = new ClipTextConfig { ContextLength = 32, Width = 32, Heads = 2, Layers = 1 },
        Vision = new ClipVisionConfig { ImageSize = 64, PatchSize = 16, Width = 32, HeadWidth = 16, Layers = 1 },
        Steps = 6,
        Batch = 16,
    };

    public static ClipTrainingConfig Binding { get; } = Clip with
    {
        Text = Clip.Text with { NoCausalMask = true },
        Steps = 5,
        BindingWeight = 1,
        BindingBatch = 16,
    };

    public static OracleTrainingConfig Oracle { get; } = new() { Steps = 4, Batch = 4 };
}
