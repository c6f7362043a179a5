// Goal: everything the store has confirmed is kept, however much it is; writes that it cannot do are rejected at once
// and change nothing. Method: grain states, more than fit into the store's memory, on full disks, and by two silos at a
// time.
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests;
using Atelier.Silo.Hosting;
using Atelier.Silo.Store;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Atelier.Silo.Tests.Store;

public sealed class SqliteStoreTests
{
    private static readonly byte[] s_large = [.. Enumerable.Range(0, 56_000).Select(i => (byte)(i * 31))];

    [Fact]
    public async Task MoreThanTheMemoryHolds_IsKept_AndFoundAfterARestart()
    {
        // 45 MB through 1 MiB of memory.
        using var folder = new StoreFolder();
        const int Count = 800;
        using (SqliteStore store = folder.Open(memoryBytes: 1 << 20))
        {
            await StoreFolder.WriteAsync(store, "precious/keep", [1, 2, 3]);
            await Parallel.ForAsync(
                0, Count, async (i, _) => await StoreFolder.WriteAsync(store, $"big/{i}", Large(i)));
            Assert.Equal([1, 2, 3], (await StoreFolder.ReadAsync(store, "precious/keep"))!);
        }

        using SqliteStore again = folder.Open(memoryBytes: 1 << 20);
        Assert.Equal([1, 2, 3], (await StoreFolder.ReadAsync(again, "precious/keep"))!);
        for (int i = 0; i < Count; i++)
        {
            Assert.Equal(Large(i), await StoreFolder.ReadAsync(again, $"big/{i}"));
        }
    }

    [Fact]
    public async Task AFullDisk_RefusesWrites_KeepsReading_AndWritesAgainWhenThereIsRoom()
    {
        using var folder = new StoreFolder(diskMegabytes: 12);
        using SqliteStore store = folder.Open();
        GrainState<Note> kept = await StoreFolder.WriteAsync(store, "tenant/kept", [7]);
        string filler = Path.Combine(folder.Path, "filler");
        Fill(filler);
        await Assert.ThrowsAsync<StoreFullException>(() => FillAsync(store));
        Assert.True(store.IsFull);
        kept.State!.Text = s_large;
        await Assert.ThrowsAsync<StoreFullException>(
            () => StoreFolder.Storage(store).WriteStateAsync("note", StoreFolder.Grain("tenant/kept"), kept));
        Assert.Equal([7], (await StoreFolder.ReadAsync(store, "tenant/kept"))!);
        await Assert.ThrowsAsync<StoreFullException>(store.BeatAsync);

        File.Delete(filler);
        await store.BeatAsync();
        Assert.False(store.IsFull);
        await StoreFolder.Storage(store).WriteStateAsync("note", StoreFolder.Grain("tenant/kept"), kept);
        Assert.Equal(s_large, await StoreFolder.ReadAsync(store, "tenant/kept"));
    }

    [Fact]
    public async Task AStartOnAFullDisk_FindsTheRoomThatWasKeptForIt()
    {
        using var folder = new StoreFolder(diskMegabytes: 12);
        string reserve = Path.Combine(folder.Path, "reserve"), filler = Path.Combine(folder.Path, "filler");
        using (SqliteStore store = folder.Open())
        {
            await StoreFolder.WriteAsync(store, "tenant/kept", [7]);
            await ReserveAsync(folder);
        }

        Fill(filler);
        using (SqliteStore store = folder.Open())
        {
            Assert.Equal([7], (await StoreFolder.ReadAsync(store, "tenant/kept"))!);
            Assert.Equal(1, await store.NextGenerationAsync("silo", 1));
            Assert.False(File.Exists(reserve));
            Assert.False(store.HasRoom);
        }
    }

    // On a disk of 12 MB, a sixteenth is reserved.
    [Fact]
    public async Task LittleRoom_IsKeptForWhatWasAccepted()
    {
        using var folder = new StoreFolder(diskMegabytes: 12);
        using SqliteStore store = folder.Open();
        await ReserveAsync(folder);
        Assert.True(store.HasRoom);
        using (var file = new FileStream(Path.Combine(folder.Path, "filler"), FileMode.Create))
        {
            // The store writes to the same disk meanwhile.
            while (new DriveInfo(folder.Path).AvailableFreeSpace > (12 << 20) / 20)
            {
                await file.WriteAsync(new byte[1 << 14], TestContext.Current.CancellationToken);
                await file.FlushAsync(TestContext.Current.CancellationToken);
            }
        }

        Assert.False(store.HasRoom);
        File.Delete(Path.Combine(folder.Path, "filler"));
        Assert.True(store.HasRoom);
    }

