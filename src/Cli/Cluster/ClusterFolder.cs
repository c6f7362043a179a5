// The data folder of a cluster on this machine: store/ (grain state), blobs/ (pictures and intermediate data), logs/,
// and cluster.json (secrets and ports).
using Atelier.ServiceDefaults;

namespace Atelier.Cli.Cluster;

/// <summary>A data folder. The process that holds its lock runs its cluster.</summary>
internal sealed class ClusterFolder : IDisposable
{
    private const string LockFile = "lock";

    private readonly FileStream _lock;

    private ClusterFolder(string path, FileStream held) => (Path, _lock) = (path, held);

    /// <summary>The default folder, which belongs to the user and not to a checkout.</summary>
    public static string Default =>
        Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData) is { Length: > 0 } data
            ? System.IO.Path.Combine(data, "atelier")
            : "atelier-data";

    /// <summary>Its full path.</summary>
    public string Path { get; }

    /// <summary>Folder of the grains' state.</summary>
    public string Store => System.IO.Path.Combine(Path, "store");

    /// <summary>Folder of pictures, caption features, latents and snapshots.</summary>
    public string Blobs => System.IO.Path.Combine(Path, "blobs");

    /// <summary>Folder of cached training data.</summary>
    public string TrainingData => System.IO.Path.Combine(Path, "training");

    /// <summary>Folder of the silos' copies of published models.</summary>
    public string Models => System.IO.Path.Combine(Path, "models");

    /// <summary>Folder of the processes' logs.</summary>
    public string Logs => System.IO.Path.Combine(Path, "logs");

    /// <summary>
    /// Creates the folder, accessible only to this user, if it is missing, and locks it until this object is disposed.
    /// In an existing folder, the cluster's files are closed to other users; the permissions of the folder itself are
    /// not changed.
    /// </summary>
    /// <param name="path">The folder.</param>
    /// <param name="warn">Receives warnings about files that other users may still read or replace.</param>
    /// <exception cref="UserErrorException">Another process holds the lock, or the folder cannot be used.</exception>
    public static ClusterFolder Open(string path, Action<string> warn)
    {
        string full = System.IO.Path.GetFullPath(path);
        if (File.Exists(full))
        {
            throw new UserErrorException($"--data is \"{path}\", which is a file; it must be a folder.");
        }

        try
        {
            Directory.CreateDirectory(full, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new UserErrorException($"--data is \"{path}\", but the folder cannot be created: {error.Message}");
        }

        // The lock is an flock, which the system releases however the process ends.
        if (TryLock(System.IO.Path.Combine(full, LockFile)) is not { } held)
        {
            string where = ClusterFile.Read(full)?.Url is { } url ? $", at {url}" : "";
            throw new UserErrorException(
                $"A cluster is already running on {full}{where}. Stop it first, or use another folder with --data.");
        }

        var folder = new ClusterFolder(full, held);
        folder.Close(warn);
        return folder;
    }

    /// <summary>Waits until the store is free: a silo whose `up` was killed may still be draining.</summary>
    /// <exception cref="UserErrorException">The store is still in use after the timeout.</exception>
    public async Task WaitForStoreAsync(
        TimeSpan patience, Action<string> say, TimeProvider clock, CancellationToken cancellation)
    {
        string file = System.IO.Path.Combine(Store, LockFile);
        long start = clock.GetTimestamp();
        bool said = false;
        while (File.Exists(file))
        {
            if (TryLock(file) is { } held)
            {
                await held.DisposeAsync();
                return;
            }

            if (clock.GetElapsedTime(start) > patience)
            {
                throw new UserErrorException(
                    $"Another process is using the store in {Store} and does not exit. Stop it first.");
            }

            if (!said)
            {
                say("a silo of an earlier run is still stopping; waiting for it");
                said = true;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(200), clock, cancellation);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _lock.Dispose();

    private void Close(Action<string> warn)
    {
        try
        {
            string[] warnings =
            [
                .. PrivateFiles.Intruders(Path), .. PrivateFiles.CloseFiles(Path, LockFile, ClusterFile.FileName),
                .. PrivateFiles.MakeFolder(Store), .. PrivateFiles.MakeFolder(Blobs),
                .. PrivateFiles.MakeFolder(Models), .. PrivateFiles.MakeFolder(Logs),
            ];
            Array.ForEach(warnings, warn);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            Dispose();
            throw new UserErrorException($"--data is \"{Path}\", but the folder cannot be used: {error.Message}");
        }
    }

    private static FileStream? TryLock(string file)
    {
        try
        {
            return new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException)
        {
            return null;
        }
    }
}
