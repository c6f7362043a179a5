// CRC-32C, the checksum of frames: it notices every single flipped bit. It does not prevent forgery.
using System.Buffers.Binary;
using System.Numerics;

namespace Atelier.Training.Worlds;

/// <summary>CRC-32C (Castagnoli), by the processor's instruction.</summary>
internal static class Crc32C
{
    /// <summary>The checksum of bytes that follow others.</summary>
    /// <param name="crc">Checksum of the bytes before; 0 if there are none.</param>
    /// <param name="bytes">The bytes.</param>
    public static uint Append(uint crc, ReadOnlySpan<byte> bytes)
    {
        crc = ~crc;
        for (; bytes.Length >= sizeof(ulong); bytes = bytes[sizeof(ulong)..])
        {
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
        }

        foreach (byte one in bytes)
        {
            crc = BitOperations.Crc32C(crc, one);
        }

        return ~crc;
    }
}