    [Theory]
    [InlineData("used_memory:95\r\nmaxmemory:100\r\n", false)]
    [InlineData("used_memory:89\r\nmaxmemory:100\r\n", true)]
    [InlineData("used_memory:95\r\nmaxmemory:0\r\n", true)]
    [InlineData("", true)]
    public void ARedis_HasRoom_UntilNineTenthsAreUsed(string info, bool expected) =>
        Assert.Equal(expected, RedisClusterStore.IsRoomy(info));

    [Fact]
    public async Task DeletedData_ReturnItsSpaceToTheDisk()
    {
        using var folder = new StoreFolder();
        using SqliteStore store = folder.Open();
        for (int i = 0; i < 600; i++)
        {
            await StoreFolder.WriteAsync(store, $"big/{i}", Large(i));
        }

        long before = await PagesAsync(store);
        for (int i = 0; i < 600; i++)
        {
            var state = new GrainState<Note>();
            await StoreFolder.Storage(store).ReadStateAsync("note", StoreFolder.Grain($"big/{i}"), state);
            await StoreFolder.Storage(store).ClearStateAsync("note", StoreFolder.Grain($"big/{i}"), state);
        }

        // Space is returned a little at a time, also while heartbeats are written.
        using var watch = new StoreWatch(store, TimeProvider.System, NullLogger<StoreWatch>.Instance);
        await watch.StartAsync(TestContext.Current.CancellationToken);
        await Eventually.TrueAsync(async () => await PagesAsync(store) <= before / 10);
    }

