// Files of data sets that are in a store, in a folder of bounded size: one folder for each data set, named by the
// digest of its manifest, with the files under their own names. A file is written under another name and renamed, so a
// file that exists is complete. Files of an earlier process are used again after their digest is checked.
using System.Security.Cryptography;
using Atelier.Model.Data.Mds;

namespace Atelier.Model.Data.Caching;

/// <summary>The store in which the files of data sets are.</summary>
public interface IDataStore
{
    /// <summary>Reads a manifest.</summary>
    /// <param name="digest">Its digest.</param>
    /// <param name="cancellation">Cancels the call.</param>
    /// <exception cref="IOException">The store does not have it, or does not answer.</exception>
    Task<DataManifest> ReadManifestAsync(string digest, CancellationToken cancellation);

    /// <summary>Writes the bytes of a file, whose digests the store has checked, to a stream.</summary>
    /// <exception cref="IOException">The store does not have all pieces, or does not answer.</exception>
    Task ReadAsync(DataFile file, Stream destination, CancellationToken cancellation);
}

/// <summary>A cache of the files of data sets. Thread-safe.</summary>
public sealed partial class ShardCache : IDisposable
{
    /// <summary>The result code of an <see cref="IOException"/> of a full disk: ENOSPC.</summary>
    public const int NoSpace = 28;

    private const string LockFile = ".lock";
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly string _folder;
    private readonly long _bytesMax;
    private readonly IDataStore _store;
    private readonly FileStream _lock;
    private readonly CancellationTokenSource _closing = new();
    private readonly SemaphoreSlim _opening = new(1);

    // Guards everything below; waiters are woken when a file was fetched, or is not held anymore.
    private readonly object _gate = new();
    private readonly CachePolicy _policy;
    private readonly List<StoredSet> _open = [];
    private readonly Dictionary<CachedFile, ShardStamps.Stamp> _stamps = [];
    private readonly Dictionary<CachedFile, Exception> _faults = [];

    /// <summary>Opens the cache with the files that earlier processes left in its folder.</summary>
    /// <param name="folder">The folder, which belongs to this cache alone.</param>
    /// <param name="bytesMax">Maximum total length of the shard files.</param>
    /// <param name="store">The store.</param>
    /// <exception cref="IOException">
    /// The folder cannot be used, for example because another process uses it.
    /// </exception>
    public ShardCache(string folder, long bytesMax, IDataStore store)
    {
        (_folder, _bytesMax, _store) = (Path.GetFullPath(folder), bytesMax, store);
        _policy = new CachePolicy(bytesMax);
        Directory.CreateDirectory(_folder, Private | UnixFileMode.UserExecute);
        try
        {
            _lock = new FileStream(
                Path.Combine(_folder, LockFile), FileMode.OpenOrCreate, FileAccess.Write, FileShare.None);
        }
        catch (IOException error)
        {
            throw new RefusedFileException(
                _folder, "folder", $"cannot be used as a cache; another process may use it: {error.Message}", error);
        }

        foreach (FileInfo file in new DirectoryInfo(_folder).GetFiles("*", SearchOption.AllDirectories)
            .OrderBy(file => file.LastWriteTimeUtc))
        {
            string name = Path.GetRelativePath(_folder, file.FullName).Replace('\\', '/');
            if (file.Name.EndsWith(WholeFile.Aside(""), StringComparison.Ordinal))
            {
                file.Delete(); // Left by a process that was killed while fetching.
            }
            else if (name.IndexOf('/') is > 0 and var at && file.Name != MdsIndex.FileName)
            {
                _policy.Add(new CachedFile(name[..at], name[(at + 1)..]), file.Length);
            }
        }
    }

