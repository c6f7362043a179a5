// Copies of a trainer's state on the host, which are sent to newcomers in chunks.
namespace Atelier.Training.Worlds;

/// <summary>A copy of a trainer's state. It does not change; disposing it frees its memory.</summary>
public interface IStateCopy : IDisposable
{
    /// <summary>Its length in bytes, at least 1.</summary>
    long Length { get; }

    /// <summary>Reads a part of it. Reading is not concurrent.</summary>
    /// <param name="offset">Offset of the part's first byte.</param>
    /// <param name="destination">Is filled.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside the copy.</exception>
    void Read(long offset, Span<byte> destination);
}

/// <summary>A copy of a state that was received.</summary>
public sealed class StateBytes : IStateCopy
{
    /// <summary>Bytes of each segment but the last one.</summary>
    public const int SegmentBytes = 16 << 20;

    private readonly List<byte[]> _segments = [];

    /// <summary>Begins an empty copy.</summary>
    /// <param name="length">Its length in bytes once it is whole.</param>
    internal StateBytes(long length) => Length = length;

    /// <inheritdoc/>
    public long Length { get; }

    /// <summary>Bytes that are there: the first ones.</summary>
    internal long Received { get; private set; }

    /// <inheritdoc/>
    public void Read(long offset, Span<byte> destination)
    {
        if (offset < 0 || offset > Received - destination.Length)
        {
            throw new ArgumentOutOfRangeException(
                nameof(offset), offset, $"{destination.Length} bytes from there are not inside {Received} bytes.");
        }

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
