using System.Globalization;
using System.IO.Compression;
using ICSharpCode.SharpZipLib.BZip2;
using ZstdSharp;

namespace Atelier.Model.Data;

/// <summary>
/// The compressions of whole shards: zstd, gz, bz2 and br are read; zstd and gz are written. Memory: at most the
/// 128 MiB window that zstd's decoder allows.
/// </summary>
internal static class MdsCompression
{
    private const int BufferBytes = 1 << 17;

    /// <summary>The algorithm, which is also the file's extension, in "algorithm" or "algorithm:level".</summary>
    public static string Algorithm(string compression) => compression.Split(':')[0];

    public static bool CanRead(string compression) => Algorithm(compression) is "zstd" or "gz" or "bz2" or "br";

    /// <summary>
    /// Decompresses exactly <paramref name="rawBytes"/> bytes, never more, and hands them on in pieces.
    /// </summary>
    /// <exception cref="RefusedFileException">The file is damaged, or holds more or fewer bytes.</exception>
    public static void Expand(
        string path, Stream input, string compression, long rawBytes, Action<ReadOnlySpan<byte>> sink)
    {
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
                path, "contents", $"{(left < 0 ? "more" : "fewer")} than the {rawBytes} raw bytes that the index says");
        }

        // What a decoder throws at damage is up to it: Brotli an invalid operation, bzip2 even a null reference.
        T Guarded<T>(Func<T> decode)
        {
            try
            {
                return decode();
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                throw new RefusedFileException(path, "contents", $"no intact {compression} file ({e.Message})", e);
            }
        }
    }

    /// <summary>A stream that compresses into <paramref name="output"/>, which stays open.</summary>
    /// <exception cref="ArgumentException">
    /// The compression is not written here, or its level is out of range.
    /// </exception>
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
                $"'{compression}' is not written; zstd, zstd:1 to zstd:22, gz and gz:0 to gz:9 are.",
                nameof(compression)),
        };
    }

    private static Stream Decompressor(Stream input, string algorithm) => algorithm switch
    {
        "zstd" => new DecompressionStream(input),
        "gz" => new GZipStream(input, CompressionMode.Decompress),
        "bz2" => new BZip2InputStream(input),
        "br" => new BrotliStream(input, CompressionMode.Decompress),
        _ => throw new ArgumentException($"{algorithm} is not read.", nameof(algorithm)),
    };
}
