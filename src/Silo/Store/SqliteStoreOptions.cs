// What can be set about the store of a cluster on one machine.
namespace Atelier.Silo.Store;

/// <summary>How the store of a cluster on one machine behaves.</summary>
public sealed class SqliteStoreOptions
{
    /// <summary>Gets or sets the folder of the database. All silos of the cluster, and they alone, use it.</summary>
    public required string Folder { get; set; }

    /// <summary>Gets or sets the cluster's name. A folder belongs to one cluster.</summary>
    /// <value>The default is "atelier".</value>
    public string ClusterId { get; set; } = "atelier";

    /// <summary>Gets or sets the memory for the database's pages, in bytes.</summary>
    /// <remarks>What does not fit is read from disk again; it bounds memory, never what is stored.</remarks>
    /// <value>The default is 128 MiB.</value>
    public long MemoryBytes { get; set; } = 128L << 20;

    /// <summary>Gets or sets the most writes that may wait; one more is refused.</summary>
    /// <value>The default is 10,000.</value>
    public int PendingMax { get; set; } = 10_000;

    /// <summary>Gets or sets how long a write waits for another silo's transaction.</summary>
    /// <value>
    /// The default is 1 second: less than a heartbeat may take before the store counts as one that hangs.
    /// </value>
    public TimeSpan BusyTimeout { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Gets or sets the free space of the disk, in bytes, below which new work is refused; writes for work that was
    /// accepted may use it.
    /// </summary>
    /// <remarks>A disk smaller than 16 times this keeps a sixteenth of itself instead.</remarks>
    /// <value>The default is 256 MiB.</value>
    public long ReserveBytes { get; set; } = 256L << 20;

    /// <summary>
    /// Gets or sets the size of the write-ahead log, in bytes, beyond which the writer waits for readers, to empty it.
    /// </summary>
    /// <value>The default is 64 MiB.</value>
    public long LogBytesMax { get; set; } = 64L << 20;

    /// <summary>What is wrong with these options, as a sentence; null if nothing is.</summary>
    public string? Fault() => this switch
    {
        _ when string.IsNullOrWhiteSpace(Folder) => $"{nameof(Folder)} must name a folder.",
        { MemoryBytes: < 1 << 20 } => $"{nameof(MemoryBytes)} must be at least 1 MiB, not {MemoryBytes}.",
        { PendingMax: < 1 } => $"{nameof(PendingMax)} must be at least 1, not {PendingMax}.",
        { LogBytesMax: < 0 } => $"{nameof(LogBytesMax)} must not be negative.",
        { ReserveBytes: < 0 } => $"{nameof(ReserveBytes)} must not be negative.",
        _ when BusyTimeout <= TimeSpan.Zero => $"{nameof(BusyTimeout)} must be positive.",
        _ => null,
    };
}
