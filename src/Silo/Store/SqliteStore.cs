// The store of a cluster on one machine: one SQLite database in a folder, which all silos of the machine open. A write
// is on disk before it is answered. Writes of one silo share transactions (group commit): while one transaction is
// flushed, the next ones gather. Memory is bounded by the page cache; the data are bounded by the disk alone, and
// nothing is ever evicted. A write that the disk has no room for fails at once and changes nothing; the next one is
// tried as if nothing had happened, so writes resume by themselves when there is room again.
//
// Why not a server: a database in a file has no port to protect, no process to supervise and no log to replay at start.
// docs/decisions/0006-embedded-store.md has the measurements.
using System.Collections.Concurrent;
using System.Security.Cryptography;
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Microsoft.Data.Sqlite;
using Orleans.Storage;

namespace Atelier.Silo.Store;

/// <summary>The database, its writer thread and its readers.</summary>
internal sealed class SqliteStore : IClusterStore, IStateMeter
{
    /// <summary>The database's file in the store's folder.</summary>
    public const string FileName = "state.db";

    private const int Version = 1;
    private const int BatchMax = 128;
    private const int Readers = 4;
    private const int FreePagesMax = 256;
    private const int VacuumPages = 2048;
    private const int TidyMilliseconds = 1000;

    // A file that a silo deletes to start on a full disk; without it nothing could be read until somebody freed space.
    private const string StartRoomName = "reserve";
    private const int StartRoomMax = 8 << 20;

    // SQLite's primary result codes.
    private const int Busy = 5;
    private const int Locked = 6;
    private const int Full = 13;
    private const int TooBig = 18;
    private const int Constraint = 19;
    private const int Mismatch = 20;

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

    // Silos that start together make or upgrade the database one after the other.
    private static readonly TimeSpan s_openPatience = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan s_logPatience = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan s_vacuumPatience = TimeSpan.FromMilliseconds(50);

    private readonly SqliteStoreOptions _options;
    private readonly string _path;
    private readonly string _startRoom;
    private readonly FileStream _shared;
    private readonly BlockingCollection<Pending> _pending;
    private readonly ConcurrentBag<SqliteSession> _idle = [];
    private readonly SemaphoreSlim _reading = new(Readers);
    private readonly Thread _writer;
    private SqliteSession _session;
    private volatile bool _isFull;
    private volatile string? _upkeepFault;

    /// <summary>Opens the store, and makes it if its folder holds none.</summary>
    /// <exception cref="ArgumentException">The options make no sense, or the folder is another cluster's.</exception>
    /// <exception cref="IOException">The folder or the database cannot be used.</exception>
    public SqliteStore(SqliteStoreOptions options)
    {
        _options = options.Fault() is { } fault ? throw new ArgumentException(fault, nameof(options)) : options;
        string folder = Path.GetFullPath(options.Folder);
        Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _path = Path.Combine(folder, FileName);
        _startRoom = Path.Combine(folder, StartRoomName);
        _shared = StoreLock.Share(folder);
        try
        {
            if (Disk.AvailableFreeSpace < StartRoomBytes)
            {
                File.Delete(_startRoom);
            }

            // States hold prompts: the database is its user's alone, and the files beside it have its permissions.
            if (!File.Exists(_path))
            {
                File.Open(_path, new FileStreamOptions
                {
                    Mode = FileMode.OpenOrCreate, Access = FileAccess.Write,
                    UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
                }).Dispose();
            }

            _session = OpenSession(writer: true);
            Prepare();
        }
        catch (SqliteException error)
        {
            _session?.Dispose();
            _shared.Dispose();
            throw new IOException($"The store {_path} cannot be opened: {error.Message}", error);
        }
        catch
        {
            _session?.Dispose();
            _shared.Dispose();
            throw;
        }

        _pending = new BlockingCollection<Pending>(options.PendingMax);
        _writer = new Thread(WriteAll) { IsBackground = true, Name = "store" };
        _writer.Start();
    }

    /// <summary>Whether the last write failed for want of room on the disk.</summary>
    public bool IsFull => _isFull;

    /// <inheritdoc/>
    public IReadOnlyList<string> Warnings => [];

    /// <inheritdoc/>
    public bool IsInProcess => true;

    /// <inheritdoc/>
    public string? UpkeepFault => _upkeepFault;

    /// <inheritdoc/>
    public void AddTo(ISiloBuilder silo)
    {
        silo.Services.AddSingleton<IMembershipTable>(new SqliteMembershipTable(this));
        silo.AddReminders();
        silo.Services.AddSingleton<IReminderTable>(new SqliteReminderTable(this));
        silo.Services.AddSingleton<IGrainStorage>(services =>
            new SqliteGrainStorage(this, services.GetRequiredService<OrleansGrainStorageSerializer>()));
        silo.Services.AddSingleton<IStateMeter>(this);
    }

