// A copy of a state in parts, which a newcomer gets from several members at the same time. All members have the same
// state at a step, so that parts of different members fit together; a manifest, which comes with the first part, proves
// that they are of one state.
using System.Security.Cryptography;

namespace Atelier.Training.Worlds;

/// <summary>How a state is cut.</summary>
public static class StateParts
{
    /// <summary>Most parts of a state.</summary>
    public const int Max = 16;

    /// <summary>Where a part begins and how long it is, in bytes; lengths differ by at most one.</summary>
    public static (long Offset, long Length) Of(long length, int part, int parts)
    {
        (long each, long more) = Math.DivRem(length, parts);
        return ((part * each) + Math.Min(part, more), part < more ? each + 1 : each);
    }

    /// <summary>Puts parts together.</summary>
    /// <param name="parts">All parts, in order.</param>
    /// <exception cref="InvalidDataException">A part is not of the state that the manifest describes.</exception>
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
                    $"Part {i} of {parts.Count} of a copy of the state is not of the state that part 0 is of.");
            }
        }

        return new Joined([.. parts.Select(part => part.Bytes)]);
    }

    private sealed class Joined(StateBytes[] parts) : IStateCopy
    {
        public long Length { get; } = parts.Sum(part => part.Length);

        public void Read(long offset, Span<byte> destination)
        {
            if (offset < 0 || offset > Length - destination.Length)
            {
                throw new ArgumentOutOfRangeException(
                    nameof(offset), offset, $"{destination.Length} bytes from there are not inside {Length} bytes.");
            }

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

/// <summary>A part of a copy, to be sent.</summary>
/// <param name="whole">The copy. Disposing the part disposes it.</param>
/// <param name="part">The part.</param>
/// <param name="parts">Number of parts.</param>
public sealed class StatePart(IStateCopy whole, int part, int parts) : IStateCopy
{
    private const int BufferBytes = 1 << 20;

    private readonly long _offset = StateParts.Of(whole.Length, part, parts).Offset;

    /// <inheritdoc/>
    public long Length { get; } = StateParts.Of(whole.Length, part, parts).Length;

    /// <inheritdoc/>
    public void Read(long offset, Span<byte> destination)
    {
        if (offset < 0 || offset > Length - destination.Length)
        {
            throw new ArgumentOutOfRangeException(
                nameof(offset), offset, $"{destination.Length} bytes from there are not inside {Length} bytes.");
        }

        whole.Read(_offset + offset, destination);
    }

    /// <inheritdoc/>
    public void Dispose() => whole.Dispose();

    /// <summary>Writes the digests of all parts.</summary>
    /// <param name="own">The digest of this one, which is known.</param>
    /// <param name="to">Is filled from its beginning.</param>
    /// <returns>Bytes written.</returns>
    internal int WriteManifest(ReadOnlySpan<byte> own, Span<byte> to)
    {
        byte[] buffer = new byte[BufferBytes];
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        for (int i = 0; i < parts; i++)
        {
            Span<byte> digest = to[(i * SHA256.HashSizeInBytes)..];
            if (i == part)
            {
                own.CopyTo(digest);
                continue;
            }

            (long at, long left) = StateParts.Of(whole.Length, i, parts);
            for (; left > 0;)
            {
                Span<byte> piece = buffer.AsSpan(0, (int)Math.Min(left, buffer.Length));
                whole.Read(at, piece);
                hash.AppendData(piece);
                at += piece.Length;
                left -= piece.Length;
            }

            hash.GetHashAndReset(digest);
        }

        return parts * SHA256.HashSizeInBytes;
    }
}

/// <summary>A part of a copy that was received whole.</summary>
/// <param name="Bytes">The bytes.</param>
/// <param name="Digest">Their SHA-256.</param>
/// <param name="Manifest">The digests of all parts, in order, with the first part; empty with the others.</param>
public sealed record ReceivedPart(StateBytes Bytes, ReadOnlyMemory<byte> Digest, ReadOnlyMemory<byte> Manifest);
