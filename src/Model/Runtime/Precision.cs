// The precisions in which a network may compute, with their names in configurations and options.
using static TorchSharp.torch;

namespace Atelier.Model.Runtime;

/// <summary>Names of the precisions in which a network may compute.</summary>
public static class Precision
{
    /// <summary>The fastest precision on this processor, <see cref="Libtorch.FastPrecision"/>.</summary>
    public const string Auto = "auto";

    /// <summary>float32.</summary>
    public const string Float32 = "float32";

    /// <summary>bfloat16, even on processors without instructions for it, where it is slow.</summary>
    public const string BFloat16 = "bfloat16";

    /// <summary>The precision with a given name.</summary>
    /// <exception cref="ArgumentException">The name is unknown.</exception>
    public static ScalarType Parse(string word) => word switch
    {
        Auto => Libtorch.FastPrecision,
        Float32 => ScalarType.Float32,
        BFloat16 => ScalarType.BFloat16,
        _ => throw new ArgumentException(
            $"A precision must be {Auto}, {Float32} or {BFloat16}, not {word}.", nameof(word)),
    };

    /// <summary>The name of a precision.</summary>
    /// <exception cref="ArgumentException">Networks cannot compute in this type.</exception>
    public static string Name(ScalarType type) => type switch
    {
        ScalarType.Float32 => Float32,
        ScalarType.BFloat16 => BFloat16,
        _ => throw new ArgumentException($"Networks cannot compute in {type}.", nameof(type)),
    };
}