    /// <summary>Runs work that writes, in a transaction. It is on disk when the task ends.</summary>
    /// <exception cref="StoreFullException">The disk is full; nothing was changed.</exception>
    /// <exception cref="StoreUnavailableException">The store could not write; nothing was changed.</exception>
    public Task<T> WriteAsync<T>(Func<SqliteSession, T> work)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        try
        {
            if (!_pending.TryAdd(new Pending<T>(work, done)))
            {
                throw new StoreUnavailableException($"{_options.PendingMax} writes wait for the disk already.");
            }
        }
        catch (InvalidOperationException error)
        {
            throw new StoreUnavailableException("The store is closed.", error);
        }

        return done.Task;
    }

    /// <summary>Runs work that reads.</summary>
    /// <exception cref="StoreUnavailableException">The store could not be read.</exception>
    public async Task<T> ReadAsync<T>(Func<SqliteSession, T> work)
    {
        await _reading.WaitAsync();
        try
        {
            return await Task.Run(() =>
            {
                if (!_idle.TryTake(out SqliteSession? session))
                {
                    session = OpenSession(writer: false);
                }

                try
                {
                    T result = work(session);
                    _idle.Add(session);
                    return result;
                }
                catch
                {
                    session.Dispose();
                    throw;
                }
            });
        }
        catch (SqliteException error)
        {
            throw Translated(error);
        }
        finally
        {
            _reading.Release();
        }
    }

    /// <inheritdoc/>
    public bool HasRoom => Room > 0;

    /// <inheritdoc/>
    public async ValueTask<long?> BytesOfAsync(TenantId tenant) => await ReadAsync(session =>
        session.Value("SELECT bytes FROM usage WHERE tenant = $0", tenant.Value) is long bytes ? bytes : 0);

    /// <inheritdoc/>
    public Task BeatAsync() => WriteAsync(session => session.Execute(
        "INSERT INTO heartbeat VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET beats = (beats + 1) & 0xffff"));

    /// <inheritdoc/>
    public Task<int> NextGenerationAsync(string endpoint, int fromClock) => WriteAsync(
        session => (int)(long)session.Value(
        """
        INSERT INTO starts VALUES ($0, $1)
            ON CONFLICT (silo) DO UPDATE SET generation = max(generation + 1, $1) RETURNING generation
        """,
        endpoint, (long)fromClock)!);

    private DriveInfo Disk => new(_options.Folder);

    private long StartRoomBytes => Math.Min(StartRoomMax, Disk.TotalSize / 16);

    // Bytes that new work may take.
    private long Room =>
        Disk.AvailableFreeSpace - Math.Min(_options.ReserveBytes, Disk.TotalSize / 16);

    /// <inheritdoc/>
    public void Dispose()
    {
        _pending.CompleteAdding();
        _writer.Join();
        while (_idle.TryTake(out SqliteSession? session))
        {
            session.Dispose();
        }

        _session.Dispose();
        _pending.Dispose();
        _reading.Dispose();
        _shared.Dispose();
    }

    private SqliteSession OpenSession(bool writer) =>
        new(
            _path, writer ? _options.MemoryBytes / 2 : _options.MemoryBytes / 2 / Readers,
            writer ? TimeSpan.Zero : _options.BusyTimeout);

    private void Prepare()
    {
        // Whoever comes first makes the schema; the others wait for it.
        _session.Execute("PRAGMA auto_vacuum = INCREMENTAL");
        _session.Execute("PRAGMA journal_mode = WAL");
        _session.Execute("PRAGMA journal_size_limit = 16777216");
        _session.Begin(s_openPatience);
        long version = (long)_session.Value("PRAGMA user_version")!;
        if (version == 0)
        {
            _session.Execute(Schema);
            _session.Execute("INSERT INTO meta VALUES ('cluster', $0)", _options.ClusterId);
            _session.Execute("INSERT INTO membership VALUES (1, 0)");
            _session.Execute($"PRAGMA user_version = {Version}");
        }

        string? cluster = version is 0 or Version
            ? (string?)_session.Value("SELECT value FROM meta WHERE name = 'cluster'")
            : null;
        _session.Execute("COMMIT");
        if (version is not (0 or Version))
        {
            throw new ArgumentException($"The store {_path} has format {version}; this release reads {Version}.");
        }

        if (cluster != _options.ClusterId)
        {
            throw new ArgumentException(
                $"The store {_path} belongs to the cluster '{cluster}', not to '{_options.ClusterId}' (Cluster:Id).");
        }
    }

    private void WriteAll()
    {
        var batch = new List<Pending>();
        long tidied = Environment.TickCount64;
        while (!_pending.IsCompleted)
        {
            if (_pending.TryTake(out Pending? first, TidyMilliseconds))
            {
                batch.Add(first);
                while (batch.Count < BatchMax && _pending.TryTake(out Pending? next))
                {
                    batch.Add(next);
                }

                WriteBatch(batch);
                batch.Clear();
            }

            if (Environment.TickCount64 - tidied >= TidyMilliseconds)
            {
                Tidy();
                tidied = Environment.TickCount64;
            }

            // Another silo that waits for the write lock polls every millisecond.
            if (_pending.Count > 0)
            {
                SqliteSession.Pause();
            }
        }
    }

    private void WriteBatch(List<Pending> batch)
    {
        try
        {
            _session.Begin(_options.BusyTimeout);
            batch.ForEach(pending => pending.Run(_session));
            _session.Execute("COMMIT");
            _isFull = false;
        }
        catch (SqliteException error) when (error.SqliteErrorCode is not (TooBig or Constraint or Mismatch))
        {
            StoreUnavailableException told = Translated(error);
            _isFull = told is StoreFullException;
            RollBack(keep: error.SqliteErrorCode is Busy or Locked or Full);
            batch.ForEach(pending => pending.Fail(told));
            return;
        }
        catch (Exception error)
        {
            // A fault of one piece of work: it costs that one alone.
            RollBack(keep: true);
            if (batch.Count == 1)
            {
                batch[0].Fail(error);
            }
            else
            {
                batch.ForEach(pending => WriteBatch([pending]));
            }

            return;
        }

        batch.ForEach(pending => pending.Complete());
    }

    // After an I/O error nobody knows what the connection holds: a new one reads it from the disk.
    private void RollBack(bool keep)
    {
        try
        {
            _session.Execute("ROLLBACK");
            if (keep)
            {
                return;
            }
        }
        catch (SqliteException)
        {
            // SQLite rolls back by itself on some errors, and then there is no transaction to roll back.
            if (keep)
            {
                return;
            }
        }

        try
        {
            SqliteSession fresh = OpenSession(writer: true);
            _session.Dispose();
            _session = fresh;
        }
        catch (SqliteException)
        {
            // The old one is tried again at the next write.
        }
    }

    // Once a second: shrinks the log and the database, a little at a time, and keeps room for a start.
    private void Tidy()
    {
        try
        {
            // Overlapping readers keep SQLite from resetting the log. Here the writer waits for them, while new readers
            // find everything in the database.
            if (new FileInfo(_path + "-wal") is { Exists: true } log && log.Length > _options.LogBytesMax)
            {
                _session.EmptyLog(s_logPatience);
            }

            if ((long)_session.Value("PRAGMA freelist_count")! > FreePagesMax)
            {
                _session.Begin(s_vacuumPatience);
                _session.Execute($"PRAGMA incremental_vacuum({VacuumPages})");
                _session.Execute("COMMIT");
            }

            KeepStartRoom();
            _upkeepFault = null;
        }
        catch (SqliteException error)
        {
            // The next second tries again; a lock that another silo has is not worth a report.
            RollBack(keep: true);
            _upkeepFault = error.SqliteErrorCode is Busy or Locked ? _upkeepFault : error.Message;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // The disk does not answer, or is full again. The next second tries again.
            _upkeepFault = error.Message;
        }
    }

    private void KeepStartRoom()
    {
        long size = StartRoomBytes;
        if (Room < size || (new FileInfo(_startRoom) is { Exists: true } there && there.Length == size))
        {
            return;
        }

        // Random bytes, which no file system compresses.
        byte[] bytes = new byte[size];
        RandomNumberGenerator.Fill(bytes);
        using var file = new FileStream(_startRoom, new FileStreamOptions
        {
            Mode = FileMode.Create, Access = FileAccess.Write,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        });
        file.Write(bytes);
        file.Flush(flushToDisk: true);
    }

    private StoreUnavailableException Translated(SqliteException error) => error.SqliteErrorCode == Full
        ? new StoreFullException($"The disk of the store has no room: {error.Message}", error)
        : new StoreUnavailableException($"The store {_path} does not work: {error.Message}", error);

    private abstract class Pending
    {
        public abstract void Run(SqliteSession session);

        public abstract void Complete();

        public abstract void Fail(Exception error);
    }

    private sealed class Pending<T>(Func<SqliteSession, T> work, TaskCompletionSource<T> done) : Pending
    {
        private T _result = default!;

        public override void Run(SqliteSession session) => _result = work(session);

        public override void Complete() => done.SetResult(_result);

        public override void Fail(Exception error) => done.SetException(error);
    }
}