    [Fact]
    public async Task OverlappingReaders_DoNotLetTheLogGrowForever()
    {
        using var folder = new StoreFolder();
        using var store = new SqliteStore(new SqliteStoreOptions { Folder = folder.Path, LogBytesMax = 4 << 20 });
        await StoreFolder.WriteAsync(store, "tenant/a", Large(0));
        await StoreFolder.WriteAsync(store, "tenant/b", Large(1));
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        Task[] readers = [.. Enumerable.Range(0, 3).Select(async i =>
        {
            await Task.Delay(10 * i);
            while (!stop.IsCancellationRequested)
            {
                await store.ReadAsync(session => session.Rows("SELECT name FROM state LIMIT 2", row =>
                {
                    Thread.Sleep(15);
                    return row.GetString(0);
                }));
            }
        })];
        var log = new FileInfo(Path.Combine(folder.Path, SqliteStore.FileName + "-wal"));

        // However slow the disk is, the log grows while one reader stays.
        using ManualResetEventSlim began = new(), end = new();
        Task longReader = store.ReadAsync(session => session.Rows("SELECT name FROM state LIMIT 1", row =>
        {
            began.Set();
            end.Wait(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
            return row.GetString(0);
        }));
        began.Wait(TestContext.Current.CancellationToken);
        long peak = 0;
        for (int i = 0; i < 32; i++)
        {
            if (i == 8)
            {
                end.Set();
                await longReader;
            }

            byte[] text = new byte[1 << 20];
            await StoreFolder.WriteAsync(store, $"tenant/{i}", text);
            log.Refresh();
            peak = Math.Max(peak, log.Length);
        }

        await Eventually.TrueAsync(() =>
        {
            log.Refresh();
            return log.Length <= 4 << 20;
        });

        await stop.CancelAsync();
        await Task.WhenAll(readers);

        // Afterwards the writer requests its transactions by itself again.
        Assert.Equal(0L, await store.WriteAsync(session => session.Value("PRAGMA busy_timeout")));
        Assert.True(peak > 4 << 20, $"The log has never had more than {peak >> 20} MiB.");
    }

    [Fact]
    public async Task TwoSilos_WriteToOneStoreAtOnce()
    {
        using var folder = new StoreFolder();
        using SqliteStore one = folder.Open(), other = folder.Open();
        await Parallel.ForAsync(0, 400, async (i, _) =>
            await StoreFolder.WriteAsync(i % 2 == 0 ? one : other, $"tenant/{i}", [(byte)i]));
        for (int i = 0; i < 400; i++)
        {
            Assert.Equal([(byte)i], (await StoreFolder.ReadAsync(i % 2 == 0 ? other : one, $"tenant/{i}"))!);
        }
    }

    [Fact]
    public async Task ATenantsStorage_IsCounted_WhateverItDoes()
    {
        using var folder = new StoreFolder();
        using SqliteStore store = folder.Open();
        var random = new Random(1);
        for (int i = 0; i < 300; i++)
        {
            string key = $"{(i % 3 == 0 ? "a" : "b")}/{random.Next(20)}";
            var state = new GrainState<Note>();
            await StoreFolder.Storage(store).ReadStateAsync("note", StoreFolder.Grain(key), state);
            if (random.Next(3) == 0)
            {
                await StoreFolder.Storage(store).ClearStateAsync("note", StoreFolder.Grain(key), state);
            }
            else
            {
                state.State!.Text = new byte[random.Next(1000)];
                await StoreFolder.Storage(store).WriteStateAsync("note", StoreFolder.Grain(key), state);
            }
        }

        foreach (string tenant in new[] { "a", "b", "nobody" })
        {
            long counted = await store.ReadAsync(session => (long)session.Value(
                "SELECT coalesce(sum(length(data) + length(grain)), 0) FROM state WHERE tenant = $0", tenant)!);
            Assert.Equal(counted, await store.BytesOfAsync(new TenantId(tenant)));
        }

        Assert.True(await store.BytesOfAsync(new TenantId("a")) > 0);
    }

    [Fact]
    public async Task WorkThatFails_AffectsNoOther()
    {
        using var folder = new StoreFolder();
        using SqliteStore store = folder.Open();
        Task<int>[] good = [.. Enumerable.Range(0, 50).Select(i => store.WriteAsync(session => session.Execute(
            "INSERT INTO meta VALUES ($0, 'x')", $"good {i}")))];
        Task<int> bad = store.WriteAsync<int>(session =>
        {
            session.Execute("INSERT INTO meta VALUES ('bad', 'x')");
            throw new InvalidDataException("no");
        });
        Task<int> constrained = store.WriteAsync(
            session => session.Execute("INSERT INTO meta VALUES ('cluster', 'x')"));
        await Task.WhenAll(good);
        await Assert.ThrowsAsync<InvalidDataException>(
            async () => await bad.WaitAsync(TestContext.Current.CancellationToken));
        await Assert.ThrowsAnyAsync<Exception>(
            async () => await constrained.WaitAsync(TestContext.Current.CancellationToken));
        Assert.Equal(51L, await store.ReadAsync(session => session.Value("SELECT count(*) FROM meta")));
    }

    [Fact]
    public async Task MoreWritesThanMayWait_AreRefused()
    {
        using var folder = new StoreFolder();
        using var store = new SqliteStore(new SqliteStoreOptions { Folder = folder.Path, PendingMax = 4 });
        using ManualResetEventSlim gate = new(), holds = new();
        Task<int> held = store.WriteAsync(session =>
        {
            holds.Set();
            gate.Wait();
            return 1;
        });
        holds.Wait(TestContext.Current.CancellationToken);
        var refused = 0;
        var waiting = new List<Task>();
        for (int i = 0; i < 20; i++)
        {
            try
            {
                waiting.Add(store.WriteAsync(session => session.Execute("UPDATE membership SET version = version")));
            }
            catch (StoreUnavailableException)
            {
                refused++;
            }
        }

        gate.Set();
        await held;
        await Task.WhenAll(waiting);
        Assert.Equal(16, refused);
    }

    [Fact]
    public void AFolderOfAnotherCluster_IsRefused()
    {
        using var folder = new StoreFolder();
        folder.Open().Dispose();
        var error = Assert.Throws<ArgumentException>(() => folder.Open(cluster: "other"));
        Assert.Contains("belongs to the cluster 'atelier', not to 'other'", error.Message);
    }

    [Fact]
    public void TheDatabase_IsItsUsersAlone()
    {
        using var folder = new StoreFolder();
        using SqliteStore store = folder.Open();
        Assert.All(
            Directory.GetFiles(folder.Path, "state.db*"),
            file => Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file)));
    }

    private static Task ReserveAsync(StoreFolder folder) =>
        Eventually.TrueAsync(() => File.Exists(Path.Combine(folder.Path, "reserve")));

    private static Task<long> PagesAsync(SqliteStore store) =>
        store.ReadAsync(session => (long)session.Value("PRAGMA page_count")!);

    private static byte[] Large(int i) => [.. BitConverter.GetBytes(i), .. s_large];

    // Until not a single byte fits.
    private static void Fill(string path)
    {
        using var file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 0);
        foreach (int size in new[] { 1 << 16, 512, 1 })
        {
            try
            {
                while (true)
                {
                    file.Write(new byte[size]);
                }
            }
            catch (IOException)
            {
                // Smaller pieces may still fit.
            }
        }
    }

    // A first write may find room in pages that the database already has.
    private static async Task FillAsync(SqliteStore store)
    {
        for (int i = 0; i < 1000; i++)
        {
            await StoreFolder.WriteAsync(store, $"tenant/filler-{i}", s_large);
        }
    }
}
