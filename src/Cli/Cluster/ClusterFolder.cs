// Where a cluster on this machine keeps what it is: store/ and blobs/ (all that was accepted and drawn), logs/, and
// cluster.json (secrets and ports).
using Atelier.ServiceDefaults;

namespace Atelier.Cli.Cluster;

/// <summary>A data folder. Whoever holds it open is the one who runs its cluster.</summary>
internal sealed class ClusterFolder : IDisposable
{
    private const string LockFile = "lock";

    private readonly FileStream _lock;

    private ClusterFolder(string path, FileStream held) => (Path, _lock) = (path, held);

    /// <summary>The folder where no other is named: it belongs to the user, not to a checkout.</summary>
    public static string Default =>
        Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData) is { Length: > 0 } data
            ? System.IO.Path.Combine(data, "atelier")
            : "atelier-data";

    /// <summary>Its full path.</summary>
    public string Path { get; }

    /// <summary>What grains remember.</summary>
    public string Store => System.IO.Path.Combine(Path, "store");

    /// <summary>Pictures, and what they are made from.</summary>
    public string Blobs => System.IO.Path.Combine(Path, "blobs");

    /// <summary>What the processes say.</summary>
    public string Logs => System.IO.Path.Combine(Path, "logs");

    /// <summary>
    /// Makes the folder if it is not there, for this user alone, and holds it until it is disposed. Of one that is
    /// there, all that a cluster keeps in it is closed for other users; its own rights are left as they are.
    /// </summary>
    /// <param name="path">The folder.</param>
    /// <param name="warn">Told what other users may still read or replace.</param>
    /// <exception cref="UserErrorException">Another process holds it, or it cannot be used.</exception>
    public static ClusterFolder Open(string path, Action<string> warn)
    {
        string full = System.IO.Path.GetFullPath(path);
        if (File.Exists(full))
        {
            throw new UserErrorException($"--data is \"{path}\", which is a file; name a folder.");
        }

        try
        {
            Directory.CreateDirectory(full, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new UserErrorException($"--data is \"{path}\", but that folder cannot be made: {error.Message}");
        }

        // An flock: the system drops it when the process ends, however it ends.
        if (TryHold(System.IO.Path.Combine(full, LockFile)) is not { } held)
        {
            string where = ClusterFile.Read(full)?.Url is { } url ? $", at {url}" : "";
            throw new UserErrorException(
                $"A cluster runs on {full} already{where}. Stop it first, or name another folder with --data.");
        }

        var folder = new ClusterFolder(full, held);
        folder.Close(warn);
        return folder;
    }

    /// <summary>
    /// Waits until the store is free: a silo whose `up` was killed may still be putting its work back.
    /// </summary>
    /// <exception cref="UserErrorException">It is still held after the patience.</exception>
    public async Task WaitForStoreAsync(
        TimeSpan patience, Action<string> say, TimeProvider clock, CancellationToken cancellation)
    {
        string file = System.IO.Path.Combine(Store, LockFile);
        long start = clock.GetTimestamp();
        bool said = false;
        while (File.Exists(file))
        {
            if (TryHold(file) is { } held)
            {
                await held.DisposeAsync();
                return;
            }

            if (clock.GetElapsedTime(start) > patience)
            {
                throw new UserErrorException(
                    $"Another process uses the store in {Store}, and does not end. Stop it first.");
            }

            if (!said)
            {
                say("a silo of an earlier run is still ending; waiting for it");
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
                .. PrivateFiles.MakeFolder(Store), .. PrivateFiles.MakeFolder(Blobs), .. PrivateFiles.MakeFolder(Logs),
            ];
            Array.ForEach(warnings, warn);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            Dispose();
            throw new UserErrorException($"--data is \"{Path}\", but that folder cannot be used: {error.Message}");
        }
    }

    private static FileStream? TryHold(string file)
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
