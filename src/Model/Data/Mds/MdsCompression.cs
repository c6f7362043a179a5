using System.Globalization;
using System.IO.Compression;
using ICSharpCode.SharpZipLib.BZip2;
using ZstdSharp;

namespace Atelier.Model.Data.Mds;

/// <summary>
/// The compressions of whole shards: zstd, gz, bz2, br and snappy are read; zstd and gz are written. Memory: at most
/// the 128 MiB window that zstd's decoder allows; a snappy shard is one block, so it is held completely in memory,
/// compressed and raw.
/// </summary>
internal static class MdsCompression
{
    /// <summary>The largest snappy shard that is read, compressed or raw: 1 GiB.</summary>
    public const long SnappyBytesMax = 1 << 30;

    private const string Snappy = "snappy";
    private const int BufferBytes = 1 << 17;

    /// <summary>
    /// The algorithm in a compression given as "algorithm" or "algorithm:level"; it is also the file's extension.
    /// </summary>
    public static string Algorithm(string compression) => compression.Split(':')[0];

    public static bool CanRead(string compression) =>
        Algorithm(compression) is "zstd" or "gz" or "bz2" or "br" or Snappy;

    /// <summary>
    /// Decompresses exactly <paramref name="rawBytes"/> bytes, never more, and passes them on in pieces.
    /// </summary>
    /// <exception cref="RefusedFileException">The file is damaged, or expands to more or fewer bytes.</exception>
    public static void Expand(
        string path, Stream input, string compression, long rawBytes, Action<ReadOnlySpan<byte>> sink)
    {
        if (Algorithm(compression) == Snappy)
        {
            ExpandSnappy(path, input, rawBytes, sink);
            return;
        }

        var buffer = new byte[BufferBytes];
        long left = rawBytes;
        using var raw = Guarded(() => Decompressor(input, Algorithm(compression)));
        for (int read; left >= 0 && (read = Guarded(() => raw.Read(buffer))) > 0; left -= read)
        {
            sink(buffer.AsSpan(0, (int)Math.Min(read, left)));
        }

        if (left != 0)
        {
            throw new RefusedFileException(
                path, "contents",
                $"expands to {(left < 0 ? "more" : "fewer")} bytes than the {rawBytes} that the index lists");
        }

        // Decoders throw various exceptions on damaged data: Brotli an InvalidOperationException, bzip2 even a
        // NullReferenceException.
        T Guarded<T>(Func<T> decode)
        {
            try
            {
                return decode();
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                throw new RefusedFileException(
                    path, "contents", $"is not an intact {compression} file ({e.Message})", e);
            }
        }
    }

    // A snappy shard is one raw block without frames: its length with 7 bits per byte, then literals and
    // back-references. Memory is allocated only after the length is found to match the index and to be possible for the
    // file's size.
    private static void ExpandSnappy(string path, Stream input, long rawBytes, Action<ReadOnlySpan<byte>> sink)
    {
        if (input.Length > SnappyBytesMax || rawBytes > SnappyBytesMax)
        {
            throw new RefusedFileException(
                path, "contents",
                $"has {input.Length} bytes and expands to {rawBytes}; a snappy shard may have at most "
                + $"{SnappyBytesMax} of either");
        }

        var stored = new byte[input.Length];
        input.ReadExactly(stored);
        long said = ReadSnappyLength(path, stored, out int header);
        if (said != rawBytes)
        {
            throw new RefusedFileException(
                path, "byte 0",
                $"announces {said} raw bytes, {(said > rawBytes ? "more" : "fewer")} than the {rawBytes} that the "
                + "index lists");
        }

        // The shortest copy instruction takes 3 bytes and produces 64 bytes.
        const int copyBytes = 3, copiedBytes = 64;
        long most = (stored.LongLength - header + copyBytes - 1) / copyBytes * copiedBytes;
        if (said > most)
        {
            throw new RefusedFileException(
                path, "byte 0",
                $"announces {said} raw bytes, but the {stored.Length - header} bytes that follow expand to at most "
                + $"{most}");
        }

        var raw = new byte[said];
        try
        {
            int made = Snappier.Snappy.Decompress(stored, raw);
            if (made != raw.Length)
            {
                throw new InvalidDataException($"It expands to {made} bytes.");
            }
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            throw new RefusedFileException(path, "contents", $"is not an intact snappy file ({e.Message})", e);
        }

        sink(raw);
    }

    // 7 bits per byte, the lowest first; the highest bit of a byte marks that another byte follows. The length has at
    // most 32 bits.
    private static long ReadSnappyLength(string path, ReadOnlySpan<byte> stored, out int bytes)
    {
        long length = 0;
        for (bytes = 0; bytes < Math.Min(5, stored.Length);)
        {
            byte next = stored[bytes];
            length |= (long)(next & 0x7F) << (7 * bytes++);
            if (next < 0x80 && length <= uint.MaxValue)
            {
                return length;
            }
        }

        throw new RefusedFileException(path, "byte 0", "is not a 32-bit length of a snappy block");
    }

    /// <summary>A stream that compresses into <paramref name="output"/>, which stays open.</summary>
    /// <exception cref="ArgumentException">The compression cannot be written, or its level is out of range.</exception>
    public static Stream Compressor(Stream output, string compression)
    {
        var parts = compression.Split(':', 2);
        int? level = parts.Length == 1 ? null
            : int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int given) ? given
            : -1;
        return (parts[0], level) switch
        {
            ("zstd", null or >= 1 and <= 22) => new CompressionStream(output, level ?? 3, leaveOpen: true),
            ("gz", null or >= 0 and <= 9) => new GZipStream(
                output, new ZLibCompressionOptions { CompressionLevel = level ?? 6 }, leaveOpen: true),
            _ => throw new ArgumentException(
                $"'{compression}' cannot be written; use zstd, zstd:1 to zstd:22, gz or gz:0 to gz:9.",
                nameof(compression)),
        };
    }

    private static Stream Decompressor(Stream input, string algorithm) => algorithm switch
    {
        "zstd" => new DecompressionStream(input),
        "gz" => new GZipStream(input, CompressionMode.Decompress),
        "bz2" => new BZip2InputStream(input),
        "br" => new BrotliStream(input, CompressionMode.Decompress),
        _ => throw new ArgumentException($"{algorithm} is not supported.", nameof(algorithm)),
    };
}
