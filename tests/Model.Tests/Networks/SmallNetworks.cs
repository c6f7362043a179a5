// Networks small enough to be run thousands of times, which still have every part of the large ones: a narrower mixer
// with its maps, blocks of different widths, experts in both halves.
using System.Runtime.InteropServices;
using Atelier.Cli.Verify;
using Atelier.Model.Networks;
using Atelier.Model.Randomness;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Networks;

internal static class SmallNetworks
{
    /// <summary>16 tokens, 32 wide, about 100,000 parameters.</summary>
    public static MicroDiTConfig Tiny { get; } = new()
    {
        InputSize = 8,
        Dim = 32,
        Depth = 4,
        HeadDim = 8,
        MultipleOf = 16,
        CaptionChannels = 24,
        QkvMultipliers = [0.5, 0.5, 1, 1],
        FfnMultipliers = [0.5, 1, 2, 4],
        PatchMixerDepth = 2,
        PatchMixerDim = 16,
        PatchMixerMlpRatio = 2,
        UseBias = false,
        NumExperts = 4,
        ExpertCapacity = 2,
    };

    /// <summary>
    /// Wide enough for the kernels of real models: 64 tokens, heads of 64, about 2 million parameters.
    /// </summary>
    public static MicroDiTConfig Realistic { get; } = Tiny with
    {
        InputSize = 16,
        Dim = 128,
        HeadDim = 64,
        MultipleOf = 64,
        CaptionChannels = 96,
        PatchMixerDim = 64,
        PatchMixerMlpRatio = 4,
        NumExperts = 8,
    };

    /// <summary>A network whose weights are derived from their names, none of them zero; ready for inference.</summary>
    public static MicroDiT Filled(MicroDiTConfig config, string prefix = "small/")
    {
        var network = new MicroDiT(config);
        FormulaWeights.Fill(network, prefix);
        network.eval();
        return network;
    }

    /// <summary>Standard normal numbers of a seed.</summary>
    public static float[] Normal(ulong seed, long count)
    {
        var numbers = new float[count];
        SeededNoise.Normal(seed, NoisePurpose.LatentSample, 0, numbers);
        return numbers;
    }

    /// <summary>A standard normal tensor of a seed.</summary>
    public static Tensor Normal(ulong seed, long[] shape) =>
        tensor(Normal(seed, shape.Aggregate(1L, (a, b) => a * b)), shape);

    /// <summary>The numbers of a float32 tensor.</summary>
    public static float[] Floats(Tensor tensor)
    {
        using Tensor flat = tensor.detach().cpu().contiguous();
        return MemoryMarshal.Cast<byte, float>(flat.bytes).ToArray();
    }
}
