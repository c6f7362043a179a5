// A part of a state on its way to a newcomer: cut into chunks, so that other frames can go between them, and put together
// again.
using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Atelier.Training.Worlds;

/// <summary>A part of a <see cref="StateFrame"/>. Chunks follow each other without gaps.</summary>
/// <param name="World">The world.</param>
/// <param name="Step">Steps that are in the state.</param>
/// <param name="Part">The part of the state.</param>
/// <param name="Parts">Number of parts.</param>
/// <param name="Length">Bytes of the whole part.</param>
/// <param name="Offset">Offset of the chunk's first byte.</param>
/// <param name="Bytes">The bytes, 1 to <see cref="BytesMax"/>.</param>
/// <param name="Digest">
/// With the last chunk, SHA-256 of the whole part, and for the first part the manifest: the digests of all parts. Empty
/// with the others.
/// </param>
public sealed record StateChunkFrame(
    int World, long Step, int Part, int Parts, long Length, long Offset, ReadOnlyMemory<byte> Bytes,
    ReadOnlyMemory<byte> Digest)
    : Frame(World)
{
    /// <summary>The most bytes in a chunk.</summary>
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
                + $"{BytesMax}, and the last one has the digests' {DigestBytes(header.Slice, header.Slices)} beside.");
        }

        return new StateChunkFrame(
            header.World, header.Step, header.Slice, header.Slices, length, offset, payload[..bytes],
            payload[bytes..]);
    }

    private static int DigestBytes(int part, int parts) => (part == 0 ? 1 + parts : 1) * SHA256.HashSizeInBytes;
}

/// <summary>Encodes a part of a state chunk by chunk. It owns the copy.</summary>
public sealed class StateSender : IDisposable
{
    private readonly FrameCodec _codec;
    private readonly StateFrame _frame;
    private readonly StatePart _copy;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private byte[] _buffer = [];
    private long _sent;

    /// <summary>Begins to send a part.</summary>
    /// <param name="codec">The codec.</param>
    /// <param name="frame">The part: a <see cref="StatePart"/>.</param>
    /// <exception cref="ArgumentException">It is not a copy of a state, or is longer than the run allows.</exception>
    public StateSender(FrameCodec codec, StateFrame frame)
    {
        _copy = frame.State as StatePart
            ?? throw new ArgumentException($"A state is sent from a {nameof(StatePart)}.", nameof(frame));
        if (_copy.Length < 1 || _copy.Length > codec.Limits.StateBytes)
        {
            throw new ArgumentException(
                $"The state has {_copy.Length} bytes; the run allows 1 to {codec.Limits.StateBytes}.", nameof(frame));
        }

        (_codec, _frame) = (codec, frame);
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
            Span<byte> own = payload.Slice(end, SHA256.HashSizeInBytes);
            end += _hash.GetHashAndReset(own);
            if (_frame.Part == 0)
            {
                end += _copy.WriteManifest(own, payload[end..]);
            }
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
        new(FrameKind.StateChunk, _frame.World, _frame.Step, _frame.Part, _frame.Parts, default, 0, payload);
}

/// <summary>
/// Puts the chunks of a peer's parts together, one part at a time. A chunk at offset 0 begins a part; the peer has given
/// up the one before.
/// </summary>
public sealed class StateAssembly : IDisposable
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private StateBytes? _state;
    private (int World, long Step, int Part, int Parts) _of;

    /// <summary>Adds a chunk.</summary>
    /// <returns>The part, as a <see cref="ReceivedPart"/>, if it is whole, else null.</returns>
    /// <exception cref="InvalidFrameException">
    /// It does not follow the chunk before, or the state was damaged.
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

        byte[] digest = _hash.GetHashAndReset();
        if (!chunk.Digest.Span.StartsWith(digest))
        {
            Drop();
            throw new InvalidFrameException(
                $"The state of step {chunk.Step}, world {chunk.World}, has another SHA-256 than its sender computed.");
        }

        var part = new ReceivedPart(_state, digest, chunk.Digest[digest.Length..].ToArray());
        _state = null;
        return new StateFrame(chunk.World, chunk.Step, chunk.Part, chunk.Parts, part);
    }

    private static (int World, long Step, int Part, int Parts) Of(StateChunkFrame chunk) =>
        (chunk.World, chunk.Step, chunk.Part, chunk.Parts);

    /// <summary>Drops what is there of a part.</summary>
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
