// A copy of a state in parts, which a newcomer receives from several members at the same time. All members have the
// same state at a step, so parts from different members fit together. A manifest, which is sent with the first part,
// proves that all parts belong to the same state.
using System.Security.Cryptography;

namespace Atelier.Training.Worlds;

/// <summary>Joins the parts of a state; <see cref="StatePart"/> cuts one.</summary>
public static class StateParts
{
    /// <summary>Maximum number of parts of a state.</summary>
    public const int Max = 16;

    /// <summary>Joins received parts into one copy.</summary>
    /// <param name="parts">All parts, in order.</param>
    /// <exception cref="InvalidDataException">
    /// A part does not belong to the state that the manifest describes.
    /// </exception>
    public static IStateCopy Join(IReadOnlyList<ReceivedPart> parts)
    {
        for (int i = 0; i < parts.Count; i++)
        {
            ReadOnlyMemory<byte> manifest = parts[0].Manifest;
            if (manifest.Length != parts.Count * SHA256.HashSizeInBytes
                || !manifest.Span.Slice(i * SHA256.HashSizeInBytes, SHA256.HashSizeInBytes)
                    .SequenceEqual(parts[i].Digest.Span))
            {
                throw new InvalidDataException(
                    $"Part {i} of {parts.Count} of a copy of the state does not belong to the same state as part 0.");
            }
        }

        return new Joined([.. parts.Select(part => part.Bytes)]);
    }

    private sealed class Joined(StateBytes[] parts) : IStateCopy
    {
        public long Length { get; } = parts.Sum(part => part.Length);

        public void Read(long offset, Span<byte> destination)
        {
            StateBytes.CheckRange(offset, destination.Length, Length);

            long begin = 0;
            foreach (StateBytes part in parts)
            {
                long within = offset - begin;
                begin += part.Length;
                if (within >= part.Length || destination.Length == 0)
                {
                    continue;
                }

                int count = (int)Math.Min(destination.Length, part.Length - within);
                part.Read(within, destination[..count]);
                destination = destination[count..];
                offset += count;
            }
        }

        public void Dispose() => Array.ForEach(parts, part => part.Dispose());
    }
}

/// <summary>A part of a copy that is to be sent.</summary>
/// <param name="whole">The whole copy. Disposing the part disposes the copy.</param>
/// <param name="part">Index of the part.</param>
/// <param name="parts">Number of parts.</param>
public sealed class StatePart(IStateCopy whole, int part, int parts) : IStateCopy
{
    private readonly long _offset = SliceLayout.Part(whole.Length, part, parts).Start;

    /// <inheritdoc/>
    public long Length { get; } = SliceLayout.Part(whole.Length, part, parts).Count;

    /// <inheritdoc/>
    public void Read(long offset, Span<byte> destination)
    {
        StateBytes.CheckRange(offset, destination.Length, Length);
        whole.Read(_offset + offset, destination);
    }

    /// <inheritdoc/>
    public void Dispose() => whole.Dispose();

    /// <summary>Begins the manifest that is sent with this part. The caller disposes it.</summary>
    internal StateManifest BeginManifest() => new(whole, part, parts);
}

/// <summary>
/// Computes the manifest of a copy: the digests of all parts, in order. The other parts are hashed while the sender's
/// own part is sent, as many bytes of each as were sent, so that hashing a large state does not hold up the connection.
/// </summary>
/// <param name="whole">The whole copy.</param>
/// <param name="own">Index of the part that is sent; its digest is known at the end.</param>
/// <param name="parts">Number of parts.</param>
internal sealed class StateManifest(IStateCopy whole, int own, int parts) : IDisposable
{
    private const int BufferBytes = 1 << 20;

    private readonly (IncrementalHash Hash, long Read)[] _others =
        [.. Enumerable.Range(0, parts).Select(_ => (IncrementalHash.CreateHash(HashAlgorithmName.SHA256), 0L))];
    private byte[] _buffer = [];

    /// <summary>Hashes the next bytes of each of the other parts.</summary>
    /// <param name="bytes">Number of bytes of each part.</param>
    public void Advance(long bytes)
    {
        for (int i = 0; i < parts; i++)
        {
            (long start, long count) = SliceLayout.Part(whole.Length, i, parts);
            (IncrementalHash hash, long read) = _others[i];
            long end = i == own ? read : Math.Min(count, read + bytes);
            while (read < end)
            {
                if (_buffer.Length == 0)
                {
                    _buffer = GC.AllocateUninitializedArray<byte>(BufferBytes);
                }

                Span<byte> piece = _buffer.AsSpan(0, (int)Math.Min(end - read, _buffer.Length));
                whole.Read(start + read, piece);
                hash.AppendData(piece);
                read += piece.Length;
            }

            _others[i].Read = read;
        }
    }

    /// <summary>Hashes what is left and writes the manifest.</summary>
    /// <param name="digest">The digest of the own part.</param>
    /// <param name="to">Receives the manifest at its beginning.</param>
    /// <returns>Number of bytes written.</returns>
    public int Finish(ReadOnlySpan<byte> digest, Span<byte> to)
    {
        Advance(long.MaxValue / 2);
        for (int i = 0; i < parts; i++)
        {
            Span<byte> one = to.Slice(i * SHA256.HashSizeInBytes, SHA256.HashSizeInBytes);
            if (i == own)
            {
                digest.CopyTo(one);
            }
            else
            {
                _others[i].Hash.GetHashAndReset(one);
            }
        }

        return parts * SHA256.HashSizeInBytes;
    }

    /// <inheritdoc/>
    public void Dispose() => Array.ForEach(_others, other => other.Hash.Dispose());
}

/// <summary>A part of a copy that has been received completely.</summary>
/// <param name="Bytes">The part's bytes.</param>
/// <param name="Digest">SHA-256 of the bytes.</param>
/// <param name="Manifest">The digests of all parts, in order, if this is the first part; otherwise empty.</param>
public sealed record ReceivedPart(StateBytes Bytes, ReadOnlyMemory<byte> Digest, ReadOnlyMemory<byte> Manifest);
