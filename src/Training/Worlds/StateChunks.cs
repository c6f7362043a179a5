// A state on its way to a newcomer: cut into chunks, so that other frames can go between them, and put together again.
using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Atelier.Training.Worlds;

/// <summary>A part of a <see cref="StateFrame"/>. Chunks follow each other without gaps.</summary>
/// <param name="World">The world.</param>
/// <param name="Step">Steps that are in the state.</param>
/// <param name="Length">Bytes of the whole state.</param>
/// <param name="Offset">Offset of the chunk's first byte.</param>
/// <param name="Bytes">The bytes, 1 to <see cref="BytesMax"/>.</param>
/// <param name="Digest">SHA-256 of the whole state with the last chunk; empty with the others.</param>
public sealed record StateChunkFrame(
    int World, long Step, long Length, long Offset, ReadOnlyMemory<byte> Bytes, ReadOnlyMemory<byte> Digest)
    : Frame(World)
{
    /// <summary>The most bytes in a chunk.</summary>
    public const int BytesMax = 1 << 20;

    internal const int PrefixBytes = 16;
    internal const int PayloadBytesMin = PrefixBytes + 1;
    internal const int PayloadBytesMax = PrefixBytes + BytesMax + SHA256.HashSizeInBytes;

    internal static StateChunkFrame Read(FrameHeader header, ReadOnlyMemory<byte> payload, FrameLimits limits)
    {
        long length = BinaryPrimitives.ReadInt64LittleEndian(payload.Span);
        long offset = BinaryPrimitives.ReadInt64LittleEndian(payload.Span[8..]);
        if (length < 1 || length > limits.StateBytes)
        {
            throw new InvalidFrameException(
                $"The state has {length} bytes; it must have 1 to {limits.StateBytes} in this run.");
        }

        if (offset < 0 || offset >= length)
        {
            throw new InvalidFrameException($"A chunk begins at byte {offset} of a state of {length} bytes.");
        }

        payload = payload[PrefixBytes..];
        int bytes = (int)Math.Min(payload.Length, length - offset);
        int digest = offset + bytes == length ? SHA256.HashSizeInBytes : 0;
        if (bytes > BytesMax || payload.Length != bytes + digest)
        {
            throw new InvalidFrameException(
                $"A chunk at byte {offset} of a state of {length} bytes has {payload.Length} bytes; it may have 1 to "
                + $"{BytesMax}, and the last one has the digest's {SHA256.HashSizeInBytes} beside.");
        }

        return new StateChunkFrame(header.World, header.Step, length, offset, payload[..bytes], payload[bytes..]);
    }
}

/// <summary>Encodes a state chunk by chunk. It owns the copy.</summary>
public sealed class StateSender : IDisposable
{
    private readonly FrameCodec _codec;
    private readonly int _world;
    private readonly long _step;
    private readonly IStateCopy _copy;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private byte[] _buffer = [];
    private long _sent;

    /// <summary>Begins to send a state.</summary>
    /// <param name="codec">The codec.</param>
    /// <param name="frame">The state: an <see cref="IStateCopy"/>.</param>
    /// <exception cref="ArgumentException">It is not a copy of a state, or is longer than the run allows.</exception>
    public StateSender(FrameCodec codec, StateFrame frame)
    {
        _copy = frame.State as IStateCopy
            ?? throw new ArgumentException($"A state is sent from an {nameof(IStateCopy)}.", nameof(frame));
        if (_copy.Length < 1 || _copy.Length > codec.Limits.StateBytes)
        {
            throw new ArgumentException(
                $"The state has {_copy.Length} bytes; the run allows 1 to {codec.Limits.StateBytes}.", nameof(frame));
        }

        (_codec, _world, _step) = (codec, frame.World, frame.Step);
        codec.Checked(HeaderOf(StateChunkFrame.PayloadBytesMin));
    }

