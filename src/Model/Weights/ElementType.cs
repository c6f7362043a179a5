// The element types of weight files, with their size, their safetensors name and their torch type.
using static TorchSharp.torch;

namespace Atelier.Model.Weights;

/// <summary>The type of a stored tensor's elements. All are little-endian.</summary>
public enum ElementType
{
    /// <summary>IEEE double, 8 bytes.</summary>
    Float64,

    /// <summary>IEEE single, 4 bytes.</summary>
    Float32,

    /// <summary>IEEE half, 2 bytes.</summary>
    Float16,

    /// <summary>The upper half of an IEEE single, 2 bytes.</summary>
    BFloat16,

    /// <summary>Signed, 8 bytes.</summary>
    Int64,

    /// <summary>Signed, 4 bytes.</summary>
    Int32,

    /// <summary>Signed, 2 bytes.</summary>
    Int16,

    /// <summary>Signed, 1 byte.</summary>
    Int8,

    /// <summary>Unsigned, 1 byte.</summary>
    UInt8,

    /// <summary>One byte, 0 or 1.</summary>
    Bool,
}

/// <summary>Properties of <see cref="ElementType"/>.</summary>
public static class ElementTypes
{
    // In the order of the enum, so that the enum's value is the index.
    private static readonly (string Code, int Size, ScalarType Torch)[] s_facts =
    [
        ("F64", 8, ScalarType.Float64),
        ("F32", 4, ScalarType.Float32),
        ("F16", 2, ScalarType.Float16),
        ("BF16", 2, ScalarType.BFloat16),
        ("I64", 8, ScalarType.Int64),
        ("I32", 4, ScalarType.Int32),
        ("I16", 2, ScalarType.Int16),
        ("I8", 1, ScalarType.Int8),
        ("U8", 1, ScalarType.Byte),
        ("BOOL", 1, ScalarType.Bool),
    ];

    /// <summary>All supported safetensors names, for messages.</summary>
    public static string AllCodes { get; } = string.Join(", ", s_facts.Select(fact => fact.Code));

    /// <summary>Size of an element in bytes.</summary>
    public static int Size(this ElementType type) => s_facts[(int)type].Size;

    /// <summary>The name in a safetensors header, such as "BF16".</summary>
    public static string Code(this ElementType type) => s_facts[(int)type].Code;

    /// <summary>The torch type with the same representation.</summary>
    public static ScalarType ToTorch(this ElementType type) => s_facts[(int)type].Torch;

    /// <summary>Whether elements are floating-point numbers, which can be converted into each other.</summary>
    public static bool IsFloat(this ElementType type) => type <= ElementType.BFloat16;

    /// <summary>Finds the type with a safetensors name.</summary>
    /// <returns>False if the name is not supported.</returns>
    public static bool TryParse(string? code, out ElementType type)
    {
        var index = Array.FindIndex(s_facts, fact => fact.Code == code);
        type = (ElementType)Math.Max(index, 0);
        return index >= 0;
    }

    /// <summary>The element type with the same representation as a torch type.</summary>
    /// <exception cref="ArgumentException">The type is complex or quantized.</exception>
    public static ElementType FromTorch(ScalarType type)
    {
        var index = Array.FindIndex(s_facts, fact => fact.Torch == type);
        return index >= 0
            ? (ElementType)index
            : throw new ArgumentException(
                $"{type} cannot be stored; cast it to one of {AllCodes} first.", nameof(type));
    }
}