    /// <summary>Opens a data set.</summary>
    /// <param name="digest">Digest of its manifest.</param>
    /// <param name="cancellation">Cancels the reading of manifest and index.</param>
    /// <exception cref="IOException">
    /// The store does not have it or does not answer, it is damaged, or one of its files is larger than the cache.
    /// </exception>
    public async Task<MdsDataset> OpenAsync(string digest, CancellationToken cancellation)
    {
        DataManifest manifest = await _store.ReadManifestAsync(digest, cancellation);
        var set = new StoredSet(this, digest, manifest);
        string index = Path.Combine(set.Folder, MdsIndex.FileName);
        if (manifest.Files.Skip(1).MaxBy(file => file.Length) is { } largest && largest.Length > _bytesMax)
        {
            throw new RefusedFileException(
                set.NameOf(largest.Name), "size",
                $"is {largest.Length} bytes, but the cache has {_bytesMax} (TrainingData:CacheMegabytes); it must hold "
                + "at least one file, and should hold a few dozen.");
        }

        await _opening.WaitAsync(cancellation);
        try
        {
            if (!File.Exists(index) || DigestOf(index) != manifest.Files[0].Sha256)
            {
                await WriteAsync(index, manifest.Files[0], cancellation);
            }
        }
        finally
        {
            _opening.Release();
        }

        set.Match(MdsIndex.Read(set.Folder));
        lock (_gate)
        {
            _open.Add(set);
            _policy.RestoreBytesMax(); // Perhaps the disk is not full anymore.
        }

        try
        {
            return new MdsDataset(set);
        }
        catch
        {
            set.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _closing.Cancel();
        lock (_gate)
        {
            Monitor.PulseAll(_gate);
        }

        _lock.Dispose();
    }

    private Held Hold(StoredSet set, DataFile file)
    {
        var key = new CachedFile(set.Digest, file.Name);
        string path = Path.Combine(set.Folder, file.Name);
        while (true)
        {
            lock (_gate)
            {
                WaitFor(set, key, file);
                _policy.Pin(key);
            }

            // The stamp is unknown if an earlier process fetched the file.
            var now = ShardStamps.Stamp.Of(path);
            lock (_gate)
            {
                if (_stamps.TryGetValue(key, out ShardStamps.Stamp fetched) && fetched == now)
                {
                    return new Held(this, key);
                }
            }

            bool isSound = now.Length == file.Length && DigestOf(path) == file.Sha256;
            lock (_gate)
            {
                if (isSound)
                {
                    _stamps[key] = now;
                    return new Held(this, key);
                }

                // The last of its users removes a file that is damaged; it is fetched again.
                _policy.Unpin(key);
                if (!_policy.IsPinned(key))
                {
                    Delete(key);
                    _policy.Remove(key);
                }

                Monitor.PulseAll(_gate);
            }
        }
    }

    // Null if the file cannot be read; it is fetched again then.
    private static string? DigestOf(string path)
    {
        try
        {
            using FileStream file = File.OpenRead(path);
            return Convert.ToHexStringLower(SHA256.HashData(file));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    // Within the gate, which is left while waiting.
    private void WaitFor(StoredSet set, CachedFile key, DataFile file)
    {
        // An attempt that began before this call, in advance, may fail for a reason that has passed since.
        bool isAsked = false;
        while (!_policy.IsHere(key))
        {
            Exception? fault = null;
            if ((isAsked && _faults.Remove(key, out fault)) || _closing.IsCancellationRequested)
            {
                throw new RefusedFileException(
                    set.NameOf(key.Name), "file", $"cannot be fetched: {fault?.Message ?? "the cache is closed."}",
                    fault);
            }

            if (file.Length > _policy.BytesMax)
            {
                throw new RefusedFileException(
                    set.NameOf(key.Name), "file",
                    $"cannot be fetched, because the disk of {_folder} is full; it needs {file.Length} bytes. Free "
                    + "some space, or set TrainingData:CacheFolder to another disk.");
            }

            if (!_policy.IsComing(key) && _policy.Demand(key, file.Length) is { } removed)
            {
                isAsked = true;
                _faults.Remove(key);
                Start(set, key, file, removed);
                continue;
            }

            Monitor.Wait(_gate);
        }
    }

    private void Start(StoredSet set, CachedFile key, DataFile file, IReadOnlyList<CachedFile> removed)
    {
        foreach (CachedFile one in removed)
        {
            Delete(one);
        }

        _ = Task.Run(() => FetchAsync(set, key, file));
    }

    private async Task FetchAsync(StoredSet set, CachedFile key, DataFile file)
    {
        string path = Path.Combine(set.Folder, file.Name);
        Exception? fault = null;
        try
        {
            await WriteAsync(path, file, _closing.Token);
        }
        catch (Exception error)
        {
            fault = error;
        }

        lock (_gate)
        {
            if (fault is null)
            {
                _stamps[key] = ShardStamps.Stamp.Of(path);
                _policy.Fetched(key);
            }
            else if (fault is IOException { HResult: NoSpace })
            {
                _policy.DiskIsFull(key);
            }
            else
            {
                _policy.Failed(key);
                _faults[key] = fault;
            }

            Advance();
            Monitor.PulseAll(_gate);
        }
    }

    private async Task WriteAsync(string path, DataFile file, CancellationToken cancellation)
    {
        string aside = WholeFile.Aside(path);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!, Private | UnixFileMode.UserExecute);
        try
        {
            var options = new FileStreamOptions
            {
                Mode = FileMode.Create, Access = FileAccess.Write, UnixCreateMode = Private,
                Options = FileOptions.Asynchronous,
            };
            await using (var stream = new FileStream(aside, options))
            {
                await _store.ReadAsync(file, stream, cancellation);
                if (stream.Length != file.Length)
                {
                    throw new InvalidDataException($"{file.Name} has {stream.Length} bytes instead of {file.Length}.");
                }
            }

            File.Move(aside, path, overwrite: true);
        }
        catch
        {
            File.Delete(aside);
            throw;
        }
    }

    // Within the gate. Only open sets have readers.
    private void Advance()
    {
        while (!_closing.IsCancellationRequested && _policy.Advance() is { } next)
        {
            StoredSet set = _open.First(one => one.Digest == next.File.Set);
            Start(set, next.File, set.Find(next.File.Name), next.Removed);
        }
    }

    // Within the gate.
    private void Delete(CachedFile file)
    {
        foreach (StoredSet set in _open.Where(one => one.Digest == file.Set))
        {
            set.Remove(file.Name);
        }

        _stamps.Remove(file);
        string path = Path.Combine(_folder, file.Set, file.Name);
        try
        {
            if (File.Exists(path))
            {
                File.Delete(path);
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // It takes space until it is fetched again or the silo starts again, and the disk may seem full sooner.
        }
    }

    private sealed class Held(ShardCache cache, CachedFile file) : IDisposable
    {
        private bool _isDisposed;

        public void Dispose()
        {
            lock (cache._gate)
            {
                if (!_isDisposed)
                {
                    _isDisposed = true;
                    cache._policy.Unpin(file);
                    Monitor.PulseAll(cache._gate);
                }
            }
        }
    }
}
