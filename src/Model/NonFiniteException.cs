// Numbers that are none: where they are found, and how a person is told of them.
using System.Globalization;
using System.Numerics;
using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace Atelier.Model;

/// <summary>How messages name the parts of a model.</summary>
public static class ModelParts
{
    /// <summary>Captions to features.</summary>
    public const string TextEncoder = "text encoder";

    /// <summary>Noisy latents to clean ones.</summary>
    public const string Denoiser = "denoiser";

    /// <summary>Latents to pictures.</summary>
    public const string Decoder = "decoder";

    /// <summary>Pictures to latents, for training data.</summary>
    public const string PictureEncoder = "autoencoder's encoder";
}

/// <summary>
/// A network gave NaN or an infinity, or stored numbers hold one. The message is a sentence that names the part; the
/// request is not at fault, but weights, precision or device.
/// </summary>
/// <param name="part">What gave the value, such as "decoder".</param>
/// <param name="value">The value.</param>
public sealed class NonFiniteException(string part, double value)
    : Exception($"The {part} gave {Finite.Name(value)}, where only finite numbers are of use.")
{
    /// <summary>What gave the value.</summary>
    public string Part { get; } = part;

    /// <summary>The value: NaN or an infinity.</summary>
    public double Value { get; } = value;

    /// <summary>The message with the name of the model whose part it is.</summary>
    public string Of(string model) =>
        $"The {Part} of the model {model} gave {Finite.Name(Value)}, where only finite numbers are of use.";
}

/// <summary>Looks for numbers that are not finite.</summary>
public static class Finite
{
    /// <summary>How messages and reports write a value: the same in every culture.</summary>
    public static string Name(double value) =>
        double.IsNaN(value) ? "NaN"
        : double.IsInfinity(value) ? (value > 0 ? "infinity" : "-infinity")
        : value.ToString("g4", CultureInfo.InvariantCulture);

    /// <summary>Place of the first number that is not finite; -1 if there is none.</summary>
    public static int IndexOfFault(ReadOnlySpan<float> numbers)
    {
        // x - x is 0 for every finite x, and NaN for all others.
        ReadOnlySpan<Vector<float>> vectors = MemoryMarshal.Cast<float, Vector<float>>(numbers);
        int at = 0;
        while (at < vectors.Length && Vector.EqualsAll(vectors[at] - vectors[at], Vector<float>.Zero))
        {
            at++;
        }

        for (int i = at * Vector<float>.Count; i < numbers.Length; i++)
        {
            if (!float.IsFinite(numbers[i]))
            {
                return i;
            }
        }

        return -1;
    }

    /// <summary>Place of the first number that is not finite; -1 if there is none.</summary>
    public static int IndexOfFault(ReadOnlySpan<Half> numbers)
    {
        // Exponents of ones alone are those of NaN and the infinities.
        const ushort exponent = 0x7C00;
        ReadOnlySpan<ushort> bits = MemoryMarshal.Cast<Half, ushort>(numbers);
        ReadOnlySpan<Vector<ushort>> vectors = MemoryMarshal.Cast<ushort, Vector<ushort>>(bits);
        var ones = new Vector<ushort>(exponent);
        int at = 0;
        while (at < vectors.Length && !Vector.EqualsAny(vectors[at] & ones, ones))
        {
            at++;
        }

        for (int i = at * Vector<ushort>.Count; i < bits.Length; i++)
        {
            if ((bits[i] & exponent) == exponent)
            {
                return i;
            }
        }

        return -1;
    }

    /// <summary>Refuses numbers of a part that are not all finite.</summary>
    /// <exception cref="NonFiniteException">One is not.</exception>
    public static void Check(string part, ReadOnlySpan<float> numbers)
    {
        if (IndexOfFault(numbers) is >= 0 and var at)
        {
            throw new NonFiniteException(part, numbers[at]);
        }
    }

    /// <summary>Refuses numbers of a part that are not all finite.</summary>
    /// <exception cref="NonFiniteException">One is not.</exception>
    public static void Check(string part, ReadOnlySpan<double> numbers)
    {
        foreach (double number in numbers)
        {
            if (!double.IsFinite(number))
            {
                throw new NonFiniteException(part, number);
            }
        }
    }

    /// <summary>Refuses a part's output, of any shape, floating type and device, that is not all finite.</summary>
    /// <returns>The output itself.</returns>
    /// <exception cref="NonFiniteException">A number of it is not finite.</exception>
    public static Tensor Check(string part, Tensor output)
    {
        using IDisposable noGradients = no_grad();
        using Tensor finite = output.isfinite(), all = finite.all();
        if (all.item<bool>())
        {
            return output;
        }

        using Tensor outside = finite.logical_not(), bad = output.masked_select(outside), first = bad[0];
        using Tensor wide = first.to(ScalarType.Float64);
        throw new NonFiniteException(part, wide.item<double>());
    }
}
