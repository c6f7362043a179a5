// The description of a tensor in a weight file, apart from its bytes.
namespace Atelier.Model.Weights;

/// <summary>Name, type and shape of a stored tensor. Its elements are in row-major order.</summary>
public sealed class TensorInfo
{
    /// <summary>Maximum number of dimensions, which is torch's own limit.</summary>
    internal const int MaxRank = 64;

    /// <summary>Describes a tensor.</summary>
    /// <param name="name">The name in the state dict, such as "blocks.0.attn.qkv.weight".</param>
    /// <param name="type">The element type.</param>
    /// <param name="shape">Sizes, outermost first; empty for a single number.</param>
    /// <exception cref="ArgumentException">A size is negative, or the tensor has more than 2^63 - 1 bytes.</exception>
    public TensorInfo(string name, ElementType type, long[] shape)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(shape);
        if (Measure(shape, type.Size(), out var bytes) is { } fault)
        {
            throw new ArgumentException($"Tensor \"{name}\": {fault}.", nameof(shape));
        }

        (Name, Type, Shape, ByteLength) = (name, type, shape, bytes);
    }

    /// <summary>The name in the state dict.</summary>
    public string Name { get; }

    /// <summary>The element type.</summary>
    public ElementType Type { get; }

    /// <summary>Sizes, outermost first; empty for a single number.</summary>
    public long[] Shape { get; }

    /// <summary>Bytes of all elements.</summary>
    public long ByteLength { get; }

    /// <summary>Number of elements.</summary>
    public long ElementCount => ByteLength / Type.Size();

    /// <summary>The type and the shape, such as "F32 [2, 3]".</summary>
    public override string ToString() => Describe(Type.Code(), Shape);

    internal static string Describe(string type, long[] shape) => $"{type} [{string.Join(", ", shape)}]";

    /// <summary>Computes the size in bytes of a tensor with a given shape.</summary>
    /// <returns>The reason why the shape is not valid; null if it is valid.</returns>
    internal static string? Measure(ReadOnlySpan<long> shape, int elementSize, out long bytes)
    {
        bytes = elementSize;
        if (shape.Length > MaxRank)
        {
            return $"the shape has {shape.Length} dimensions; at most {MaxRank} are allowed";
        }

        foreach (var size in shape)
        {
            if (size < 0)
            {
                return $"the shape has the negative size {size}";
            }

            if (Math.BigMul(bytes, size, out bytes) != 0 || bytes < 0)
            {
                return $"the shape [{string.Join(", ", shape.ToArray())}] overflows 64 bits";
            }
        }

        return null;
    }
}
