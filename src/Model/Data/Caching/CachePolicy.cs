// What a bounded cache of files holds, as a pure decision: no files, no clock, no threads.
namespace Atelier.Model.Data.Caching;

/// <summary>A file of a data set.</summary>
/// <param name="Set">Digest of the data set's manifest.</param>
/// <param name="Name">Name of the file in the data set.</param>
public readonly record struct CachedFile(string Set, string Name);

/// <summary>A file that a reader will read.</summary>
/// <param name="File">The file.</param>
/// <param name="Bytes">Length of the file.</param>
/// <param name="Distance">How much the reader reads before it, in samples.</param>
public readonly record struct FileAhead(CachedFile File, long Bytes, long Distance);

/// <summary>
/// Decides which files a cache fetches and which it removes for them. A file that is demanded replaces those whose next
/// use is the farthest (Belady 1966); a file that is fetched in advance only replaces files that are used after it.
/// Files whose next use is not known come first, the least recently used one before the others. Not thread-safe.
/// </summary>
public sealed class CachePolicy
{
    /// <summary>Maximum number of files that are fetched at the same time in advance.</summary>
    public const int FetchesMax = 2;

    private readonly Dictionary<CachedFile, Entry> _entries = [];
    private readonly Dictionary<object, FileAhead[]> _ahead = [];
    private readonly HashSet<CachedFile> _failed = [];
    private readonly long _bytesMax;
    private long _turn;

    /// <summary>Creates the policy of an empty cache.</summary>
    /// <param name="bytesMax">Maximum total length of all files, including those that are being fetched.</param>
    public CachePolicy(long bytesMax) => _bytesMax = BytesMax = bytesMax;

    /// <summary>Maximum total length of all files.</summary>
    public long BytesMax { get; private set; }

    /// <summary>Total length of the files that are here or being fetched.</summary>
    public long Bytes { get; private set; }

    /// <summary>Whether a file is here.</summary>
    public bool IsHere(CachedFile file) => _entries.TryGetValue(file, out Entry? entry) && entry.IsHere;

    /// <summary>Whether a file is being fetched.</summary>
    public bool IsComing(CachedFile file) => _entries.TryGetValue(file, out Entry? entry) && !entry.IsHere;

    /// <summary>Records a file that is here already, for example since an earlier process.</summary>
    public void Add(CachedFile file, long bytes) => AddEntry(file, bytes, isHere: true);

    /// <summary>Sets what a reader will read next, the nearest first.</summary>
    public void Foresee(object reader, IEnumerable<FileAhead> files) => _ahead[reader] = [.. files];

    /// <summary>Removes a reader.</summary>
    public void Forget(object reader) => _ahead.Remove(reader);

    /// <summary>Keeps a file that is here until <see cref="Unpin"/>.</summary>
    public void Pin(CachedFile file)
    {
        Entry entry = _entries[file];
        (entry.Users, entry.LastTurn) = (entry.Users + 1, ++_turn);
    }

    /// <summary>Whether a file is pinned.</summary>
    public bool IsPinned(CachedFile file) => _entries.TryGetValue(file, out Entry? entry) && entry.Users > 0;

    /// <summary>Ends a <see cref="Pin"/>.</summary>
    public void Unpin(CachedFile file) => _entries[file].Users--;

    /// <summary>Makes room for a file that a reader waits for, and records it as being fetched.</summary>
    /// <returns>The files to remove; null if there can be no room now, and nothing has changed.</returns>
    public IReadOnlyList<CachedFile>? Demand(CachedFile file, long bytes) => Admit(file, bytes, -1);

    /// <summary>Removes a file that could not be fetched. It is not fetched in advance until it was demanded.</summary>
    public void Failed(CachedFile file)
    {
        Remove(file);
        _failed.Add(file);
    }

    /// <summary>
    /// The next file to fetch in advance, which is recorded as being fetched, and the files to remove.
    /// </summary>
    /// <returns>Null if there is none now.</returns>
    public (CachedFile File, IReadOnlyList<CachedFile> Removed)? Advance()
    {
        if (_entries.Values.Count(entry => !entry.IsHere) >= FetchesMax)
        {
            return null;
        }

        FileAhead? next = _ahead.Values.SelectMany(files => files)
            .Where(one => !_entries.ContainsKey(one.File) && !_failed.Contains(one.File))
            .Select(one => (FileAhead?)one).MinBy(one => one!.Value.Distance);
        return next is { } ahead && Admit(ahead.File, ahead.Bytes, ahead.Distance) is { } removed
            ? (ahead.File, removed) : null;
    }

    /// <summary>Records that a file was fetched.</summary>
    public void Fetched(CachedFile file)
    {
        Entry entry = _entries[file];
        (entry.IsHere, entry.LastTurn) = (true, ++_turn);
        _failed.Remove(file);
    }

    /// <summary>Removes a file that is not valid anymore.</summary>
    public void Remove(CachedFile file)
    {
        if (_entries.Remove(file, out Entry? entry))
        {
            Bytes -= entry.Bytes;
        }
    }

    /// <summary>
    /// Records that the disk was full when a file was fetched, which is removed: from now on no more is kept than is
    /// here.
    /// </summary>
    public void DiskIsFull(CachedFile file)
    {
        Remove(file);
        BytesMax = Math.Min(BytesMax, Bytes);
    }

    /// <summary>Ends what <see cref="DiskIsFull"/> began.</summary>
    public void RestoreBytesMax() => BytesMax = _bytesMax;

    private List<CachedFile>? Admit(CachedFile file, long bytes, long distance)
    {
        long missing = Bytes + bytes - BytesMax;
        var removed = new List<CachedFile>();
        if (missing > 0)
        {
            Dictionary<CachedFile, long> next = NextUses();
            foreach ((CachedFile other, Entry entry) in _entries
                .Where(one => one.Value is { IsHere: true, Users: 0 } && NextUse(one.Key) > distance)
                .OrderByDescending(one => NextUse(one.Key)).ThenBy(one => one.Value.LastTurn))
            {
                removed.Add(other);
                if ((missing -= entry.Bytes) <= 0)
                {
                    break;
                }
            }

            if (missing > 0)
            {
                return null;
            }

            long NextUse(CachedFile one) => next.GetValueOrDefault(one, long.MaxValue);
        }

        removed.ForEach(Remove);
        AddEntry(file, bytes, isHere: false);
        return removed;
    }

    private Dictionary<CachedFile, long> NextUses()
    {
        var next = new Dictionary<CachedFile, long>();
        foreach (FileAhead one in _ahead.Values.SelectMany(files => files))
        {
            next[one.File] = Math.Min(one.Distance, next.GetValueOrDefault(one.File, long.MaxValue));
        }

        return next;
    }

    private void AddEntry(CachedFile file, long bytes, bool isHere)
    {
        _entries.Add(file, new Entry(bytes) { IsHere = isHere, LastTurn = ++_turn });
        Bytes += bytes;
    }

    private sealed class Entry(long bytes)
    {
        public long Bytes { get; } = bytes;

        public bool IsHere { get; set; }

        public int Users { get; set; }

        public long LastTurn { get; set; }
    }
}
