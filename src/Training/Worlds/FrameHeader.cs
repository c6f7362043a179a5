// The first bytes of a frame. They say how much follows, and are checked by themselves before anything is allocated for
// it. All numbers are little-endian:
//
//    0  "ATLF"          16  slices, int32          40  bytes of the payload, int64
//    4  version, byte   20  level of the node,     48  CRC-32C of bytes 0..47
//    5  kind, byte          int32
//    6  zero, 2 bytes   24  index of the node,
//    8  world, int32        int32
//   12  slice, int32    28  numbers, int32
//                       32  step, int64
//
// A payload, if there is one, is followed by its CRC-32C, which continues the header's: the payload of another header
// is refused.
using System.Buffers.Binary;

namespace Atelier.Training.Worlds;

/// <summary>What a frame is on the wire. The numbers are part of the format.</summary>
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
}

/// <summary>A header. Fields that a kind has no use for are 0.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="World">The world; 0 for heartbeats.</param>
/// <param name="Step">The step.</param>
/// <param name="Slice">The slice, or the part of a state.</param>
/// <param name="Slices">Slices of the step, or parts of the state.</param>
/// <param name="Node">The node.</param>
/// <param name="Values">Float32 numbers at the end of the payload.</param>
/// <param name="PayloadBytes">Bytes of the payload, without its checksum.</param>
internal readonly record struct FrameHeader(
    FrameKind Kind, int World, long Step, int Slice, int Slices, TreeNode Node, int Values, long PayloadBytes)
{
    public const int Bytes = 52;
    public const int ChecksumBytes = 4;

    private const byte Version = 2;
    private const int ChecksumAt = Bytes - ChecksumBytes;

    private static ReadOnlySpan<byte> Magic => "ATLF"u8;

    /// <summary>Writes it to the first <see cref="Bytes"/> bytes.</summary>
    /// <returns>Its checksum, with which the payload's begins.</returns>
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

    /// <summary>Reads a header, and checks it against the limits of the run.</summary>
    /// <exception cref="InvalidFrameException">It is not a header, or not one that this run can have.</exception>
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
                $"The frame is of version {from[4]}; this trainer speaks version {Version}. All trainers of a stage "
                + "must be of one release.");
        }

        if (Crc32C.Append(0, from[..ChecksumAt]) is var actual && actual != checksum)
        {
            throw new InvalidFrameException(
                $"The header's checksum is {checksum:x8}, but its bytes give {actual:x8}: it was damaged on its way.");
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

    /// <summary>What is wrong with it in a run with these limits; null if nothing is.</summary>
    public string? Fault(FrameLimits limits)
    {
        bool isPart = Kind is FrameKind.Copy or FrameKind.NoState or FrameKind.StateChunk;
        bool hasNode = Kind == FrameKind.Partial, hasSlices = Kind == FrameKind.Total || isPart;
        bool hasSlice = hasSlices || Kind is FrameKind.Partial or FrameKind.Followed;
        bool hasValues = Kind is FrameKind.Partial or FrameKind.Total, isHeartbeat = Kind == FrameKind.Heartbeat;
        int slicesMax = isPart ? StateParts.Max : limits.Shards, slices = hasSlices ? Slices : limits.Shards;
        (long least, long most) = PayloadRange(limits);
        return Kind is < FrameKind.Heartbeat or > FrameKind.Verified
            ? $"The frame is of kind {(byte)Kind}; kinds are {(byte)FrameKind.Heartbeat}..{(byte)FrameKind.Verified}."
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
            FrameKind.Verified => (BatchSumsCodec.ClaimBytes, BatchSumsCodec.ClaimBytes),
            _ => (0, 0),
        };
    }

    private static string? Outside(string what, long value, long least, long most) =>
        value >= least && value <= most ? null
        : least == most ? $"The frame's {what} is {value}; it must be {least}."
        : $"The frame's {what} is {value}; it must be in {least}..{most}.";
}
