// One open shard: [uint32 count][uint32 offsets, count + 1][configuration][samples], all little-endian, offsets from
// the file's start. A sample is [uint32 size of each column without a fixed size][the columns' bytes].
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Atelier.Model.Data.Mds;

/// <summary>
/// A shard whose header is checked, ready for random access from any thread. A compressed shard is expanded into an
/// unlinked file, whose space is freed when the file is closed, even if the process crashes. Memory: 4 bytes per
/// sample.
/// </summary>
internal sealed class MdsShardFile : IDisposable
{
    private const int HeadBytes = 4;

    private readonly SafeFileHandle _file;
    private readonly IReadOnlyList<MdsColumn> _columns;
    private readonly int _variableColumns;
    private readonly uint[] _offsets;

    private MdsShardFile(string path, SafeFileHandle file, IReadOnlyList<MdsColumn> columns, MdsShard shard)
    {
        Path = path;
        ScratchBytes = shard.ZipData is null ? 0 : shard.RawData.Bytes;
        _file = file;
        _columns = columns;
        _variableColumns = columns.Count(column => column.Encoding.SizeBytes is null);
        _offsets = ReadOffsets(shard);
    }

    /// <summary>Path of the stored file, for error messages.</summary>
    public string Path { get; }

    /// <summary>Bytes that the shard occupies in the scratch folder.</summary>
    public long ScratchBytes { get; }

    /// <summary>Opens a shard, verifies it if requested, and expands it if it is compressed.</summary>
    public static MdsShardFile Open(MdsIndex index, MdsShard shard, bool verify, string scratchDirectory)
    {
        string path = index.Locate(shard);
        var file = File.OpenHandle(path, options: FileOptions.RandomAccess);
        try
        {
            if (verify)
            {
                CheckHashes(path, shard.Stored, MdsHashes.Of(file, shard.Stored.Bytes, shard.Stored.Hashes.Keys));
            }

            if (shard.ZipData is not null)
            {
                file = Expand(path, file, shard, verify, scratchDirectory);
            }

            return new MdsShardFile(path, file, index.Columns, shard);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Reads the wanted columns of a sample. Apart from them, only the sizes of the sample's columns are read.
    /// </summary>
    /// <param name="sample">Index of the sample in this shard.</param>
    /// <param name="wanted">For each column, whether to read it.</param>
    /// <returns>The fields; null for columns that are not wanted.</returns>
    public ReadOnlyMemory<byte>?[] Read(int sample, ReadOnlySpan<bool> wanted)
    {
        Span<long> bounds = stackalloc long[_columns.Count + 1];
        Locate(sample, bounds);
        var fields = new ReadOnlyMemory<byte>?[_columns.Count];
        for (int first = 0; first < wanted.Length; first++)
        {
            if (!wanted[first])
            {
                continue;
            }

            // Adjacent columns are read together.
            int end = first + 1;
            while (end < wanted.Length && wanted[end])
            {
                end++;
            }

            var bytes = GC.AllocateUninitializedArray<byte>((int)(bounds[end] - bounds[first]));
            ReadExactly(bounds[first], bytes, $"sample {sample}");
            for (int i = first; i < end; i++)
            {
                fields[i] = bytes.AsMemory((int)(bounds[i] - bounds[first]), (int)(bounds[i + 1] - bounds[i]));
            }

            first = end;
        }

        return fields;
    }

    public void Dispose() => _file.Dispose();

    // The start of each column of a sample, and the end of the last column.
    private void Locate(int sample, Span<long> bounds)
    {
        string place = $"sample {sample}";
        var (begin, end) = ((long)_offsets[sample], (long)_offsets[sample + 1]);
        Span<uint> sizes = stackalloc uint[_variableColumns];
        long sizeBytes = sizes.Length * sizeof(uint);
        if (end - begin < sizeBytes || end - begin > MdsIndex.SampleBytesMax)
        {
            throw new RefusedFileException(
                Path, place,
                $"it has {end - begin} bytes; it needs {sizeBytes} for the sizes of its columns, and at most "
                + $"{MdsIndex.SampleBytesMax} are allowed");
        }

        ReadExactly(begin, MemoryMarshal.AsBytes(sizes), place);
        bounds[0] = begin + sizeBytes;
        for (int i = 0, next = 0; i < _columns.Count; i++)
        {
            bounds[i + 1] = bounds[i] + (_columns[i].Encoding.SizeBytes is { } size ? size : sizes[next++]);
        }

        if (bounds[^1] != end)
        {
            throw new RefusedFileException(
                Path, place, $"its columns need {bounds[^1] - begin} bytes, but it has {end - begin}");
        }
    }

    private uint[] ReadOffsets(MdsShard shard)
    {
        Span<uint> count = stackalloc uint[1];
        ReadExactly(0, MemoryMarshal.AsBytes(count), "head");
        if (count[0] != shard.Samples)
        {
            throw new RefusedFileException(
                Path, "byte 0", $"it has {count[0]} samples, but the index says {shard.Samples}");
        }

        var offsets = new uint[shard.Samples + 1];
        ReadExactly(HeadBytes, MemoryMarshal.AsBytes(offsets.AsSpan()), "head");
        long least = HeadBytes + (4L * offsets.Length);
        for (int i = 0; i < offsets.Length; i++)
        {
            if (offsets[i] < least)
            {
                throw new RefusedFileException(
                    Path, $"offset {i}", $"is {offsets[i]}, but the data before it takes {least} bytes");
            }

            least = offsets[i];
        }

        return least == shard.RawData.Bytes
            ? offsets
            : throw new RefusedFileException(
                Path, $"offset {shard.Samples}", $"is {least}, but the shard has {shard.RawData.Bytes} bytes");
    }

    private void ReadExactly(long at, Span<byte> bytes, string place)
    {
        while (!bytes.IsEmpty)
        {
            int read = RandomAccess.Read(_file, bytes, at);
            if (read == 0)
            {
                throw new RefusedFileException(
                    Path, place, $"the shard ends at byte {at}, but {bytes.Length} more bytes are needed");
            }

            bytes = bytes[read..];
            at += read;
        }
    }

    // Takes ownership of the stored file and returns the expanded file.
    private static SafeFileHandle Expand(
        string path, SafeFileHandle stored, MdsShard shard, bool verify, string scratchDirectory)
    {
        string scratch = System.IO.Path.Combine(scratchDirectory, $"atelier-mds-{System.IO.Path.GetRandomFileName()}");
        var raw = File.OpenHandle(scratch, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None);
        try
        {
            File.Delete(scratch);
            using var hashes = new MdsHashes(verify ? shard.RawData.Hashes.Keys : []);
            using var input = new FileStream(stored, FileAccess.Read);
            long written = 0;
            MdsCompression.Expand(path, input, shard.Compression!, shard.RawData.Bytes, bytes =>
            {
                hashes.Append(bytes);
                RandomAccess.Write(raw, bytes, written);
                written += bytes.Length;
            });
            if (verify)
            {
                CheckHashes(path, shard.RawData, hashes.Finish());
            }

            return raw;
        }
        catch
        {
            raw.Dispose();
            throw;
        }
    }

    private static void CheckHashes(string path, MdsFile file, Dictionary<string, string> computed)
    {
        foreach (var (name, hash) in file.Hashes)
        {
            if (!string.Equals(hash, computed[name], StringComparison.OrdinalIgnoreCase))
            {
                throw new RefusedFileException(
                    path, $"{name} of {file.Basename}", $"is {computed[name]}, but the index says {hash}");
            }
        }
    }
}
