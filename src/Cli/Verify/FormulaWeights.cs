// Weights computed from a parameter's name instead of being stored. The reference data was created with them, so a
// network filled here must reproduce the reference's outputs. The rules are in tests/reference/README.md.
using System.Text;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Cli.Verify;

/// <summary>
/// Element i of the tensor named N is float32(center + scale * u), with u in [-1, 1) a hash of i seeded by FNV-1a of N.
/// Everything is exact integer or float64 arithmetic, so the bits depend only on the name and the index.
/// </summary>
public static class FormulaWeights
{
    // Below this size a parallel loop costs more than it saves; above it, the work is divided into pieces of this size.
    private const int Piece = 1 << 18;

    /// <summary>FNV-1a, 32 bits, of the UTF-8 bytes of a name.</summary>
    public static uint Seed(string prefixedName)
    {
        ArgumentNullException.ThrowIfNull(prefixedName);
        uint hash = 0x811C9DC5;
        foreach (byte octet in Encoding.UTF8.GetBytes(prefixedName))
        {
            hash = (hash ^ octet) * 0x01000193;
        }

        return hash;
    }

    /// <summary>Element <paramref name="index"/> of the row-major tensor with this seed.</summary>
    public static float Element(uint seed, uint index, double center, double scale)
    {
        uint x = (index * 2654435761) + seed;
        x = (x ^ (x >> 16)) * 0x85EBCA6B;
        x = (x ^ (x >> 13)) * 0xC2B2AE35;
        x ^= x >> 16;
        double u = (x * (2.0 / 4294967296.0)) - 1;
        return (float)(center + (scale * u));
    }

    /// <summary>
    /// Center and scale of a parameter, by the first of ten rules that matches its shape and its name without the
    /// prefix. <paramref name="gain"/> multiplies only the scale of kernels and matrices (rules 7 to 10).
    /// </summary>
    /// <exception cref="ArgumentException">No rule covers the name and the number of dimensions.</exception>
    public static (double Center, double Scale) Interval(string name, ReadOnlySpan<long> shape, double gain = 1)
    {
        ArgumentNullException.ThrowIfNull(name);
        string last = name[(name.LastIndexOf('.') + 1)..];
        return (last, shape.Length) switch
        {
            ("logit_scale", _) => (2.65926, 0),
            ("running_mean", _) => (0, 0.1),
            ("running_var", _) => (1, 0.2),
            _ when last == "bias" || name.EndsWith("_bias", StringComparison.Ordinal) => (0, 0.05),
            ("positional_embedding" or "class_embedding", _) => (0, 0.5),
            _ when name.EndsWith("token_embedding.weight", StringComparison.Ordinal) => (0, 0.5),
            (_, 1) => (1, 0.1),
            ("text_projection" or "proj", 2) => (0, Math.Sqrt(3.0 / shape[0]) * gain),
            (_, 2 or 3) => (0, Math.Sqrt(3.0 / shape[1]) * gain),
            (_, 4) => (0, Math.Sqrt(3.0 / (shape[1] * shape[2] * shape[3])) * gain),
            _ => throw new ArgumentException(
                $"No rule of the weight formula covers {name} with {shape.Length} dimensions.", nameof(shape)),
        };
    }

    /// <summary>Writes the whole tensor of this name, using all cores.</summary>
    /// <param name="destination">Row-major elements.</param>
    /// <param name="prefixedName">The name that is hashed: weight_prefix + N, or an input's formula_name.</param>
    /// <param name="center">Middle of the values.</param>
    /// <param name="scale">Half the width of the interval of the values.</param>
    public static unsafe void Fill(Span<float> destination, string prefixedName, double center, double scale)
    {
        uint seed = Seed(prefixedName);
        int length = destination.Length;
        fixed (float* start = destination)
        {
            // A span cannot be captured by a lambda; the pointer is safe, because the loop ends before the memory is
            // released.
            float* elements = start;
            int pieces = (int)(((long)length + Piece - 1) / Piece);
            if (pieces == 1)
            {
                FillPiece(elements, 0, length, seed, center, scale);
                return;
            }

            Parallel.For(0, pieces, piece =>
            {
                int from = piece * Piece;
                FillPiece(elements, from, Math.Min(length, from + (long)Piece), seed, center, scale);
            });
        }
    }

    /// <summary>Writes a float32 tensor on the CPU in place.</summary>
    /// <exception cref="ArgumentException">The tensor is not a contiguous float32 tensor on the CPU.</exception>
    public static void Fill(Tensor tensor, string prefixedName, double center, double scale)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        bool onCpu = tensor.device_type == TorchSharp.DeviceType.CPU;
        if (tensor.dtype != ScalarType.Float32 || !onCpu || !tensor.is_contiguous())
        {
            throw new ArgumentException(
                $"{prefixedName} is {tensor.dtype} on {tensor.device}; only contiguous float32 on the CPU is filled.",
                nameof(tensor));
        }

        Fill(System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(tensor.bytes), prefixedName, center, scale);
    }

    /// <summary>
    /// Writes all parameters of a network in place, and the running_mean and running_var of its batch norms. Other
    /// buffers keep the network's values. The weights are not copied.
    /// </summary>
    /// <param name="module">The network; the formula uses its state-dict names.</param>
    /// <param name="prefix">Prefix added to each name for the hash, but not for the rules.</param>
    /// <param name="gain">Multiplies the scale of kernels and matrices.</param>
    public static void Fill(Module module, string prefix, double gain = 1)
    {
        ArgumentNullException.ThrowIfNull(module);
        foreach ((string name, Parameter parameter) in module.named_parameters())
        {
            FillNamed(parameter, name, prefix, gain);
        }

        foreach ((string name, Tensor buffer) in module.named_buffers())
        {
            if (name.EndsWith("running_mean", StringComparison.Ordinal)
                || name.EndsWith("running_var", StringComparison.Ordinal))
            {
                FillNamed(buffer, name, prefix, gain);
            }
        }
    }

    private static void FillNamed(Tensor tensor, string name, string prefix, double gain)
    {
        (double center, double scale) = Interval(name, tensor.shape, gain);
        Fill(tensor, prefix + name, center, scale);
    }

    private static unsafe void FillPiece(float* elements, long from, long to, uint seed, double center, double scale)
    {
        for (long i = from; i < to; i++)
        {
            elements[i] = Element(seed, (uint)i, center, scale);
        }
    }
}
