// Upgrade of a store of format 0. The release that wrote it kept states in Garnet, whose log and checkpoints are in the
// same folder. The states are imported once, in one transaction; then the old files are moved aside, in case they are
// needed. Members and reminders are not imported: silos join again, and partitions of the open set register their
// reminders when they start.
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Garnet;
using StackExchange.Redis;

namespace Atelier.Silo.Store;

/// <summary>Imports the states of a store of format 0.</summary>
internal static class GarnetImport
{
    /// <summary>The folder beside the database to which the old files are moved.</summary>
    public const string AsideFolder = "format0";

    private const string UpgradeLockFile = "upgrade.lock";
    private const string Imported = "imported";
    private const int TriesMax = 1200; // Two minutes.

    // Files of a store of format 0. Garnet runs with a temporary password during the import.
    private static readonly string[] s_files = ["Store", "cpr-checkpoints", "password", "AOF"];

    /// <summary>Imports a store of format 0, if the folder has one that was not imported yet.</summary>
    /// <returns>The number of states that were imported.</returns>
    /// <exception cref="ArgumentException">The store in the folder belongs to another cluster.</exception>
    public static async Task<int> RunAsync(SqliteStore store, string folder, string cluster)
    {
        if (!Directory.Exists(Path.Combine(folder, "AOF")))
        {
            return 0;
        }

        int count = 0;
        if (await store.ReadAsync(session => session.Value("SELECT value FROM meta WHERE name = $0", Imported)) is null)
        {
            List<(string Grain, string Name, string? Tenant, string ETag, byte[] Data)> states = await ReadAsync(
                folder, cluster);
            count = await store.WriteAsync(session =>
            {
                foreach ((string grain, string name, string? tenant, string etag, byte[] data) in states)
                {
                    session.Execute(
                        "INSERT INTO state (grain, name, tenant, etag, data) VALUES ($0, $1, $2, $3, $4)",
                        grain, name, tenant, etag, data);
                }

                session.Execute("INSERT INTO meta VALUES ($0, $1)", Imported, $"{states.Count}");
                return states.Count;
            });
        }

        string aside = Path.Combine(folder, AsideFolder);
        Directory.CreateDirectory(aside);
        foreach (string name in s_files.Where(name => Path.Exists(Path.Combine(folder, name))))
        {
            // The log is moved last, because its presence means that there is something to import.
            Directory.Move(Path.Combine(folder, name), Path.Combine(aside, name));
        }

        return count;
    }

    private static async Task<List<(string Grain, string Name, string? Tenant, string ETag, byte[] Data)>> ReadAsync(
        string folder, string cluster)
    {
        (int port, string password) = (FreePort(), RandomNumberGenerator.GetHexString(64, lowercase: true));
        using var server = new GarnetServer(
        [
            "--bind", "127.0.0.1", "--port", $"{port}", "--auth", "Password", "--password", password,
            "--device-type", "RandomAccess", "--checkpointdir", folder, "--recover", "true", "--aof", "true",
            "--aof-memory", "32m", "--aof-segment-size", "16m", "--aof-page-size", "8m", "--page", "4m",
            "--memory", "1g", "--index", "16m", "--lua", "true", "--lua-transaction-mode", "true",
            "--logger-level", "Warning", "-q", "--fail-on-recovery-error", "true",
        ]);
        server.Start();
        await using ConnectionMultiplexer connection = await ConnectionMultiplexer.ConnectAsync(
            new ConfigurationOptions { EndPoints = { { "127.0.0.1", port } }, Password = password });
        IDatabase database = connection.GetDatabase();
        string prefix = $"{cluster}/state/";
        var states = new List<(string, string, string?, string, byte[])>();
        await foreach (RedisKey key in connection.GetServers()[0].KeysAsync(pattern: prefix + "*"))
        {
            var fields = (await database.HashGetAllAsync(key)).ToDictionary(
                field => (string)field.Name!, field => field.Value, StringComparer.Ordinal);
            string path = ((string)key!)[prefix.Length..];
            int slash = path.LastIndexOf('/');
            string grain = path[..slash];
            states.Add((
                grain, path[(slash + 1)..], StateOwners.TenantOf(GrainId.Parse(grain, null)),
                (string)fields["etag"]!, (byte[])fields["data"]!));
        }

        if (states.Count == 0 && await connection.GetServers()[0].DatabaseSizeAsync() > 0)
        {
            throw new ArgumentException(
                $"The store in {folder} has no states of the cluster '{cluster}' (Cluster:Id).");
        }

        return states;
    }

    /// <summary>
    /// Waits for the lock with which only one silo of the machine upgrades the store. Disposing the result releases the
    /// lock.
    /// </summary>
    /// <exception cref="IOException">Another process has held the lock for too long.</exception>
    public static async Task<FileStream> BeAloneAsync(string folder)
    {
        Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        for (int tried = 1; ; tried++)
        {
            try
            {
                return new FileStream(
                    Path.Combine(folder, UpgradeLockFile), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException) when (tried < TriesMax)
            {
                await Task.Delay(100);
            }
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
