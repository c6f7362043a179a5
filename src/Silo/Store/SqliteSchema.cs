// The tables of the store's database, and their creation.
namespace Atelier.Silo.Store;

/// <summary>Creates and checks the database's schema.</summary>
internal static class SqliteSchema
{
    private const int Version = 1;

    private const string Schema = """
        CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
        CREATE TABLE state (
            grain TEXT NOT NULL, name TEXT NOT NULL, tenant TEXT, etag TEXT NOT NULL, data BLOB NOT NULL,
            PRIMARY KEY (grain, name));
        CREATE TABLE usage (tenant TEXT PRIMARY KEY, states INTEGER NOT NULL, bytes INTEGER NOT NULL);
        CREATE TABLE members (silo TEXT PRIMARY KEY, version INTEGER NOT NULL, entry TEXT NOT NULL);
        CREATE TABLE membership (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL);
        CREATE TABLE reminders (grain TEXT NOT NULL, name TEXT NOT NULL, hash INTEGER NOT NULL, etag TEXT NOT NULL,
            start_at INTEGER NOT NULL, period INTEGER NOT NULL, PRIMARY KEY (grain, name));
        CREATE INDEX reminders_by_hash ON reminders (hash);
        CREATE TABLE starts (silo TEXT PRIMARY KEY, generation INTEGER NOT NULL);
        CREATE TABLE heartbeat (id INTEGER PRIMARY KEY CHECK (id = 1), beats INTEGER NOT NULL);
        CREATE TRIGGER state_added AFTER INSERT ON state WHEN new.tenant IS NOT NULL BEGIN
            INSERT INTO usage VALUES (new.tenant, 1, length(new.data) + length(new.grain))
                ON CONFLICT (tenant) DO UPDATE SET states = states + 1, bytes = bytes + excluded.bytes;
        END;
        CREATE TRIGGER state_changed AFTER UPDATE OF data ON state WHEN new.tenant IS NOT NULL BEGIN
            UPDATE usage SET bytes = bytes + length(new.data) - length(old.data) WHERE tenant = new.tenant;
        END;
        CREATE TRIGGER state_removed AFTER DELETE ON state WHEN old.tenant IS NOT NULL BEGIN
            UPDATE usage SET states = states - 1, bytes = bytes - length(old.data) - length(old.grain)
                WHERE tenant = old.tenant;
            DELETE FROM usage WHERE tenant = old.tenant AND states = 0;
        END;
        """;

    // Silos that start together create or upgrade the database one after the other.
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    /// <summary>Creates the schema in an empty database; checks the format and the cluster of any other.</summary>
    /// <param name="session">The writer's session.</param>
    /// <param name="path">The database's file, for messages.</param>
    /// <param name="clusterId">The cluster that the database belongs to.</param>
    /// <exception cref="ArgumentException">The database has another format, or belongs to another cluster.</exception>
    public static void Prepare(SqliteSession session, string path, string clusterId)
    {
        // The first silo creates the schema; the others wait for it.
        session.Execute("PRAGMA auto_vacuum = INCREMENTAL");
        session.Execute("PRAGMA journal_mode = WAL");
        session.Execute("PRAGMA journal_size_limit = 16777216");
        session.Begin(s_patience);
        long version = (long)session.Value("PRAGMA user_version")!;
        if (version == 0)
        {
            session.Execute(Schema);
            session.Execute("INSERT INTO meta VALUES ('cluster', $0)", clusterId);
            session.Execute("INSERT INTO membership VALUES (1, 0)");
            session.Execute($"PRAGMA user_version = {Version}");
        }

        string? cluster = version is 0 or Version
            ? (string?)session.Value("SELECT value FROM meta WHERE name = 'cluster'")
            : null;
        session.Execute("COMMIT");
        if (version is not (0 or Version))
        {
            throw new ArgumentException($"The store {path} has format {version}; this release reads format {Version}.");
        }

        if (cluster != clusterId)
        {
            throw new ArgumentException(
                $"The store {path} belongs to the cluster '{cluster}', not to '{clusterId}' (Cluster:Id).");
        }
    }
}
