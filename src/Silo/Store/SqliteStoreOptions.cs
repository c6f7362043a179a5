// The options of the store of a cluster on one machine.
using Atelier.Configuration;

namespace Atelier.Silo.Store;

/// <summary>The store of a cluster on one machine, used without Redis.</summary>
[Section("Store")]
public sealed class SqliteStoreOptions
{
    /// <summary>
    /// Gets or sets the folder of the database, used by all silos of the cluster and by nothing else.
    /// </summary>
    /// <value>The default is "atelier-data/store".</value>
    [ClusterWide]
    public string Folder { get; set; } = "atelier-data/store";

    /// <summary>Gets or sets the cluster's name, which separates its states from those of other clusters.</summary>
    /// <remarks>A folder belongs to one cluster; a store that was created under another name is refused.</remarks>
    /// <value>The default is "atelier".</value>
    [Key("Cluster:Id"), ClusterWide]
    public string ClusterId { get; set; } = "atelier";

    /// <summary>Gets or sets the memory for the database's pages. The key is in MiB.</summary>
    /// <remarks>It bounds memory, not the stored data; pages that do not fit are read from disk again.</remarks>
    /// <value>The default is 128.</value>
    [Key("Store:MemoryMegabytes", Unit = 1 << 20)]
    [Bounds(1, 1 << 20)]
    public long MemoryBytes { get; set; } = 128L << 20;

    /// <summary>Gets or sets the maximum number of waiting writes; further writes are refused.</summary>
    /// <value>The default is 10,000.</value>
    [Bounds(1, 10_000_000)]
    public int PendingMax { get; set; } = 10_000;

    /// <summary>Gets or sets how long a write waits for another silo's transaction.</summary>
    /// <remarks>It must be less than the time after which a heartbeat counts as hanging.</remarks>
    /// <value>The default is 1 second.</value>
    [Bounds("00:00:00.001", "00:01:00")]
    public TimeSpan BusyTimeout { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Gets or sets the free space of the disk below which new work is refused; writes for accepted work may use it.
    /// The key is in MiB.
    /// </summary>
    /// <remarks>On a disk smaller than 16 times this value, the reserve is a sixteenth of the disk.</remarks>
    /// <value>The default is 256.</value>
    [Key("Store:ReserveMegabytes", Unit = 1 << 20)]
    [Bounds(0, 1 << 20)]
    public long ReserveBytes { get; set; } = 256L << 20;

    /// <summary>
    /// Gets or sets the size of the write-ahead log beyond which the writer waits for readers to truncate it. The key
    /// is in MiB.
    /// </summary>
    /// <value>The default is 64.</value>
    [Key("Store:LogMegabytesMax", Unit = 1 << 20)]
    [Bounds(0, 1 << 20)]
    public long LogBytesMax { get; set; } = 64L << 20;
}

/// <summary>Validates the store's options.</summary>
internal sealed class SqliteStoreOptionsValidator : OptionsValidator<SqliteStoreOptions>
{
    public override IEnumerable<string> Warnings(SqliteStoreOptions options)
    {
        if (options.ReserveBytes == 0)
        {
            yield return $"{Key(nameof(options.ReserveBytes))} is 0: when the disk is full, work that was already "
                + "accepted stops too.";
        }
    }

    protected override IEnumerable<string> Faults(SqliteStoreOptions options)
    {
        if (string.IsNullOrWhiteSpace(options.Folder))
        {
            yield return $"{Key(nameof(options.Folder))} must be the path of a folder.";
        }
    }
}
