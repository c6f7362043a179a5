// One connection to the store's database. Each statement is prepared once.
using Microsoft.Data.Sqlite;
using SQLitePCL;

namespace Atelier.Silo.Store;

/// <summary>A connection to the database, for one thread at a time.</summary>
internal sealed class SqliteSession : IDisposable
{
    // Never set. It is only waited on, because another process's lock must be polled.
    private static readonly ManualResetEventSlim s_never = new();

    private readonly SqliteConnection _connection;
    private readonly Dictionary<string, SqliteCommand> _commands = new(StringComparer.Ordinal);

    /// <summary>Opens the database.</summary>
    /// <param name="path">The database's file; it is created if it is absent.</param>
    /// <param name="cacheBytes">Memory for pages of the file, in bytes.</param>
    /// <param name="busyTimeout">Longest wait for another process that writes.</param>
    public SqliteSession(string path, long cacheBytes, TimeSpan busyTimeout)
    {
        _connection = new SqliteConnection(new SqliteConnectionStringBuilder
        {
            DataSource = path, Pooling = false, DefaultTimeout = 1, Mode = SqliteOpenMode.ReadWriteCreate,
        }.ToString());
        try
        {
            _connection.Open();
            raw.sqlite3_busy_timeout(_connection.Handle, (int)busyTimeout.TotalMilliseconds);
            Execute("PRAGMA synchronous = FULL");
            Execute($"PRAGMA cache_size = -{Math.Max(1, cacheBytes >> 10)}");
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Runs a statement. Its parameters are named $0, $1, ...</summary>
    /// <returns>The number of rows that the statement changed.</returns>
    public int Execute(string sql, params ReadOnlySpan<object?> values) => Bound(sql, values).ExecuteNonQuery();

    /// <summary>Waits for a millisecond, so that another process can take the write lock.</summary>
    public static void Pause() => s_never.Wait(1);

    /// <summary>Begins a write transaction.</summary>
    /// <param name="patience">Longest wait for another process's transaction.</param>
    /// <exception cref="SqliteException">
    /// Another process holds the write lock for longer, or the database fails.
    /// </exception>
    public void Begin(TimeSpan patience)
    {
        // SQLite's busy handler sleeps for up to 100 ms, during which a busy process can take the lock again and again.
        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        int code;
        while ((code = raw.sqlite3_exec(_connection.Handle, "BEGIN IMMEDIATE")) == raw.SQLITE_BUSY
            && Environment.TickCount64 < end)
        {
            Pause();
        }

        SqliteException.ThrowExceptionForRC(code, _connection.Handle);
    }

    /// <summary>
    /// Copies the write-ahead log into the database and truncates it, unless a reader uses the log for longer than
    /// <paramref name="patience"/>. Writers wait meanwhile.
    /// </summary>
    /// <param name="patience">Longest wait for readers.</param>
    public void EmptyLog(TimeSpan patience)
    {
        // The timeout is not set by a pragma, because SQLite applies that when it prepares the statement, and
        // statements are prepared once.
        raw.sqlite3_busy_timeout(_connection.Handle, (int)patience.TotalMilliseconds);
        try
        {
            Execute("PRAGMA wal_checkpoint(TRUNCATE)");
        }
        finally
        {
            raw.sqlite3_busy_timeout(_connection.Handle, 0);
        }
    }

    /// <summary>Runs a query and returns its first value; null if there is no row.</summary>
    public object? Value(string sql, params ReadOnlySpan<object?> values) =>
        Bound(sql, values).ExecuteScalar() is { } value and not DBNull ? value : null;

    /// <summary>Runs a query and returns its rows.</summary>
    public List<T> Rows<T>(string sql, Func<SqliteDataReader, T> row, params ReadOnlySpan<object?> values)
    {
        var rows = new List<T>();
        using SqliteDataReader reader = Bound(sql, values).ExecuteReader();
        while (reader.Read())
        {
            rows.Add(row(reader));
        }

        return rows;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (SqliteCommand command in _commands.Values)
        {
            command.Dispose();
        }

        _connection.Dispose();
    }

    private SqliteCommand Bound(string sql, ReadOnlySpan<object?> values)
    {
        if (!_commands.TryGetValue(sql, out SqliteCommand? command))
        {
            command = _connection.CreateCommand();
            command.CommandText = sql;
            for (int i = 0; i < values.Length; i++)
            {
                command.Parameters.AddWithValue($"${i}", null);
            }

            _commands.Add(sql, command);
        }

        for (int i = 0; i < values.Length; i++)
        {
            SqliteParameter parameter = command.Parameters[i];
            parameter.ResetSqliteType();
            parameter.Value = values[i] ?? DBNull.Value;
        }

        return command;
    }
}
