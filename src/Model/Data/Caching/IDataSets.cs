// The data sets that a configuration names.
using Atelier.Model.Data.Mds;

namespace Atelier.Model.Data.Caching;

/// <summary>Opens data sets by what a configuration names them.</summary>
public interface IDataSets
{
    /// <summary>Opens a data set.</summary>
    /// <param name="entry">A folder, or "blob:" and the digest of a manifest.</param>
    /// <param name="cancellation">Cancels the opening.</param>
    /// <exception cref="IOException">The data set is missing or damaged, or a store does not answer.</exception>
    Task<MdsDataset> OpenAsync(string entry, CancellationToken cancellation);
}

/// <summary>Data sets in folders.</summary>
/// <param name="stamps">What this process remembers of shard files; null for nothing.</param>
public sealed class FolderDataSets(ShardStamps? stamps = null) : IDataSets
{
    private readonly MdsReadOptions _options = new() { Stamps = stamps ?? new ShardStamps() };

    /// <summary>Opens a data set in a folder.</summary>
    /// <exception cref="RefusedFileException">It is missing or damaged, or is not in a folder.</exception>
    public MdsDataset Open(string entry) => DataManifest.DigestIn(entry) is null
        ? new MdsDataset(entry, _options)
        : throw new RefusedFileException(
            entry, "dataset.train.datadir",
            "is in the store of a cluster, where `atelier runs submit` trains with it; `atelier train` needs a "
            + "folder.");

    /// <inheritdoc/>
    public Task<MdsDataset> OpenAsync(string entry, CancellationToken cancellation) => Task.FromResult(Open(entry));
}