    /// <summary>The next chunk, a whole frame; it is valid until the next call. False after the last one.</summary>
    public bool TryNext(out ReadOnlyMemory<byte> encoded)
    {
        if (_sent == _copy.Length)
        {
            encoded = default;
            return false;
        }

        if (_buffer.Length == 0)
        {
            _buffer = GC.AllocateUninitializedArray<byte>(
                FrameHeader.Bytes + StateChunkFrame.PayloadBytesMax + FrameHeader.ChecksumBytes);
        }

        int bytes = (int)Math.Min(StateChunkFrame.BytesMax, _copy.Length - _sent);
        Span<byte> payload = _buffer.AsSpan(FrameHeader.Bytes);
        BinaryPrimitives.WriteInt64LittleEndian(payload, _copy.Length);
        BinaryPrimitives.WriteInt64LittleEndian(payload[8..], _sent);
        Span<byte> part = payload.Slice(StateChunkFrame.PrefixBytes, bytes);
        _copy.Read(_sent, part);
        _hash.AppendData(part);
        _sent += bytes;
        int end = StateChunkFrame.PrefixBytes + bytes;
        if (_sent == _copy.Length)
        {
            end += _hash.GetHashAndReset(payload[end..]);
        }

        uint checksum = Crc32C.Append(_codec.Checked(HeaderOf(end)).Write(_buffer), payload[..end]);
        BinaryPrimitives.WriteUInt32LittleEndian(payload[end..], checksum);
        encoded = _buffer.AsMemory(0, FrameHeader.Bytes + end + FrameHeader.ChecksumBytes);
        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _hash.Dispose();
        _copy.Dispose();
    }

    private FrameHeader HeaderOf(int payload) =>
        new(FrameKind.StateChunk, _world, _step, 0, 0, default, 0, payload);
}

/// <summary>
/// Puts the chunks of a peer's states together, one state at a time. A chunk at offset 0 begins a state; the peer has
/// given up the one before.
/// </summary>
public sealed class StateAssembly : IDisposable
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private StateBytes? _state;
    private (int World, long Step) _of;

    /// <summary>Adds a chunk.</summary>
    /// <returns>The state if it is whole, else null.</returns>
    /// <exception cref="InvalidFrameException">
    /// It does not follow the chunk before, or the state was damaged.
    /// </exception>
    public StateFrame? Add(StateChunkFrame chunk)
    {
        if (chunk.Offset == 0)
        {
            Drop();
            (_state, _of) = (new StateBytes(chunk.Length), (chunk.World, chunk.Step));
        }

        if (_state is null || _of != (chunk.World, chunk.Step) || _state.Length != chunk.Length
            || _state.Received != chunk.Offset)
        {
            throw new InvalidFrameException(
                $"A chunk at byte {chunk.Offset} of {chunk.Length} of the state of step {chunk.Step}, world "
                + $"{chunk.World}, does not follow "
                + (_state is null
                    ? "any; a state begins at byte 0."
                    : $"the one that ended at byte {_state.Received} of {_state.Length} of step {_of.Step}, world "
                        + $"{_of.World}."));
        }

        _state.Append(chunk.Bytes.Span);
        _hash.AppendData(chunk.Bytes.Span);
        if (_state.Received < _state.Length)
        {
            return null;
        }

        if (!_hash.GetHashAndReset().AsSpan().SequenceEqual(chunk.Digest.Span))
        {
            Drop();
            throw new InvalidFrameException(
                $"The state of step {chunk.Step}, world {chunk.World}, has another SHA-256 than its sender computed.");
        }

        var whole = new StateFrame(chunk.World, chunk.Step, _state);
        _state = null;
        return whole;
    }

    /// <summary>Drops what is there of a state.</summary>
    public void Drop()
    {
        _state?.Dispose();
        _state = null;
        _hash.GetHashAndReset();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _state?.Dispose();
        _hash.Dispose();
    }
}
