// Reads frames from a connection. A frame's header is checked before anything is allocated for the rest.
using System.Buffers.Binary;

namespace Atelier.Training.Worlds;

/// <summary>Decodes the frames of one connection, one after the other.</summary>
/// <param name="codec">The codec.</param>
public sealed class FrameDecoder(FrameCodec codec)
{
    private byte[] _chunk = [];

    internal FrameLimits Limits => codec.Limits;

    /// <summary>Begins a frame.</summary>
    /// <param name="header">Its first <see cref="FrameCodec.HeaderBytes"/> bytes.</param>
    /// <returns>What follows of it, to be filled.</returns>
    /// <exception cref="InvalidFrameException">It is not a frame that this run can have.</exception>
    public FrameBody Begin(ReadOnlySpan<byte> header)
    {
        FrameHeader read = FrameHeader.Read(header, codec.Limits, out uint checksum);
        return new FrameBody(this, read, checksum);
    }

    // Chunks share one buffer: they are copied into their state at once.
    internal byte[] ChunkBuffer()
    {
        if (_chunk.Length == 0)
        {
            _chunk = GC.AllocateUninitializedArray<byte>(StateChunkFrame.PayloadBytesMax);
        }

        return _chunk;
    }
}

/// <summary>The rest of a frame after its header. Memory for it is allocated with the first window.</summary>
public sealed class FrameBody
{
    private const int WindowNumbers = 1 << 18;

    private readonly FrameDecoder _decoder;
    private readonly FrameHeader _header;
    private readonly byte[] _checksum = new byte[FrameHeader.ChecksumBytes];
    private readonly int _headBytes;
    private Memory<byte> _head;
    private Memory<float> _values;
    private Memory<byte> _window;
    private long _filled;
    private uint _actual;

    internal FrameBody(FrameDecoder decoder, FrameHeader header, uint checksum)
    {
        (_decoder, _header, _actual) = (decoder, header, checksum);
        _headBytes = (int)(header.PayloadBytes - ((long)header.Values * sizeof(float)));
        Bytes = header.PayloadBytes == 0 ? 0 : header.PayloadBytes + FrameHeader.ChecksumBytes;
    }

    /// <summary>Bytes that follow the header.</summary>
    public long Bytes { get; }

    /// <summary>Whether it is a chunk of a state, which needs no memory of its own.</summary>
    public bool IsChunk => _header.Kind == FrameKind.StateChunk;

    /// <summary>Whether all of it is there.</summary>
    public bool IsWhole => _filled == Bytes;

    /// <summary>Where the next bytes of the connection go; empty once it is whole.</summary>
    public Memory<byte> Window()
    {
        if (_filled == 0 && Bytes > 0)
        {
            _head = _header.Kind == FrameKind.StateChunk
                ? _decoder.ChunkBuffer().AsMemory(0, _headBytes) : new byte[_headBytes];
            _values = GC.AllocateUninitializedArray<float>(_header.Values);
        }

        long inValues = _filled - _headBytes, inChecksum = _filled - _header.PayloadBytes;
        return _window = IsWhole ? default
            : inValues < 0 ? _head[(int)_filled..]
            : inChecksum < 0 ? ValuesFrom(inValues)
            : _checksum.AsMemory((int)inChecksum);
    }

    /// <summary>The first bytes of the window are there.</summary>
    /// <param name="bytes">How many.</param>
    public void Advance(int bytes)
    {
        if (_filled < _header.PayloadBytes)
        {
            _actual = Crc32C.Append(_actual, _window.Span[..bytes]);
        }

        _filled += bytes;
        _window = default;
    }

    /// <summary>The frame, once it is whole. A chunk of a state is valid until the next frame begins.</summary>
    /// <exception cref="InvalidFrameException">It was damaged, or is not one that this run can have.</exception>
    public Frame ToFrame()
    {
        if (!IsWhole)
        {
            throw new InvalidOperationException($"{_filled} bytes of {Bytes} are there.");
        }

        uint claimed = BinaryPrimitives.ReadUInt32LittleEndian(_checksum);
        if (Bytes > 0 && claimed != _actual)
        {
            throw new InvalidFrameException(
                $"The payload's checksum is {claimed:x8}, but its bytes give {_actual:x8}: it was damaged on its way.");
        }

        FrameHeader header = _header;
        return header.Kind switch
        {
            FrameKind.Heartbeat => new HeartbeatFrame(),
            FrameKind.CatchUp => new CatchUpFrame(header.World, header.Step),
            FrameKind.Follow => new FollowFrame(header.World),
            FrameKind.Followed => new FollowedFrame(header.World, header.Slice, header.Step),
            FrameKind.Copy => new CopyFrame(header.World, header.Step, header.Slice, header.Slices),
            FrameKind.NoState => new StateFrame(header.World, header.Step, header.Slice, header.Slices, null),
            FrameKind.Verified => new VerifiedFrame(
                header.World, header.Step, BatchSumsCodec.ReadClaim(_head.Span, _decoder.Limits)),
            FrameKind.StateChunk => StateChunkFrame.Read(header, _head, _decoder.Limits),
            FrameKind.Partial =>
                new PartialFrame<GradientSlice>(header.World, header.Step, header.Slice, header.Node, Slice()),
            _ => new TotalFrame<GradientSlice>(header.World, header.Step, header.Slice, header.Slices, Slice()),
        };
    }

    private GradientSlice Slice() => new(
        _values, _header.Slice == 0 ? BatchSumsCodec.Read(_head.Span, _decoder.Limits) : null);

    private Memory<byte> ValuesFrom(long offset)
    {
        int first = (int)(offset / sizeof(float));
        Memory<float> values = _values.Slice(first, Math.Min(WindowNumbers, _values.Length - first));
        return new FloatBytes(values).Memory[(int)(offset % sizeof(float))..];
    }
}
