// Initial weights of the demo model's small networks.
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Atelier.Model.Randomness;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Atelier.Shapes.Training;

/// <summary>Fills new networks with numbers that are a function of the seed and the parameter's name.</summary>
internal static class InitialWeights
{
    /// <summary>
    /// Fills every parameter: ones where a norm scales, zeros where it shifts, elsewhere uniform with the bound
    /// 1 / √inputs, or what <paramref name="special"/> says.
    /// </summary>
    /// <param name="network">The network.</param>
    /// <param name="seed">Seed.</param>
    /// <param name="special">Fills a parameter by name and shape and returns true, or leaves it to the rule.</param>
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

    /// <summary>Fills a parameter with normal numbers.</summary>
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
