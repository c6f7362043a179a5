// The header of a frame. It says how many bytes follow, and it has a checksum of its own, so that it is checked before
// anything is allocated for the payload. All numbers are little-endian:
//
//    0  "ATLF"          16  slices, int32          40  bytes of the payload, int64
//    4  version, byte   20  level of the node,     48  CRC-32C of bytes 0..47
//    5  kind, byte          int32
//    6  zero, 2 bytes   24  index of the node,
//    8  world, int32        int32
//   12  slice, int32    28  numbers, int32
//                       32  step, int64
//
// A payload, if there is one, is followed by its CRC-32C, which continues the header's checksum. A payload that belongs
// to another header is therefore refused.
using System.Buffers.Binary;

namespace Atelier.Training.Worlds;

/// <summary>The kind of a frame on the wire. The numbers are part of the format.</summary>
internal enum FrameKind : byte
{
    None = 0,
    Heartbeat = 1,
    Partial = 2,
    Total = 3,
    CatchUp = 4,
    Follow = 5,
    Followed = 6,
    Copy = 7,
    NoState = 8,
    StateChunk = 9,
    Verified = 10,
    Verify = 11,
}

/// <summary>The header of a frame. Fields that a kind does not use are 0.</summary>
/// <param name="Kind">The kind of the frame.</param>
/// <param name="World">Number of the world; 0 for heartbeats.</param>
/// <param name="Step">The step.</param>
/// <param name="Slice">Index of the slice, or of the part of a state.</param>
/// <param name="Slices">Number of slices of the step, or of parts of the state.</param>
/// <param name="Node">The node of the reduction tree.</param>
/// <param name="Values">Number of float32 values at the end of the payload.</param>
/// <param name="PayloadBytes">Length of the payload in bytes, without its checksum.</param>
internal readonly record struct FrameHeader(
    FrameKind Kind, int World, long Step, int Slice, int Slices, TreeNode Node, int Values, long PayloadBytes)
{
    public const int Bytes = 52;
    public const int ChecksumBytes = 4;

    private const byte Version = 3;
    private const int ChecksumAt = Bytes - ChecksumBytes;

    private static ReadOnlySpan<byte> Magic => "ATLF"u8;

    /// <summary>Writes the header to the first <see cref="Bytes"/> bytes.</summary>
    /// <returns>The header's checksum, which the payload's checksum continues.</returns>
    public uint Write(Span<byte> to)
    {
        Magic.CopyTo(to);
        (to[4], to[5], to[6], to[7]) = (Version, (byte)Kind, 0, 0);
        BinaryPrimitives.WriteInt32LittleEndian(to[8..], World);
        BinaryPrimitives.WriteInt32LittleEndian(to[12..], Slice);
        BinaryPrimitives.WriteInt32LittleEndian(to[16..], Slices);
        BinaryPrimitives.WriteInt32LittleEndian(to[20..], Node.Level);
        BinaryPrimitives.WriteInt32LittleEndian(to[24..], Node.Index);
        BinaryPrimitives.WriteInt32LittleEndian(to[28..], Values);
        BinaryPrimitives.WriteInt64LittleEndian(to[32..], Step);
        BinaryPrimitives.WriteInt64LittleEndian(to[40..], PayloadBytes);
        uint checksum = Crc32C.Append(0, to[..ChecksumAt]);
        BinaryPrimitives.WriteUInt32LittleEndian(to[ChecksumAt..], checksum);
        return checksum;
    }

    /// <summary>Reads a header and checks it against the run's limits.</summary>
    /// <exception cref="InvalidFrameException">The bytes are not a header that is valid in this run.</exception>
    public static FrameHeader Read(ReadOnlySpan<byte> from, FrameLimits limits, out uint checksum)
    {
        checksum = BinaryPrimitives.ReadUInt32LittleEndian(from[ChecksumAt..]);
        if (!from.StartsWith(Magic))
        {
            throw new InvalidFrameException(
                $"A frame begins with {Convert.ToHexString(Magic)}, not with {Convert.ToHexString(from[..4])}.");
        }

        if (from[4] != Version)
        {
            throw new InvalidFrameException(
                $"The frame has version {from[4]}; this trainer uses version {Version}. All trainers of a stage must "
                + "run the same release.");
        }

        if (Crc32C.Append(0, from[..ChecksumAt]) is var actual && actual != checksum)
        {
            throw new InvalidFrameException(
                $"The header's checksum is {checksum:x8}, but its bytes give {actual:x8}: it was damaged in transit.");
        }

        var header = new FrameHeader(
            (FrameKind)from[5], BinaryPrimitives.ReadInt32LittleEndian(from[8..]),
            BinaryPrimitives.ReadInt64LittleEndian(from[32..]), BinaryPrimitives.ReadInt32LittleEndian(from[12..]),
            BinaryPrimitives.ReadInt32LittleEndian(from[16..]),
            new TreeNode(
                BinaryPrimitives.ReadInt32LittleEndian(from[20..]), BinaryPrimitives.ReadInt32LittleEndian(from[24..])),
            BinaryPrimitives.ReadInt32LittleEndian(from[28..]), BinaryPrimitives.ReadInt64LittleEndian(from[40..]));
        return header.Fault(limits) is { } fault ? throw new InvalidFrameException(fault) : header;
    }

    /// <summary>Returns what is wrong with the header, given the run's limits; null if it is valid.</summary>
    public string? Fault(FrameLimits limits)
    {
        bool isPart = Kind is FrameKind.Copy or FrameKind.NoState or FrameKind.StateChunk;
        bool hasNode = Kind == FrameKind.Partial, hasSlices = Kind == FrameKind.Total || isPart;
        bool hasSlice = hasSlices || Kind is FrameKind.Partial or FrameKind.Followed;
        bool hasValues = Kind is FrameKind.Partial or FrameKind.Total, isHeartbeat = Kind == FrameKind.Heartbeat;
        int slicesMax = isPart ? StateParts.Max : limits.Shards, slices = hasSlices ? Slices : limits.Shards;
        (long least, long most) = PayloadRange(limits);
        return Kind is < FrameKind.Heartbeat or > FrameKind.Verify
            ? $"The frame has kind {(byte)Kind}; it must be in {(byte)FrameKind.Heartbeat}..{(byte)FrameKind.Verify}."
            : Outside("world", World, isHeartbeat ? 0 : 1, isHeartbeat ? 0 : int.MaxValue)
            ?? Outside("step", Step, 0, isHeartbeat || Kind == FrameKind.Follow ? 0 : long.MaxValue)
            ?? Outside("number of slices", Slices, hasSlices ? 1 : 0, hasSlices ? slicesMax : 0)
            ?? Outside("slice", Slice, 0, hasSlice ? slices - 1 : 0)
            ?? Outside("node's level", Node.Level, 0, hasNode ? int.Log2(limits.Shards) : 0)
            ?? Outside("node's index", Node.Index, 0, hasNode ? (limits.Shards >> Node.Level) - 1 : 0)
            ?? Outside("number of values", Values, 0, hasValues ? limits.Parameters : 0)
            ?? Outside("payload's length in bytes", PayloadBytes, least, most);
    }

    private (long Least, long Most) PayloadRange(FrameLimits limits)
    {
        long values = (long)Values * sizeof(float);
        return Kind switch
        {
            FrameKind.Partial or FrameKind.Total when Slice == 0 =>
                (values + BatchSumsCodec.BytesMin, values + BatchSumsCodec.BytesMax(limits)),
            FrameKind.Partial or FrameKind.Total => (values, values),
            FrameKind.StateChunk => (StateChunkFrame.PayloadBytesMin, StateChunkFrame.PayloadBytesMax),
            FrameKind.Verified or FrameKind.Verify => (BatchSumsCodec.ClaimBytes, BatchSumsCodec.ClaimBytes),
            _ => (0, 0),
        };
    }

    private static string? Outside(string what, long value, long least, long most) =>
        value >= least && value <= most ? null
        : least == most ? $"The frame's {what} is {value}; it must be {least}."
        : $"The frame's {what} is {value}; it must be in {least}..{most}.";
}
