// The precisions in which a network may compute, by the words that configurations and options have for them.
using static TorchSharp.torch;

namespace Atelier.Model.Runtime;

/// <summary>Words for the precision of a network's computation.</summary>
public static class Precision
{
    /// <summary>What this processor is fastest in, <see cref="Libtorch.FastPrecision"/>.</summary>
    public const string Auto = "auto";

    /// <summary>float32.</summary>
    public const string Float32 = "float32";

    /// <summary>bfloat16, on processors without instructions for it as well, where it is slow.</summary>
    public const string BFloat16 = "bfloat16";

    /// <summary>The precision that a word asks for.</summary>
    /// <exception cref="ArgumentException">It is none of the words.</exception>
    public static ScalarType Parse(string word) => word switch
    {
        Auto => Libtorch.FastPrecision,
        Float32 => ScalarType.Float32,
        BFloat16 => ScalarType.BFloat16,
        _ => throw new ArgumentException($"A precision is {Auto}, {Float32} or {BFloat16}, not {word}.", nameof(word)),
    };

    /// <summary>The word for a precision.</summary>
    /// <exception cref="ArgumentException">No network computes in it.</exception>
    public static string Name(ScalarType type) => type switch
    {
        ScalarType.Float32 => Float32,
        ScalarType.BFloat16 => BFloat16,
        _ => throw new ArgumentException($"No network computes in {type}.", nameof(type)),
    };
}
