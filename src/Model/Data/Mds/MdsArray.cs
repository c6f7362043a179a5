using System.Buffers.Binary;
using System.Collections.Frozen;

namespace Atelier.Model.Data.Mds;

/// <summary>An array in the form in which a data set stores it.</summary>
/// <param name="Type">NumPy's name of the element type, such as <c>float16</c>.</param>
/// <param name="Shape">Extent of each dimension.</param>
/// <param name="Data">The elements, row-major, little-endian.</param>
public sealed record MdsArray(string Type, long[] Shape, ReadOnlyMemory<byte> Data)
{
    private const int DimensionsMax = 63;

    private static readonly FrozenDictionary<string, (byte Code, int Bytes)> Types =
        new Dictionary<string, (byte, int)>
        {
            ["uint8"] = (8, 1),
            ["int8"] = (9, 1),
            ["uint16"] = (16, 2),
            ["int16"] = (17, 2),
            ["float16"] = (18, 2),
            ["uint32"] = (32, 4),
            ["int32"] = (33, 4),
            ["float32"] = (34, 4),
            ["uint64"] = (64, 8),
            ["int64"] = (65, 8),
            ["float64"] = (66, 8),
        }.ToFrozenDictionary();

    internal static bool IsType(string type) => Types.ContainsKey(type);

    /// <summary>
    /// Size of the elements in bytes; throws a <see cref="FormatException"/> if it exceeds
    /// <see cref="MdsIndex.SampleBytesMax"/>.
    /// </summary>
    internal static int DataBytes(string type, ReadOnlySpan<long> shape)
    {
        Int128 bytes = Types[type].Bytes;
        foreach (long extent in shape)
        {
            bytes *= extent;
            if (extent < 0 || bytes > MdsIndex.SampleBytesMax)
            {
                throw new FormatException($"an array of {type} with the shape ({string.Join(", ", shape.ToArray())}) "
                    + $"must have 0 to {MdsIndex.SampleBytesMax} bytes");
            }
        }

        return (int)bytes;
    }

    // A field is [type code][dimensions << 2 | width of extents][extents][elements]. A width w means 1 << w bytes.
    // Parts that the column's encoding already gives are omitted.
    internal static MdsArray Decode(ReadOnlyMemory<byte> field, string? type, long[]? shape)
    {
        type ??= TypeOf(Cut(ref field, 1)[0]);
        shape ??= DecodeShape(ref field);
        int bytes = DataBytes(type, shape);
        return field.Length == bytes
            ? new MdsArray(type, shape, field)
            : throw new FormatException(
                $"the array has {field.Length} bytes of elements, but its type and shape need {bytes}");
    }

    internal static byte[] Encode(MdsArray array, string? type, long[]? shape)
    {
        if (!IsType(array.Type) || (type ?? array.Type) != array.Type)
        {
            throw new FormatException(
                $"the array's type is {array.Type}; it must be {type ?? "a type that can be stored"}");
        }

        if (shape is not null && !array.Shape.SequenceEqual(shape))
        {
            throw new FormatException("the array's shape differs from its column's");
        }

        if (array.Shape.Length > DimensionsMax || DataBytes(array.Type, array.Shape) != array.Data.Length)
        {
            throw new FormatException("the array's shape does not match its bytes");
        }

        byte[] head = type is null ? [Types[array.Type].Code] : [];
        return [.. head, .. shape is null ? EncodeShape(array.Shape) : [], .. array.Data.Span];
    }

    private static string TypeOf(byte code)
    {
        foreach (var (name, (known, _)) in Types)
        {
            if (known == code)
            {
                return name;
            }
        }

        throw new FormatException($"{code} is not the code of an element type");
    }

    private static long[] DecodeShape(ref ReadOnlyMemory<byte> field)
    {
        byte head = Cut(ref field, 1)[0];
        int extentBytes = 1 << (head & 3);
        var shape = new long[head >> 2];
        foreach (ref long extent in shape.AsSpan())
        {
            var bytes = Cut(ref field, extentBytes);
            ulong value = extentBytes switch
            {
                1 => bytes[0],
                2 => BinaryPrimitives.ReadUInt16LittleEndian(bytes),
                4 => BinaryPrimitives.ReadUInt32LittleEndian(bytes),
                _ => BinaryPrimitives.ReadUInt64LittleEndian(bytes),
            };
            extent = value <= long.MaxValue
                ? (long)value : throw new FormatException($"{value} is not a valid array extent");
        }

        return shape;
    }

    // Extents are stored in the smallest unsigned type that holds the largest of them.
    private static byte[] EncodeShape(long[] shape)
    {
        long largest = shape.Length == 0 ? 0 : shape.Max();
        int width = largest <= byte.MaxValue ? 0 : largest <= ushort.MaxValue ? 1 : largest <= uint.MaxValue ? 2 : 3;
        var result = new byte[1 + (shape.Length << width)];
        result[0] = (byte)((shape.Length << 2) | width);
        Span<byte> extent = stackalloc byte[8];
        for (int i = 0; i < shape.Length; i++)
        {
            BinaryPrimitives.WriteInt64LittleEndian(extent, shape[i]);
            extent[..(1 << width)].CopyTo(result.AsSpan(1 + (i << width)));
        }

        return result;
    }

    private static ReadOnlySpan<byte> Cut(ref ReadOnlyMemory<byte> field, int bytes)
    {
        if (field.Length < bytes)
        {
            throw new FormatException("the array's field ends inside its header");
        }

        var head = field.Span[..bytes];
        field = field[bytes..];
        return head;
    }
}
