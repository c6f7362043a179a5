// Options of the store of a cluster on one machine.
using Atelier.Configuration;

namespace Atelier.Silo.Store;

/// <summary>The store of a cluster on one machine, where no Redis is named.</summary>
[Section("Store")]
public sealed class SqliteStoreOptions
{
    /// <summary>Gets or sets the folder of the database. All silos of the cluster, and they alone, use it.</summary>
    /// <value>The default is "atelier-data/store".</value>
    [ClusterWide]
    public string Folder { get; set; } = "atelier-data/store";

    /// <summary>Gets or sets the cluster's name, which separates its states from other clusters'.</summary>
    /// <remarks>What was stored under another name is not read; a folder belongs to one cluster.</remarks>
    /// <value>The default is "atelier".</value>
    [Key("Cluster:Id"), ClusterWide]
    public string ClusterId { get; set; } = "atelier";

    /// <summary>Gets or sets the memory for the database's pages. The key is in MiB.</summary>
    /// <remarks>What does not fit is read from disk again; it bounds memory, never what is stored.</remarks>
    /// <value>The default is 128.</value>
    [Key("Store:MemoryMegabytes", Unit = 1 << 20)]
    [Bounds(1, 1 << 20)]
    public long MemoryBytes { get; set; } = 128L << 20;

    /// <summary>Gets or sets the most writes that may wait; one more is refused.</summary>
    /// <value>The default is 10,000.</value>
    [Bounds(1, 10_000_000)]
    public int PendingMax { get; set; } = 10_000;

    /// <summary>Gets or sets how long a write waits for another silo's transaction.</summary>
    /// <remarks>It must be less than a heartbeat may take before the store counts as one that hangs.</remarks>
    /// <value>The default is 1 second.</value>
    [Bounds("00:00:00.001", "00:01:00")]
    public TimeSpan BusyTimeout { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Gets or sets the free space of the disk below which new work is refused; writes for work that was accepted may
    /// use it. The key is in MiB.
    /// </summary>
    /// <remarks>A disk smaller than 16 times this keeps a sixteenth of itself instead.</remarks>
    /// <value>The default is 256.</value>
    [Key("Store:ReserveMegabytes", Unit = 1 << 20)]
    [Bounds(0, 1 << 20)]
    public long ReserveBytes { get; set; } = 256L << 20;

    /// <summary>
    /// Gets or sets the size of the write-ahead log beyond which the writer waits for readers, to empty it. The key
    /// is in MiB.
    /// </summary>
    /// <value>The default is 64.</value>
    [Key("Store:LogMegabytesMax", Unit = 1 << 20)]
    [Bounds(0, 1 << 20)]
    public long LogBytesMax { get; set; } = 64L << 20;
}

/// <summary>Checks the store's options.</summary>
internal sealed class SqliteStoreOptionsValidator : OptionsValidator<SqliteStoreOptions>
{
    public override IEnumerable<string> Warnings(SqliteStoreOptions options)
    {
        if (options.ReserveBytes == 0)
        {
            yield return $"{Key(nameof(options.ReserveBytes))} is 0: when the disk is full, work that was accepted "
                + "stops too.";
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
