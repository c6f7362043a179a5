// The byte format of caption features, which the encoding node writes and the denoising node reads: a magic number,
// rows, length and width, then float32 numbers, all little-endian. The first row is the prompt's. A second row, if
// there is one, is the negative prompt's; without it, guidance steers away from the empty caption, which is all zeros.
using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Atelier.Silo.Devices;

/// <summary>Writes and reads caption features.</summary>
internal static class CaptionBytes
{
    private const uint Magic = 0x31435441; // "ATC1", little-endian
    private const int Header = 16;

    /// <summary>Writes the features of a prompt, and of a negative prompt if there is one.</summary>
    public static byte[] Write(int length, int width, float[] prompt, float[]? negative)
    {
        float[][] rows = negative is null ? [prompt] : [prompt, negative];
        int rowBytes = checked(sizeof(float) * length * width);
        var bytes = new byte[Header + (rows.Length * rowBytes)];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, Magic);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(4), rows.Length);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(8), length);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(12), width);
        for (int row = 0; row < rows.Length; row++)
        {
            MemoryMarshal.AsBytes(rows[row].AsSpan(0, length * width)).CopyTo(bytes.AsSpan(Header + (row * rowBytes)));
        }

        return bytes;
    }

    /// <summary>Reads what <see cref="Write"/> wrote for a model whose captions have this length and width.</summary>
    /// <exception cref="FormatException">The bytes are not caption features of this shape.</exception>
    /// <exception cref="Model.NonFiniteException">A feature is NaN or infinite.</exception>
    public static (float[] Prompt, float[]? Negative) Read(ReadOnlySpan<byte> bytes, int length, int width)
    {
        if (bytes.Length < Header || BinaryPrimitives.ReadUInt32LittleEndian(bytes) != Magic)
        {
            throw new FormatException("These bytes are not caption features.");
        }

        int rows = BinaryPrimitives.ReadInt32LittleEndian(bytes[4..]);
        if (rows is not (1 or 2) || BinaryPrimitives.ReadInt32LittleEndian(bytes[8..]) != length
            || BinaryPrimitives.ReadInt32LittleEndian(bytes[12..]) != width
            || bytes.Length - Header != (long)rows * length * width * sizeof(float))
        {
            throw new FormatException(
                $"The caption features do not have the shape that this model needs, {length} x {width}.");
        }

        ReadOnlySpan<float> numbers = MemoryMarshal.Cast<byte, float>(bytes[Header..]);
        Model.Finite.Check("stored caption", numbers);
        int row = length * width;
        return (numbers[..row].ToArray(), rows == 2 ? numbers[row..].ToArray() : null);
    }
}
