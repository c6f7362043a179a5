// Initial weights of MicroDiT with the reference's distributions: some weights are zero, the others are random, with
// the standard deviations and bounds given here.
using System.Runtime.InteropServices;
using System.Text;
using Atelier.Model.Randomness;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Atelier.Model.Networks;

/// <summary>
/// Fills a new network. The distributions are the reference's; the random numbers are a function of the seed and the
/// parameter's name, independent of the order of construction and of the device.
/// </summary>
public static class MicroDiTInitializer
{
    /// <summary>Fills every parameter of a network.</summary>
    public static void Initialize(MicroDiT network, ulong seed)
    {
        using var noGradients = no_grad();
        foreach ((string name, Parameter parameter) in network.named_parameters())
        {
            using var scope = NewDisposeScope();
            var values = new float[parameter.numel()];
            Fill(values, name, parameter.shape, network.Config, seed);
            parameter.copy_(tensor(values, parameter.shape));
        }
    }

    // The first matching rule applies.
    private static void Fill(Span<float> values, string name, long[] shape, MicroDiTConfig config, ulong seed)
    {
        bool inBlock = name.StartsWith("blocks.", StringComparison.Ordinal)
            || name.StartsWith("patch_mixer.", StringComparison.Ordinal);
        bool isCaptionBlock = name.StartsWith("y_emb_preprocess.", StringComparison.Ordinal);
        if (name == "x_embedder.proj.bias")
        {
            // The reference keeps the default initialization of convolutions here.
            Uniform(values, name, 1 / Math.Sqrt(config.PatchValues), seed);
        }
        else if (name.EndsWith(".bias", StringComparison.Ordinal) || name == "final_layer.linear.weight"
            || name.EndsWith("adaLN_modulation.1.weight", StringComparison.Ordinal)
            || name is "y_emb_preprocess.attn.proj.weight" or "y_emb_preprocess.mlp.w3.weight")
        {
            values.Clear(); // Every block starts as the identity, and the network's prediction as zero.
        }
        else if (shape.Length == 1)
        {
            values.Fill(1);
        }
        else if (inBlock || isCaptionBlock)
        {
            bool closesBranch = name.EndsWith(".proj.weight", StringComparison.Ordinal) || (name.Contains(".mlp.w")
                && name[name.IndexOf(".mlp.w", StringComparison.Ordinal) + 6] is '2' or '3');
            Normal(values, name, closesBranch && inBlock ? BranchStd(name, config.Depth) : 0.02, seed);
        }
        else if (name.StartsWith("t_embedder", StringComparison.Ordinal)
            || name.StartsWith("y_embedder", StringComparison.Ordinal)
            || name.StartsWith("pooled_y_emb_process", StringComparison.Ordinal))
        {
            Normal(values, name, 0.02, seed);
        }
        else
        {
            long inputs = shape[1..].Aggregate(1L, (product, size) => product * size);
            Uniform(values, name, Math.Sqrt(6.0 / (shape[0] + inputs)), seed); // Glorot and Bengio 2010.
        }
    }

    // The distribution of a residual branch's last layer gets narrower with depth, so that the sum over the branches
    // keeps its magnitude.
    private static double BranchStd(string name, int depth)
    {
        string[] parts = name.Split('.');
        int layers = parts[0] == "blocks" ? int.Parse(parts[1]) + 1 : depth;
        return 0.02 / Math.Sqrt(2 * layers);
    }

    private static void Normal(Span<float> values, string name, double std, ulong seed)
    {
        SeededNoise.Normal(seed, NoisePurpose.InitialWeights, Index(name), values);
        foreach (ref float value in values)
        {
            value = (float)(value * std);
        }
    }

    private static void Uniform(Span<float> values, string name, double bound, ulong seed)
    {
        SeededNoise.Uniform(seed, NoisePurpose.InitialWeights, Index(name), values);
        foreach (ref float value in values)
        {
            value = (float)(((2 * value) - 1) * bound);
        }
    }

    private static long Index(string name) =>
        MemoryMarshal.Read<long>(System.Security.Cryptography.SHA256.HashData(Encoding.UTF8.GetBytes(name)));
}
