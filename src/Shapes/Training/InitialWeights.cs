// Initial weights of the demo model's small networks.
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Atelier.Model.Randomness;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Atelier.Shapes.Training;

/// <summary>Fills new networks with numbers that depend only on the seed and the parameter's name.</summary>
internal static class InitialWeights
{
    /// <summary>
    /// Fills every parameter that <paramref name="special"/> does not fill: scales of norms with ones, biases with
    /// zeros, and others uniformly within ±1 / √inputs.
    /// </summary>
    /// <param name="network">The network.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <param name="special">
    /// Fills a parameter and returns true, or returns false to leave it to the general rule.
    /// </param>
    public static void Fill(nn.Module network, ulong seed, Func<string, Tensor, bool> special)
    {
        using var noGradients = no_grad();
        foreach ((string name, Parameter parameter) in network.named_parameters())
        {
            using var scope = NewDisposeScope();
            if (special(name, parameter))
            {
                continue;
            }

            if (parameter.dim() < 2)
            {
                parameter.fill_(name.EndsWith(".weight", StringComparison.Ordinal) ? 1 : 0);
            }
            else
            {
                long inputs = parameter.numel() / parameter.shape[0];
                Put(parameter, name, seed, SeededNoise.Uniform, value => ((2 * value) - 1) / Math.Sqrt(inputs));
            }
        }
    }

    /// <summary>Fills a parameter with normally distributed numbers.</summary>
    public static void Normal(Tensor parameter, string name, ulong seed, double deviation) =>
        Put(parameter, name, seed, SeededNoise.Normal, value => value * deviation);

    private static void Put(
        Tensor parameter, string name, ulong seed, Action<ulong, NoisePurpose, long, Span<float>> draw, Func<double,
        double> map)
    {
        var values = new float[parameter.numel()];
        long index = MemoryMarshal.Read<long>(SHA256.HashData(Encoding.UTF8.GetBytes(name)));
        draw(seed, NoisePurpose.InitialWeights, index, values);
        foreach (ref float value in values.AsSpan())
        {
            value = (float)map(value);
        }

        using Tensor filled = tensor(values, parameter.shape);
        parameter.copy_(filled);
    }
}
