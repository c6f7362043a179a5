namespace Atelier.Model.Data.Mds;

/// <summary>Options for reading a data set.</summary>
public sealed record MdsReadOptions
{
    /// <summary>
    /// Whether every shard is checked against its checksums before its first sample is returned, which takes one pass
    /// over the file. The default is true.
    /// </summary>
    public bool VerifyHashes { get; init; } = true;

    /// <summary>Folder in which compressed shards are expanded. The default is the system's temporary folder.</summary>
    public string ScratchDirectory { get; init; } = Path.GetTempPath();

    /// <summary>
    /// Maximum total bytes of expanded shards in that folder, not counting shards that are being read. A single shard
    /// that is larger is refused. The default is 8 GiB.
    /// </summary>
    public long ScratchBytesMax { get; init; } = 8L << 30;

    /// <summary>
    /// Maximum number of shards kept open, not counting shards that are being read. The default is 64.
    /// </summary>
    public int OpenShardsMax { get; init; } = 64;
}

/// <summary>
/// A data set in the MDS format with random access from any number of threads. Reading a sample takes two or three
/// small reads. Memory holds 4 bytes per sample of the open shards, and none of the data.
/// </summary>
public sealed class MdsDataset : IDisposable
{
    private readonly MdsReadOptions _options;
    private readonly MdsShardCache _shards;
    private readonly bool[] _verified;
    private readonly long[] _ends;

    /// <summary>
    /// Opens the data set in <paramref name="directory"/>: checks the index and that every shard file exists.
    /// </summary>
    /// <exception cref="RefusedFileException">The index or a shard is refused; the message names the file.</exception>
    public MdsDataset(string directory, MdsReadOptions? options = null)
    {
        _options = options ?? new MdsReadOptions();
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(_options.OpenShardsMax, nameof(options));
        Index = MdsIndex.Read(directory);
        _verified = new bool[Index.Shards.Count];
        _ends = new long[Index.Shards.Count];
        for (int i = 0; i < _ends.Length; i++)
        {
            Check(Index.Shards[i]);
            _ends[i] = Index.Shards[i].Samples + (i == 0 ? 0 : _ends[i - 1]);
        }

        _shards = new MdsShardCache(Open, _options.OpenShardsMax, _options.ScratchBytesMax);
    }

    /// <summary>The validated contents of index.json.</summary>
    public MdsIndex Index { get; }

    /// <summary>Number of samples in all shards.</summary>
    public long Count => Index.Samples;

    /// <summary>Reads a whole sample.</summary>
    /// <exception cref="RefusedFileException">The sample's shard is damaged; the message names the shard.</exception>
    public MdsSample this[long index] => Read(index);

    /// <summary>
    /// Reads some columns of a sample; other columns are not read from the disk. Without names, reads all columns.
    /// </summary>
    /// <exception cref="ArgumentException">A column is unknown, or the index is out of range.</exception>
    /// <exception cref="RefusedFileException">The sample's shard is damaged; the message names the shard.</exception>
    public MdsSample Read(long index, params ReadOnlySpan<string> columns)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Count);
        var wanted = new bool[Index.Columns.Count];
        wanted.AsSpan().Fill(columns.IsEmpty);
        foreach (string column in columns)
        {
            wanted[Find(column)] = true;
        }

        int shard = ShardOf(index);
        int number = (int)(index - _ends[shard] + Index.Shards[shard].Samples);
        return _shards.Use(
            shard, file => new MdsSample(file.Path, number, Index.Columns, file.Read(number, wanted)));
    }

    /// <summary>Closes the shards and frees the scratch space.</summary>
    public void Dispose() => _shards.Dispose();

    // The first shard that ends after the sample, so empty shards are skipped.
    private int ShardOf(long index)
    {
        int low = 0;
        for (int high = _ends.Length - 1; low < high;)
        {
            int middle = (low + high) / 2;
            (low, high) = _ends[middle] > index ? (low, middle) : (middle + 1, high);
        }

        return low;
    }

    private int Find(string column)
    {
        for (int i = 0; i < Index.Columns.Count; i++)
        {
            if (Index.Columns[i].Name == column)
            {
                return i;
            }
        }

        throw new ArgumentException(
            $"There is no column '{column}'; the columns are {string.Join(", ", Index.Columns.Select(c => c.Name))}.",
            nameof(column));
    }

    private void Check(MdsShard shard)
    {
        string path = Index.Locate(shard);
        if (shard.ZipData is not null && shard.RawData.Bytes > _options.ScratchBytesMax)
        {
            throw new RefusedFileException(
                path, "size",
                $"it expands to {shard.RawData.Bytes} bytes; at most {_options.ScratchBytesMax} are allowed");
        }

        var hashes = shard.RawData.Hashes.Keys.Concat(shard.ZipData?.Hashes.Keys ?? []);
        if (_options.VerifyHashes && hashes.FirstOrDefault(name => !MdsHashes.IsKnown(name)) is { } unknown)
        {
            throw new RefusedFileException(
                path, "checksums",
                $"'{unknown}' is not supported; use one of {MdsHashes.Known}, or set VerifyHashes to false");
        }
    }

    // A shard that is reopened after eviction is not verified again.
    private MdsShardFile Open(int shard)
    {
        bool verify = _options.VerifyHashes && !_verified[shard];
        var file = MdsShardFile.Open(Index, Index.Shards[shard], verify, _options.ScratchDirectory);
        _verified[shard] = true;
        return file;
    }
}
