// Reads frames from a connection. A frame's header is checked before anything is allocated for the rest.
using System.Buffers.Binary;

namespace Atelier.Training.Worlds;

/// <summary>Decodes the frames of one connection, one after the other.</summary>
/// <param name="codec">The codec.</param>
public sealed class FrameDecoder(FrameCodec codec)
{
    private byte[] _chunk = [];

    internal FrameLimits Limits => codec.Limits;

    /// <summary>Begins to decode a frame.</summary>
    /// <param name="header">The first <see cref="FrameCodec.HeaderBytes"/> bytes of the frame.</param>
    /// <returns>The rest of the frame, which the caller fills with the bytes that follow.</returns>
    /// <exception cref="InvalidFrameException">The header is not that of a valid frame of this run.</exception>
    public FrameBody Begin(ReadOnlySpan<byte> header)
    {
        FrameHeader read = FrameHeader.Read(header, codec.Limits, out uint checksum);
        return new FrameBody(this, read, checksum);
    }

    // All chunks use one buffer, because each chunk is copied into its state as soon as it has arrived.
    internal byte[] ChunkBuffer()
    {
        if (_chunk.Length == 0)
        {
            _chunk = GC.AllocateUninitializedArray<byte>(StateChunkFrame.PayloadBytesMax);
        }

        return _chunk;
    }
}

/// <summary>The rest of a frame after its header. Its memory is allocated when the first window is requested.</summary>
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

    /// <summary>Number of bytes that follow the header.</summary>
    public long Bytes { get; }

    /// <summary>Whether the frame is a chunk of a state, which needs no memory of its own.</summary>
    public bool IsChunk => _header.Kind == FrameKind.StateChunk;

    /// <summary>Whether all bytes of the frame have arrived.</summary>
    public bool IsWhole => _filled == Bytes;

    /// <summary>The memory for the connection's next bytes; empty once all bytes of the frame have arrived.</summary>
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

    /// <summary>Records that bytes were read into the beginning of the window.</summary>
    /// <param name="bytes">Number of bytes read.</param>
    public void Advance(int bytes)
    {
        if (_filled < _header.PayloadBytes)
        {
            _actual = Crc32C.Append(_actual, _window.Span[..bytes]);
        }

        _filled += bytes;
        _window = default;
    }

    /// <summary>
    /// Returns the decoded frame; all of its bytes must have arrived. A chunk of a state is valid until the next frame
    /// begins.
    /// </summary>
    /// <exception cref="InvalidFrameException">
    /// The frame was damaged in transit, or is not valid in this run.
    /// </exception>
    public Frame ToFrame()
    {
        if (!IsWhole)
        {
            throw new InvalidOperationException($"Only {_filled} of the frame's {Bytes} bytes have arrived.");
        }

        uint claimed = BinaryPrimitives.ReadUInt32LittleEndian(_checksum);
        if (Bytes > 0 && claimed != _actual)
        {
            throw new InvalidFrameException(
                $"The payload's checksum is {claimed:x8}, but its bytes give {_actual:x8}: it was damaged in transit.");
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
            FrameKind.Verify => new VerifyFrame(
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
