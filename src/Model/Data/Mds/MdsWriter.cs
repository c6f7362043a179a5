using System.Buffers.Binary;

namespace Atelier.Model.Data.Mds;

/// <summary>Options for writing a data set.</summary>
public sealed record MdsWriteOptions
{
    /// <summary>
    /// Maximum raw bytes of a shard, unless a single sample is larger. One shard at a time is held in memory. The value
    /// must be 1 to <see cref="uint.MaxValue"/>; the default is 64 MiB.
    /// </summary>
    public long SizeLimit { get; init; } = 1 << 26;

    /// <summary>
    /// <c>zstd</c>, <c>zstd:1</c> to <c>zstd:22</c>, <c>gz</c>, <c>gz:0</c> to <c>gz:9</c>, or null for no compression,
    /// which is the default.
    /// </summary>
    public string? Compression { get; init; }

    /// <summary>
    /// Names of the checksums that the index lists, such as <c>sha1</c> or <c>xxh64</c>. The default is none.
    /// </summary>
    public IReadOnlyList<string> Hashes { get; init; } = [];
}

/// <summary>
/// Writes a data set in the MDS format. A shard appears in the folder only when it is complete. <see cref="Complete"/>
/// writes the index last, so a folder without index.json is not yet a data set. Not thread-safe.
/// </summary>
/// <remarks>
/// Unlike the reference's writer, this one does not begin with an empty shard if the first sample exceeds the limit.
/// </remarks>
public sealed class MdsWriter
{
    private readonly string _directory;
    private readonly (string Name, MdsEncoding Encoding)[] _columns;
    private readonly MdsWriteOptions _options;
    private readonly MdsShard _template;
    private readonly byte[] _config;
    private readonly List<byte[]> _samples = [];
    private readonly List<MdsShard> _shards = [];
    private long _shardBytes;
    private bool _complete;

    /// <summary>Begins a data set in <paramref name="directory"/>, which is created if it does not exist.</summary>
    /// <param name="directory">The folder; it must not contain an index yet.</param>
    /// <param name="columns">Names of the encodings by column name; see <see cref="MdsEncoding.Parse"/>.</param>
    /// <param name="options">Limits, compression and checksums.</param>
    /// <exception cref="ArgumentException">A column, an option or the folder is not valid.</exception>
    public MdsWriter(string directory, IReadOnlyDictionary<string, string> columns, MdsWriteOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(columns);
        _directory = directory;
        _options = options ?? new MdsWriteOptions();
        CheckOptions(_options);
        _columns = [.. columns.Select(ParseColumn).OrderBy(column => column.Name, StringComparer.Ordinal)];
        if (_columns.Length is < 1 or > MdsIndex.ColumnsMax)
        {
            throw new ArgumentException($"A data set must have 1 to {MdsIndex.ColumnsMax} columns.", nameof(columns));
        }

        _template = new MdsShard(
            [.. _columns.Select(column => column.Encoding.Name)],
            [.. _columns.Select(column => column.Name)],
            [.. _columns.Select(column => (long?)column.Encoding.SizeBytes)],
            _options.Compression, "mds", [.. _options.Hashes.Order(StringComparer.Ordinal)],
            new MdsFile("", 0, new Dictionary<string, string>()), 0, _options.SizeLimit, MdsIndex.Version, null);
        _config = MdsIndex.Config(_template);
        _shardBytes = EmptyShardBytes;

        Directory.CreateDirectory(directory);
        if (File.Exists(Path.Combine(directory, MdsIndex.FileName)))
        {
            throw new ArgumentException($"{directory} already holds a data set.", nameof(directory));
        }
    }

    // The sample count, the first offset and the configuration.
    private int EmptyShardBytes => 4 + 4 + _config.Length;

    /// <summary>
    /// Adds a sample. Every column needs a value of its type (see <see cref="MdsEncoding"/>), or the encoded bytes of
    /// the value as byte[] or ReadOnlyMemory of byte. Pictures must be given as encoded bytes.
    /// </summary>
    /// <exception cref="ArgumentException">
    /// A column is missing or unknown, or a value does not fit its column.
    /// </exception>
    public void Write(IReadOnlyDictionary<string, object> sample)
    {
        ArgumentNullException.ThrowIfNull(sample);
        ThrowIfComplete();
        var bytes = Encode(sample);
        long added = bytes.Length + sizeof(uint);
        bool full = _shardBytes + added > _options.SizeLimit || _samples.Count == MdsIndex.ShardSamplesMax;
        if (full && _samples.Count > 0)
        {
            Flush();
        }

        _samples.Add(bytes);
        _shardBytes += added;
    }

