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

    /// <summary>
    /// What is remembered of the shards' files, shared by the data sets that a process opens one after another. The
    /// default is that nothing is remembered of earlier ones.
    /// </summary>
    public ShardStamps Stamps { get; init; } = new();
}

/// <summary>
/// A data set in the MDS format with random access from any number of threads. Reading a sample takes two or three
/// small reads. Memory holds 4 bytes per sample of the open shards, and none of the data. A shard whose file changes is
/// verified again if the index has its checksums, and refused otherwise.
/// </summary>
public sealed class MdsDataset : IDisposable
{
    // Of reading a sample whose shard changes meanwhile.
    private const int AttemptsMax = 2;

    private readonly MdsReadOptions _options;
    private readonly IShardFiles? _files;
    private readonly MdsShardCache _shards;
    private readonly long[] _ends;

    /// <summary>
    /// Opens the data set in <paramref name="directory"/>: checks the index and that every shard file exists.
    /// </summary>
    /// <exception cref="RefusedFileException">The index or a shard is refused; the message names the file.</exception>
    public MdsDataset(string directory, MdsReadOptions? options = null)
        : this(directory, null, options ?? new MdsReadOptions())
    {
    }

    /// <summary>Opens a data set whose files are brought here while they are needed.</summary>
    /// <param name="files">The files, which are verified there; the data set disposes them.</param>
    /// <exception cref="RefusedFileException">The index is refused; the message names the file.</exception>
    public MdsDataset(IShardFiles files)
        : this(files.Folder, files, new MdsReadOptions { VerifyHashes = false })
    {
    }

    private MdsDataset(string directory, IShardFiles? files, MdsReadOptions options)
    {
        (_files, _options) = (files, options);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(_options.OpenShardsMax, nameof(options));
        Index = MdsIndex.Read(directory);
        _ends = new long[Index.Shards.Count];
        for (int i = 0; i < _ends.Length; i++)
        {
            Check(Index.Shards[i]);
            _ends[i] = Index.Shards[i].Samples + (i == 0 ? 0 : _ends[i - 1]);
        }

        _shards = new MdsShardCache(Open, _options.OpenShardsMax, _options.ScratchBytesMax);
        files?.BeforeRemoval(_shards.Drop);
        for (int i = 0; i < _ends.Length; i++)
        {
            if (!IsUnchanged(i))
            {
                Open(i).Dispose(); // A shard that was refused before, or has changed since, is refused at once.
            }
        }
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
        using IDisposable? held = _files?.Hold(shard);
        for (int attempt = 1; ; attempt++)
        {
            MdsSample sample = _shards.Use(
                shard, file => new MdsSample(file.Path, number, Index.Columns, file.Read(number, wanted)));
            if (IsUnchanged(shard))
            {
                return sample;
            }

            _shards.Drop(shard); // It is verified again, or refused, when it is opened.
            if (attempt == AttemptsMax)
            {
                throw Changed(PathOf(shard));
            }
        }
    }

    /// <summary>Whether <see cref="Foresee"/> has an effect.</summary>
    public bool IsFetched => _files is not null;

    /// <summary>Sets which shards will be read next, if they must be brought here.</summary>
    public void Foresee(IReadOnlyList<ShardAhead> shards) => _files?.Foresee(shards);

    /// <summary>Closes the shards and frees the scratch space.</summary>
    public void Dispose()
    {
        _shards.Dispose();
        _files?.Dispose();
    }

    /// <summary>Index of the shard that has a sample.</summary>
    public int ShardOf(long index)
    {
        // The first shard that ends after the sample, so empty shards are skipped.
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
        string path = _files is null ? Index.Locate(shard) : Path.Combine(Index.Directory, shard.Stored.Basename);
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

    // A shard that is opened again is verified again only if its file has changed.
    private MdsShardFile Open(int shard)
    {
        MdsShard entry = Index.Shards[shard];
        string path = _files is null ? Index.Locate(entry) : PathOf(shard);
        ShardStamps.Stamp? before = _options.Stamps.Find(Index.Digest, path);
        var now = ShardStamps.Stamp.Of(path);
        bool isVerifiable = _options.VerifyHashes
            && entry.RawData.Hashes.Count + (entry.ZipData?.Hashes.Count ?? 0) > 0;
        if (_files is null && before is not null && before != now && !isVerifiable)
        {
            throw Changed(path);
        }

        MdsShardFile file;
        try
        {
            file = MdsShardFile.Open(Index, entry, isVerifiable && before != now, _options.ScratchDirectory);
        }
        catch (RefusedFileException) when (isVerifiable)
        {
            _options.Stamps.Record(Index.Digest, path, ShardStamps.Stamp.Wrong);
            throw;
        }

        _options.Stamps.Record(Index.Digest, path, now);
        return file;
    }

    // Files that are brought here are checked there.
    private bool IsUnchanged(int shard)
    {
        string path = PathOf(shard);
        return _files is not null || _options.Stamps.Find(Index.Digest, path) is not { } before
            || before == ShardStamps.Stamp.Of(path);
    }

    private string PathOf(int shard) => Path.Combine(Index.Directory, Index.Shards[shard].Stored.Basename);

    private static RefusedFileException Changed(string path) => new(
        path, "file",
        "has changed since it was first read; put the file back as it was, with its modification time, or use the new "
        + "data in a new run.");
}
