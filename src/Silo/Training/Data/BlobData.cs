// Training data in the blob store: reads pieces of files, and tries again when the store fails.
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Model.Data.Caching;
using Atelier.Model.Data.Mds;

namespace Atelier.Silo.Training.Data;

/// <summary>Reads data sets from the blob store.</summary>
/// <param name="blobs">The store, which checks digests.</param>
/// <param name="timeout">The time for which a piece is tried again.</param>
/// <param name="clock">Source of time.</param>
internal sealed class BlobData(IBlobStore blobs, TimeSpan timeout, TimeProvider clock) : IDataStore
{
    private static readonly TimeSpan s_pauseMin = TimeSpan.FromMilliseconds(100), s_pauseMax = TimeSpan.FromSeconds(10);

    /// <inheritdoc/>
    public async Task<DataManifest> ReadManifestAsync(string digest, CancellationToken cancellation)
    {
        using var bytes = new MemoryStream();
        await ReadPieceAsync(digest, bytes, cancellation);
        return DataManifest.Parse(bytes.GetBuffer().AsSpan(0, (int)bytes.Length), DataManifest.Scheme + digest);
    }

    /// <inheritdoc/>
    public async Task ReadAsync(DataFile file, Stream destination, CancellationToken cancellation)
    {
        foreach (DataPiece piece in file.Pieces)
        {
            await ReadPieceAsync(piece.Sha256, destination, cancellation);
        }
    }

    private async Task ReadPieceAsync(string digest, Stream destination, CancellationToken cancellation)
    {
        BlobName name = BlobName.OfCluster(BlobKind.Data, digest);
        long begun = clock.GetTimestamp(), at = destination.Position;
        for (TimeSpan pause = s_pauseMin; ; pause = pause * 2 < s_pauseMax ? pause * 2 : s_pauseMax)
        {
            BlobContent? content;
            try
            {
                content = await blobs.OpenAsync(name, default, cancellation);
                if (content is not null)
                {
                    await using (content)
                    {
                        await content.Stream.CopyToAsync(destination, cancellation);
                        return;
                    }
                }
            }
            catch (Exception error) when (error is IOException or InvalidDataException
                && !IsOfDestination(error) && clock.GetElapsedTime(begun) < timeout)
            {
                await Task.Delay(pause, clock, cancellation);
                destination.SetLength(at);
                destination.Position = at;
                continue;
            }

            throw new FileNotFoundException($"the store has no blob {name}; upload the data again.");
        }
    }

    // A full disk does not become free by trying again.
    private static bool IsOfDestination(Exception error) => error is IOException { HResult: ShardCache.NoSpace };
}

/// <summary>Data sets in folders that this silo sees, and in the blob store.</summary>
/// <param name="silo">Name of the silo.</param>
/// <param name="options">Options of the cache.</param>
/// <param name="blobs">The store.</param>
/// <param name="clock">Source of time.</param>
internal sealed class SiloDataSets(string silo, TrainingDataOptions options, IBlobStore blobs, TimeProvider clock)
    : IDataSets, IDisposable
{
    private readonly FolderDataSets _folders = new(new ShardStamps());
    private readonly Lock _opening = new();
    private ShardCache? _cache;

    /// <inheritdoc/>
    public Task<MdsDataset> OpenAsync(string entry, CancellationToken cancellation)
    {
        if (DataManifest.DigestIn(entry) is not { } digest)
        {
            return _folders.OpenAsync(entry, cancellation);
        }

        lock (_opening)
        {
            _cache ??= new ShardCache(
                Path.Combine(options.CacheFolder, silo), options.CacheBytes,
                new BlobData(blobs, options.FetchTimeout, clock));
        }

        return _cache.OpenAsync(digest, cancellation);
    }

    /// <inheritdoc/>
    public void Dispose() => _cache?.Dispose();
}
