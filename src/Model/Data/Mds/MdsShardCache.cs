namespace Atelier.Model.Data.Mds;

/// <summary>
/// An LRU cache of open shards. Shards in use always stay open. Among the other shards, the least recently used are
/// closed until both limits hold again.
/// </summary>
/// <param name="open">Opens a shard by number.</param>
/// <param name="shardsMax">Maximum number of open shards.</param>
/// <param name="scratchBytesMax">Maximum total bytes of the open shards' expanded files.</param>
internal sealed class MdsShardCache(Func<int, MdsShardFile> open, int shardsMax, long scratchBytesMax) : IDisposable
{
    private readonly Dictionary<int, Entry> _entries = [];
    private long _turn;

    /// <summary>
    /// Runs <paramref name="use"/> with a shard that stays open until it returns. Safe for concurrent use.
    /// </summary>
    public T Use<T>(int shard, Func<MdsShardFile, T> use)
    {
        var entry = Take(shard);
        try
        {
            // The first user opens the shard, and only users of the same shard wait until it is open.
            lock (entry.Opening)
            {
                entry.File ??= open(shard);
            }

            return use(entry.File);
        }
        finally
        {
            Release(entry);
        }
    }

    /// <summary>Closes a shard as soon as nobody uses it, so that its next user opens it again.</summary>
    public void Drop(int shard)
    {
        lock (_entries)
        {
            if (_entries.Remove(shard, out Entry? entry))
            {
                entry.IsDropped = true;
                if (entry.Users == 0)
                {
                    entry.File?.Dispose();
                }
            }
        }
    }

    public void Dispose()
    {
        foreach (var entry in _entries.Values)
        {
            entry.File?.Dispose();
        }
    }

    private Entry Take(int shard)
    {
        lock (_entries)
        {
            if (!_entries.TryGetValue(shard, out var entry))
            {
                _entries.Add(shard, entry = new Entry(shard));
            }

            entry.Users++;
            entry.LastTurn = ++_turn;
            return entry;
        }
    }

    private void Release(Entry entry)
    {
        lock (_entries)
        {
            entry.Users--;
            if (entry is { IsDropped: true, Users: 0 })
            {
                entry.File?.Dispose();
            }

            while (_entries.Count > shardsMax || _entries.Values.Sum(e => e.File?.ScratchBytes ?? 0) > scratchBytesMax)
            {
                var oldest = _entries.Values.Where(e => e.Users == 0).MinBy(e => e.LastTurn);
                if (oldest is null)
                {
                    return;
                }

                _entries.Remove(oldest.Shard);
                oldest.File?.Dispose();
            }
        }
    }

    private sealed class Entry(int shard)
    {
        public int Shard { get; } = shard;

        public Lock Opening { get; } = new();

        public MdsShardFile? File { get; set; }

        public int Users { get; set; }

        public bool IsDropped { get; set; }

        public long LastTurn { get; set; }
    }
}
