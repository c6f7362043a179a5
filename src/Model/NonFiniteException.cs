// The detection of NaN and infinity, and their description in messages.
using System.Globalization;
using System.Numerics;
using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace Atelier.Model;

/// <summary>The names of a model's parts in messages.</summary>
public static class ModelParts
{
    /// <summary>Encodes captions into features.</summary>
    public const string TextEncoder = "text encoder";

    /// <summary>Denoises latents.</summary>
    public const string Denoiser = "denoiser";

    /// <summary>Decodes latents into pictures.</summary>
    public const string Decoder = "decoder";

    /// <summary>Encodes pictures into latents, for training data.</summary>
    public const string PictureEncoder = "autoencoder's encoder";
}

/// <summary>
/// A network gave NaN or infinity, or stored numbers contain such a value. The message is a sentence that names the
/// part. The weights, the precision or the device are at fault, not the request.
/// </summary>
/// <param name="part">The part that gave the value, such as "decoder".</param>
/// <param name="value">The value: NaN or an infinity.</param>
public sealed class NonFiniteException(string part, double value)
    : Exception($"The {part} gave {Finite.Name(value)} instead of a finite number.")
{
    /// <summary>The part that gave the value.</summary>
    public string Part { get; } = part;

    /// <summary>The value: NaN or an infinity.</summary>
    public double Value { get; } = value;

    /// <summary>The message with the name of the model.</summary>
    public string Of(string model) =>
        $"The {Part} of the model {model} gave {Finite.Name(Value)} instead of a finite number.";
}

/// <summary>Checks for numbers that are not finite.</summary>
public static class Finite
{
    /// <summary>The text of a value in messages and reports, which is the same in every culture.</summary>
    public static string Name(double value) =>
        double.IsNaN(value) ? "NaN"
        : double.IsInfinity(value) ? (value > 0 ? "infinity" : "-infinity")
        : value.ToString("g4", CultureInfo.InvariantCulture);

    /// <summary>Index of the first number that is not finite; -1 if there is none.</summary>
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

    /// <summary>Index of the first number that is not finite; -1 if there is none.</summary>
    public static int IndexOfFault(ReadOnlySpan<Half> numbers)
    {
        // An exponent of all ones marks NaN and the infinities.
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

    /// <summary>Throws unless all numbers of a part are finite.</summary>
    /// <exception cref="NonFiniteException">A number is not finite.</exception>
    public static void Check(string part, ReadOnlySpan<float> numbers)
    {
        if (IndexOfFault(numbers) is >= 0 and var at)
        {
            throw new NonFiniteException(part, numbers[at]);
        }
    }

    /// <summary>Throws unless all numbers of a part are finite.</summary>
    /// <exception cref="NonFiniteException">A number is not finite.</exception>
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

    /// <summary>
    /// Throws unless all numbers of a part's output are finite. The output may have any shape, floating-point type and
    /// device.
    /// </summary>
    /// <returns>The output itself.</returns>
    /// <exception cref="NonFiniteException">A number is not finite.</exception>
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
