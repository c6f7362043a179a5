// The transfer of one part of a state to a newcomer. The part is cut into chunks, so that other frames can be sent
// between them, and is reassembled by the receiver.
using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Atelier.Training.Worlds;

/// <summary>A chunk of the part in a <see cref="StateFrame"/>. Chunks are sent in order and without gaps.</summary>
/// <param name="World">Number of the world.</param>
/// <param name="Step">Number of steps that the state includes.</param>
/// <param name="Part">Index of the part of the state.</param>
/// <param name="Parts">Number of parts.</param>
/// <param name="Length">Length of the whole part in bytes.</param>
/// <param name="Offset">Offset of the chunk's first byte in the part.</param>
/// <param name="Bytes">The chunk's bytes, 1 to <see cref="BytesMax"/>.</param>
/// <param name="Digest">
/// In the last chunk of a part: SHA-256 of the whole part. In the first part, the manifest follows, that is, the
/// digests of all parts. Empty in all other chunks.
/// </param>
public sealed record StateChunkFrame(
    int World, long Step, int Part, int Parts, long Length, long Offset, ReadOnlyMemory<byte> Bytes,
    ReadOnlyMemory<byte> Digest)
    : Frame(World)
{
    /// <summary>Maximum number of bytes in a chunk.</summary>
    public const int BytesMax = 1 << 20;

    internal const int PrefixBytes = 16;
    internal const int PayloadBytesMin = PrefixBytes + 1;
    internal const int PayloadBytesMax = PrefixBytes + BytesMax + ((1 + StateParts.Max) * SHA256.HashSizeInBytes);

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
        int digest = offset + bytes < length ? 0 : DigestBytes(header.Slice, header.Slices);
        if (bytes > BytesMax || payload.Length != bytes + digest)
        {
            throw new InvalidFrameException(
                $"A chunk at byte {offset} of a state of {length} bytes has {payload.Length} bytes; it may have 1 to "
                + $"{BytesMax}, and the last chunk {DigestBytes(header.Slice, header.Slices)} more for the digests.");
        }

        return new StateChunkFrame(
            header.World, header.Step, header.Slice, header.Slices, length, offset, payload[..bytes],
            payload[bytes..]);
    }

    private static int DigestBytes(int part, int parts) => (part == 0 ? 1 + parts : 1) * SHA256.HashSizeInBytes;
}

/// <summary>Encodes a part of a state chunk by chunk. Disposing the sender disposes the copy.</summary>
public sealed class StateSender : IDisposable
{
    private readonly FrameCodec _codec;
    private readonly StateFrame _frame;
    private readonly StatePart _copy;
    private readonly StateManifest? _manifest;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private byte[] _buffer = [];
    private long _sent;

    /// <summary>Prepares to send a part.</summary>
    /// <param name="codec">The codec.</param>
    /// <param name="frame">The part; its state is a <see cref="StatePart"/>.</param>
    /// <exception cref="ArgumentException">
    /// The frame has no <see cref="StatePart"/>, or one that exceeds the run's limits.
    /// </exception>
    public StateSender(FrameCodec codec, StateFrame frame)
    {
        _copy = frame.State as StatePart
            ?? throw new ArgumentException($"The frame's state must be a {nameof(StatePart)}.", nameof(frame));
        if (_copy.Length < 1 || _copy.Length > codec.Limits.StateBytes)
        {
            throw new ArgumentException(
                $"The state has {_copy.Length} bytes; the run allows 1 to {codec.Limits.StateBytes}.", nameof(frame));
        }

        (_codec, _frame) = (codec, frame);
        codec.Checked(HeaderOf(StateChunkFrame.PayloadBytesMin));
        _manifest = frame.Part == 0 ? _copy.BeginManifest() : null;
    }

    /// <summary>
    /// Returns the next chunk as an encoded frame, which is valid until the next call; false after the last chunk.
    /// </summary>
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
        _manifest?.Advance(bytes);
        int end = StateChunkFrame.PrefixBytes + bytes;
        if (_sent == _copy.Length)
        {
            Span<byte> own = payload.Slice(end, SHA256.HashSizeInBytes);
            end += _hash.GetHashAndReset(own);
            end += _manifest?.Finish(own, payload[end..]) ?? 0;
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
        _manifest?.Dispose();
        _copy.Dispose();
    }

    private FrameHeader HeaderOf(int payload) =>
        new(FrameKind.StateChunk, _frame.World, _frame.Step, _frame.Part, _frame.Parts, default, 0, payload);
}

/// <summary>
/// Reassembles the parts of a state from a peer's chunks, one part at a time. A chunk at offset 0 begins a new part; if
/// the part before it is incomplete, the peer has given it up.
/// </summary>
public sealed class StateAssembly : IDisposable
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private StateBytes? _state;
    private (int World, long Step, int Part, int Parts) _of;

    /// <summary>Adds a chunk.</summary>
    /// <returns>The part, as a <see cref="ReceivedPart"/>, if this chunk completes it; otherwise null.</returns>
    /// <exception cref="InvalidFrameException">
    /// The chunk does not follow the previous one, or the part was damaged.
    /// </exception>
    public StateFrame? Add(StateChunkFrame chunk)
    {
        if (chunk.Offset == 0)
        {
            Drop();
            (_state, _of) = (new StateBytes(chunk.Length), Of(chunk));
        }

        if (_state is null || _of != Of(chunk) || _state.Length != chunk.Length
            || _state.Received != chunk.Offset)
        {
            throw new InvalidFrameException(
                $"A chunk at byte {chunk.Offset} of {chunk.Length} of the state of step {chunk.Step}, world "
                + $"{chunk.World}, does not follow "
                + (_state is null
                    ? "another chunk; a state begins at byte 0."
                    : $"the chunk that ended at byte {_state.Received} of {_state.Length} of step {_of.Step}, world "
                        + $"{_of.World}."));
        }

        _state.Append(chunk.Bytes.Span);
        _hash.AppendData(chunk.Bytes.Span);
        if (_state.Received < _state.Length)
        {
            return null;
        }

        byte[] digest = _hash.GetHashAndReset();
        if (!chunk.Digest.Span.StartsWith(digest))
        {
            Drop();
            throw new InvalidFrameException(
                $"The state of step {chunk.Step}, world {chunk.World}, does not have the SHA-256 that its sender "
                + "computed.");
        }

        var part = new ReceivedPart(_state, digest, chunk.Digest[digest.Length..].ToArray());
        _state = null;
        return new StateFrame(chunk.World, chunk.Step, chunk.Part, chunk.Parts, part);
    }

    private static (int World, long Step, int Part, int Parts) Of(StateChunkFrame chunk) =>
        (chunk.World, chunk.Step, chunk.Part, chunk.Parts);

    /// <summary>Drops the bytes of an incomplete part.</summary>
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
