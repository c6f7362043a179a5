// The store of a cluster on one machine: one SQLite database in a folder, which all silos of the machine open. A write
// is on disk before it is acknowledged. Writes of one silo share transactions (group commit): while one transaction is
// flushed, the next writes are collected. Memory is bounded by the page cache; the data are bounded by the disk alone,
// and nothing is ever evicted. A write that does not fit on the disk fails at once and changes nothing. Later writes
// are still attempted, so writes succeed again as soon as there is room.
//
// Why not a server: a database in a file has no port to protect, no process to supervise and no log to replay at start.
// docs/decisions/0006-embedded-store.md has the measurements.
using System.Collections.Concurrent;
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

    private const int BatchMax = 128;
    private const int Readers = 4;
    private const int FreePagesMax = 256;
    private const int VacuumPages = 2048;
    private const int TidyMilliseconds = 1000;

    // SQLite's primary result codes.
    private const int Busy = 5;
    private const int Locked = 6;
    private const int Full = 13;
    private const int TooBig = 18;
    private const int Constraint = 19;
    private const int Mismatch = 20;

    private static readonly TimeSpan s_logPatience = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan s_vacuumPatience = TimeSpan.FromMilliseconds(50);

    private readonly SqliteStoreOptions _options;
    private readonly string _path;
    private readonly StoreRoom _room;
    private readonly FileStream _shared;
    private readonly BlockingCollection<Pending> _pending;
    private readonly ConcurrentBag<SqliteSession> _idle = [];
    private readonly SemaphoreSlim _reading = new(Readers);
    private readonly Thread _writer;
    private SqliteSession _session;
    private volatile bool _isFull;
    private volatile string? _upkeepFault;

    /// <summary>Opens the store, and creates it if its folder has none.</summary>
    /// <exception cref="ArgumentException">
    /// The options are not valid, or the folder belongs to another cluster.
    /// </exception>
    /// <exception cref="IOException">The folder or the database cannot be used.</exception>
    public SqliteStore(SqliteStoreOptions options)
    {
        _options = new SqliteStoreOptionsValidator().Require(options);
        string folder = Path.GetFullPath(options.Folder);
        Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _path = Path.Combine(folder, FileName);
        _room = new StoreRoom(folder, options.ReserveBytes);
        _shared = StoreLock.Share(folder);
        try
        {
            _room.FreeForStart();

            // States contain prompts: only this user may read the database. SQLite gives the files beside it the same
            // permissions.
            if (!File.Exists(_path))
            {
                File.Open(_path, new FileStreamOptions
                {
                    Mode = FileMode.OpenOrCreate, Access = FileAccess.Write,
                    UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
                }).Dispose();
            }

            _session = OpenSession(writer: true);
            SqliteSchema.Prepare(_session, _path, options.ClusterId);
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

    /// <summary>Whether the last write failed because the disk was full.</summary>
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

    /// <summary>Runs work that writes, in a transaction. The result is on disk when the task completes.</summary>
    /// <exception cref="StoreFullException">The disk is full; nothing was changed.</exception>
    /// <exception cref="StoreUnavailableException">The store could not write; nothing was changed.</exception>
    public Task<T> WriteAsync<T>(Func<SqliteSession, T> work)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        try
        {
            if (!_pending.TryAdd(new Pending<T>(work, done)))
            {
                throw new StoreUnavailableException(
                    $"{_options.PendingMax} writes are already waiting for the disk, which is the maximum.");
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
    public bool HasRoom => _room.Bytes > 0;

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

            // Lets another silo take the write lock, which it polls every millisecond.
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
            StoreUnavailableException failure = Translated(error);
            _isFull = failure is StoreFullException;
            RollBack(keep: error.SqliteErrorCode is Busy or Locked or Full);
            batch.ForEach(pending => pending.Fail(failure));
            return;
        }
        catch (Exception error)
        {
            // A faulty piece of work must not fail the others of its batch.
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

    // Rolls back, and keeps the connection or replaces it. After an I/O error its state is unknown, so a new connection
    // reads the state from disk.
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
            // SQLite rolls back by itself on some errors; then there is no transaction left.
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
        catch (SqliteException error)
        {
            // The next write retries with the old connection.
            _upkeepFault = $"The database could not be reopened after a failed write: {error.Message}";
        }
    }

    // Once a second: shrinks the log and the database a little, and maintains the start reserve.
    private void Tidy()
    {
        try
        {
            // Overlapping readers keep SQLite from resetting the log. Here the writer waits until they end; new readers
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

            _room.KeepForStart();
            _upkeepFault = null;
        }
        catch (SqliteException error)
        {
            // Retried in the next second; a lock held by another silo is not reported.
            RollBack(keep: true);
            _upkeepFault = error.SqliteErrorCode is Busy or Locked ? _upkeepFault : error.Message;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // The disk does not respond or is full again. This is retried in the next second.
            _upkeepFault = error.Message;
        }
    }

    private StoreUnavailableException Translated(SqliteException error) => error.SqliteErrorCode == Full
        ? new StoreFullException($"The disk of the store is full: {error.Message}", error)
        : new StoreUnavailableException($"The store {_path} failed: {error.Message}", error);

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
