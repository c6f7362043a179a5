// Copies of a trainer's state in the host's memory, which are sent to newcomers in chunks.
namespace Atelier.Training.Worlds;

/// <summary>A copy of a trainer's state. It does not change; disposing it frees its memory.</summary>
public interface IStateCopy : IDisposable
{
    /// <summary>Length of the copy in bytes, at least 1.</summary>
    long Length { get; }

    /// <summary>Reads a part of the copy. Calls must not be concurrent.</summary>
    /// <param name="offset">Offset of the part's first byte.</param>
    /// <param name="destination">Filled with the part's bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside the copy.</exception>
    void Read(long offset, Span<byte> destination);
}

/// <summary>A copy of a state that is received from a peer.</summary>
public sealed class StateBytes : IStateCopy
{
    /// <summary>Length of each segment except the last one, in bytes.</summary>
    public const int SegmentBytes = 16 << 20;

    private readonly List<byte[]> _segments = [];

    /// <summary>Creates an empty copy.</summary>
    /// <param name="length">Length in bytes of the complete copy.</param>
    internal StateBytes(long length) => Length = length;

    /// <inheritdoc/>
    public long Length { get; }

    /// <summary>Number of bytes received so far, from the beginning of the copy.</summary>
    internal long Received { get; private set; }

    /// <inheritdoc/>
    public void Read(long offset, Span<byte> destination)
    {
        CheckRange(offset, destination.Length, Received);
        while (destination.Length > 0)
        {
            Span<byte> part = _segments[(int)(offset / SegmentBytes)].AsSpan((int)(offset % SegmentBytes));
            part = part[..Math.Min(part.Length, destination.Length)];
            part.CopyTo(destination);
            destination = destination[part.Length..];
            offset += part.Length;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _segments.Clear();

    /// <summary>Checks that a range is within the bytes of a copy.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range is not within them.</exception>
    internal static void CheckRange(long offset, int count, long available)
    {
        if (offset < 0 || offset > available - count)
        {
            throw new ArgumentOutOfRangeException(
                nameof(offset), offset,
                $"A range of {count} bytes at this offset is not within the {available} bytes of the copy.");
        }
    }

    /// <summary>Appends the next bytes; a segment is allocated when its first byte arrives.</summary>
    internal void Append(ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            int at = (int)(Received % SegmentBytes);
            if (at == 0)
            {
                _segments.Add(GC.AllocateUninitializedArray<byte>((int)Math.Min(SegmentBytes, Length - Received)));
            }

            Span<byte> room = _segments[^1].AsSpan(at);
            ReadOnlySpan<byte> part = bytes[..Math.Min(room.Length, bytes.Length)];
            part.CopyTo(room);
            bytes = bytes[part.Length..];
            Received += part.Length;
        }
    }
}