    /// <summary>Writes the last shard and the index. No sample can be added afterwards.</summary>
    public MdsIndex Complete()
    {
        ThrowIfComplete();
        if (_samples.Count > 0)
        {
            Flush();
        }

        _complete = true;
        return MdsIndex.Write(_directory, _shards);
    }

    private void ThrowIfComplete()
    {
        if (_complete)
        {
            throw new InvalidOperationException($"The data set in {_directory} is complete.");
        }
    }

    private static void CheckOptions(MdsWriteOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(options.SizeLimit, nameof(options));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.SizeLimit, uint.MaxValue, nameof(options));
        if (options.Hashes.Distinct().Count() != options.Hashes.Count || !options.Hashes.All(MdsHashes.IsKnown))
        {
            throw new ArgumentException(
                $"The checksums are '{string.Join(", ", options.Hashes)}'; each must be one of {MdsHashes.Known}, and "
                + "none may be listed twice.",
                nameof(options));
        }

        if (options.Compression is not null)
        {
            MdsCompression.Compressor(Stream.Null, options.Compression).Dispose();
        }
    }

    // Names are printable ASCII, so that every reader sorts them in the same way.
    private static (string Name, MdsEncoding Encoding) ParseColumn(KeyValuePair<string, string> column)
    {
        if (column.Key.Length == 0 || column.Key.Any(c => c is < ' ' or > '~'))
        {
            throw new ArgumentException(
                $"'{column.Key}' is not a column name; a name must be printable ASCII.", nameof(column));
        }

        try
        {
            return (column.Key, MdsEncoding.Parse(column.Value));
        }
        catch (FormatException e)
        {
            throw new ArgumentException($"Column '{column.Key}': {e.Message}.", nameof(column), e);
        }
    }

    // A sample is [sizes of the columns without a fixed size][fields].
    private byte[] Encode(IReadOnlyDictionary<string, object> sample)
    {
        if (sample.Count != _columns.Length || !_columns.All(column => sample.ContainsKey(column.Name)))
        {
            throw new ArgumentException(
                $"The sample has the columns {string.Join(", ", sample.Keys)}; it must have "
                + $"{string.Join(", ", _columns.Select(c => c.Name))}.", nameof(sample));
        }

        var fields = Array.ConvertAll(_columns, column => column.Encoding.Encode(sample[column.Name], column.Name));
        int head = sizeof(uint) * _columns.Count(column => column.Encoding.SizeBytes is null);
        long bytes = head + fields.Sum(field => (long)field.Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes, MdsIndex.SampleBytesMax, nameof(sample));
        var result = new byte[bytes];
        for (int i = 0, size = 0, to = head; i < fields.Length; i++)
        {
            if (_columns[i].Encoding.SizeBytes is null)
            {
                BinaryPrimitives.WriteInt32LittleEndian(result.AsSpan(size), fields[i].Length);
                size += sizeof(uint);
            }

            fields[i].Span.CopyTo(result.AsSpan(to));
            to += fields[i].Length;
        }

        return result;
    }

    private void Flush()
    {
        string basename = $"shard.{_shards.Count:D5}.mds";
        string? extension = _options.Compression is { } compression ? MdsCompression.Algorithm(compression) : null;
        string stored = extension is null ? basename : $"{basename}.{extension}";
        string path = Path.Combine(_directory, stored);
        using var hashes = new MdsHashes(_template.Hashes);
        MdsFile? zip = null;
        WholeFile.Write(path, file =>
        {
            if (_options.Compression is null)
            {
                WriteRaw(file, hashes);
            }
            else
            {
                using (var compressor = MdsCompression.Compressor(file, _options.Compression))
                {
                    WriteRaw(compressor, hashes);
                }

                file.Flush();
                zip = new MdsFile(
                    stored, file.Length, MdsHashes.Of(file.SafeFileHandle, file.Length, _template.Hashes));
            }

            file.Flush(flushToDisk: true);
        });
        _shards.Add(_template with
        {
            RawData = new MdsFile(basename, _shardBytes, hashes.Finish()),
            Samples = _samples.Count,
            ZipData = zip,
        });
        _samples.Clear();
        _shardBytes = EmptyShardBytes;
    }

    private void WriteRaw(Stream output, MdsHashes hashes)
    {
        var head = new byte[4 + (4 * (_samples.Count + 1))];
        BinaryPrimitives.WriteInt32LittleEndian(head, _samples.Count);
        uint offset = (uint)(head.Length + _config.Length);
        for (int i = 0; i <= _samples.Count; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(head.AsSpan(4 + (4 * i)), offset);
            offset += i < _samples.Count ? (uint)_samples[i].Length : 0;
        }

        foreach (var bytes in _samples.Prepend(_config).Prepend(head))
        {
            hashes.Append(bytes);
            output.Write(bytes);
        }
    }
}
