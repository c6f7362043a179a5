// CRC-32C, the checksum of frames. It detects every flip of a single bit, but it does not prevent forgery.
using System.Buffers.Binary;
using System.Numerics;

namespace Atelier.Training.Worlds;

/// <summary>CRC-32C (Castagnoli), computed with the processor's own instruction.</summary>
internal static class Crc32C
{
    /// <summary>Extends a checksum by further bytes.</summary>
    /// <param name="crc">Checksum of the bytes so far; 0 if there are none.</param>
    /// <param name="bytes">The further bytes.</param>
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
