// The store of a cluster on one machine: Garnet in the silo's process, on the loopback address, behind a password. A
// write is on disk before it is answered; when the log is long enough, a checkpoint takes its place.
using System.Security.Cryptography;
using Garnet;

namespace Atelier.Silo.Hosting;

/// <summary>A Garnet server in this process.</summary>
internal sealed class EmbeddedStore : IDisposable
{
    private const string PasswordFile = "password";

    private const string LockFile = "lock";

    private readonly FileStream _lock;
    private readonly GarnetServer _server;

    /// <summary>Starts the server on what its folder holds.</summary>
    /// <exception cref="IOException">The folder cannot be used, or another process uses it.</exception>
    public EmbeddedStore(SiloSettings settings)
    {
        string folder = Path.GetFullPath(settings.StoreFolder);
        Directory.CreateDirectory(folder);

        // Two servers on one folder would write over each other. The lock goes with the process, however it ends.
        _lock = new FileStream(Path.Combine(folder, LockFile), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        Password = ReadOrMakePassword(Path.Combine(folder, PasswordFile));
        _server = new GarnetServer(
        [
            "--bind", "127.0.0.1", "--port", $"{settings.StorePort}",
            "--auth", "Password", "--password", Password,
            "--device-type", "RandomAccess", "--checkpointdir", folder, "--recover", "true",
            "--aof", "true", "--aof-commit-freq", "0", "--aof-commit-wait", "true",
            "--aof-size-limit", $"{settings.StoreLogMegabytesMax}m", "--aof-memory", "32m", "--aof-segment-size", "16m", "--aof-page-size", "8m", "--page", "4m", "--memory", "512m", "--index", "16m",
            "--lua", "true", "--lua-transaction-mode", "true", "--logger-level", "Warning", "-q", "--fail-on-recovery-error", "true",
        ]);
        _server.Start();
    }

    /// <summary>Gets the password, which lies in the folder for this machine's user alone.</summary>
    public string Password { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        _server.Dispose();
        _lock.Dispose();
    }

    private static string ReadOrMakePassword(string path)
    {
        if (!File.Exists(path))
        {
            var options = new FileStreamOptions
            {
                Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            };
            using var writer = new StreamWriter(path, options);
            writer.Write(RandomNumberGenerator.GetHexString(64, lowercase: true));
        }

        return File.ReadAllText(path);
    }
}
