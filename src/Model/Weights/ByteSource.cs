// The readers' source of bytes: a file with random access, or memory, so that tests can feed hostile input to the same
// readers ten thousand times a second.
using Microsoft.Win32.SafeHandles;

namespace Atelier.Model.Weights;

/// <summary>Bytes with random access, and their name in error messages.</summary>
internal sealed class ByteSource : IDisposable
{
    private readonly SafeFileHandle? _handle;
    private readonly ReadOnlyMemory<byte> _bytes;

    private ByteSource(string path, SafeFileHandle handle)
    {
        Path = path;
        _handle = handle;
        Length = RandomAccess.GetLength(handle);
    }

    public ByteSource(string path, ReadOnlyMemory<byte> bytes)
    {
        Path = path;
        _bytes = bytes;
        Length = bytes.Length;
    }

    public string Path { get; }

    public long Length { get; }

    /// <summary>Opens a file and passes it to a reader, which then owns the file unless the reader throws.</summary>
    public static T Open<T>(string path, Func<ByteSource, T> reader)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        var handle = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read);
        try
        {
            return reader(new ByteSource(path, handle));
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    public RefusedFileException Refuse(string place, string reason, Exception? inner = null) =>
        new(Path, place, reason, inner);

    /// <summary>Fills the destination, or refuses the file if it is too short.</summary>
    public void Read(long offset, Span<byte> destination, string place)
    {
        if (offset < 0 || offset > Length - destination.Length)
        {
            throw Refuse(place, $"needs {destination.Length} bytes from byte {offset}, but the file has {Length}");
        }

        if (_handle is null)
        {
            _bytes.Span.Slice((int)offset, destination.Length).CopyTo(destination);
            return;
        }

        while (!destination.IsEmpty)
        {
            var got = RandomAccess.Read(_handle, destination, offset);
            if (got == 0)
            {
                throw Refuse(place, $"the file ended at byte {offset} while it was read; it had {Length} bytes before");
            }

            destination = destination[got..];
            offset += got;
        }
    }

    /// <summary>Reads a range into a new array. The caller limits the count.</summary>
    public byte[] ReadArray(long offset, long count, string place)
    {
        if (count < 0 || count > Length)
        {
            throw Refuse(place, $"needs {count} bytes, but the file has {Length}");
        }

        var bytes = new byte[count];
        Read(offset, bytes, place);
        return bytes;
    }

    public void Dispose() => _handle?.Dispose();
}
