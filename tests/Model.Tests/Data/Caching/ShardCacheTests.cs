// Goal: a data set that is read through a cache has the bytes of its folder, whatever the cache's size, what was left
// in its folder, and how its store fails; and what cannot be read is refused with its name. Method: small data sets in
// a store in memory.
using System.Collections.Concurrent;
using System.Security.Cryptography;
using Atelier.Model.Data.Caching;
using Atelier.Model.Data.Mds;
using Xunit;

namespace Atelier.Model.Tests.Data.Caching;

public sealed class ShardCacheTests : IDisposable
{
    private const int Samples = 40;
    private readonly TemporaryFolder _folder = new();
    private readonly MemoryStore _store = new();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(null)]
    [InlineData("zstd")]
    public async Task EverySample_IsThatOfTheFolder_AlsoFromACacheOfTwoFiles(string? compression)
    {
        string digest = await WriteAsync("set", compression);
        using var cache = new ShardCache(_folder["cache"], 2 * Largest("set"), _store);
        using MdsDataset data = await cache.OpenAsync(digest, Cancellation);
        using var folder = new MdsDataset(_folder["set"]);
        Assert.Equal((folder.Count, folder.Index.Digest), (data.Count, data.Index.Digest));
        int[] order = [.. Enumerable.Range(0, 3 * Samples).Select(i => i * 17 % Samples)];
        await Parallel.ForEachAsync(order, Cancellation, (sample, _) =>
        {
            Assert.Equal(folder[sample].Bytes("x").ToArray(), data[sample].Bytes("x").ToArray());
            return ValueTask.CompletedTask;
        });
        foreach (int sample in order)
        {
            _ = data[sample];
            Assert.InRange(Cached().Sum(file => file.Length), 1, 2 * Largest("set"));
        }

        Assert.True(_store.Reads > folder.Index.Shards.Count + 1);
        Assert.All(
            Cached(), file => Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, file.UnixFileMode));
    }

    [Fact]
    public async Task ForeseenShards_AreFetchedInAdvance_AndWhatIsCachedIsNotFetchedAgain()
    {
        string digest = await WriteAsync("set");
        using var cache = new ShardCache(_folder["cache"], 1 << 20, _store);
        using (MdsDataset data = await cache.OpenAsync(digest, Cancellation))
        {
            data.Foresee([.. Enumerable.Range(0, data.Index.Shards.Count).Select(i => new ShardAhead(i, i))]);
            await UntilAsync(() => Cached().Count(file => file.Extension == ".mds") == data.Index.Shards.Count);
            int reads = _store.Reads;
            ReadAll(data);
            Assert.Equal(reads, _store.Reads);
        }

        using MdsDataset again = await cache.OpenAsync(digest, Cancellation);
        ReadAll(again);
        Assert.Equal(again.Index.Shards.Count + 1, _store.Reads);
    }

    [Fact]
    public async Task FilesOfAnEarlierProcess_AreUsed_AfterTheirDigestsAreChecked()
    {
        string digest = await WriteAsync("set");
        using (var first = new ShardCache(_folder["cache"], 1 << 20, _store))
        {
            using MdsDataset data = await first.OpenAsync(digest, Cancellation);
            ReadAll(data);
            Assert.Contains(
                "another process", Assert.Throws<RefusedFileException>(
                    () => new ShardCache(_folder["cache"], 1 << 20, _store)).Message);
        }

        string[] shards = [.. Cached().Select(file => file.FullName)];
        Flip(shards[1]);
        await File.WriteAllTextAsync(shards[0] + ".part", "left by a process that was killed", Cancellation);
        int reads = _store.Reads;
        using var second = new ShardCache(_folder["cache"], 1 << 20, _store);
        Assert.DoesNotContain(Cached(), file => file.Extension == ".part");
        using MdsDataset again = await second.OpenAsync(digest, Cancellation);
        ReadAll(again);
        Assert.Equal(reads + 1, _store.Reads); // The damaged one.

        Flip(shards[2]);
        ReadAll(again);
        Assert.Equal(reads + 2, _store.Reads);
    }

    [Fact]
    public async Task WhatCannotBeFetched_IsRefusedByName_AndReadOnceItCan()
    {
        string digest = await WriteAsync("set");
        using var cache = new ShardCache(_folder["cache"], 1 << 20, _store);
        using MdsDataset data = await cache.OpenAsync(digest, Cancellation);
        _store.Fault = new IOException("the bucket is gone");
        RefusedFileException refusal = Assert.Throws<RefusedFileException>(() => ReadAll(data));
        Assert.Equal(
            $"blob:{digest}/shard.00000.mds: file: cannot be fetched: the bucket is gone", refusal.Message);
        Assert.Empty(Cached());
        _store.Fault = null;
        ReadAll(data);

        await Assert.ThrowsAsync<IOException>(() => cache.OpenAsync(new string('0', 64), Cancellation));
    }

    [Fact]
    public async Task AFullDisk_MakesTheCacheSmaller_AndIsNamedIfNothingFits()
    {
        string digest = await WriteAsync("set");
        using var cache = new ShardCache(_folder["cache"], 1 << 20, _store);
        using MdsDataset data = await cache.OpenAsync(digest, Cancellation);
        _ = data[0];
        long room = 2 * Largest("set");
        _store.Writing = bytes =>
        {
            if (Cached().Sum(file => file.Length) + bytes > room)
            {
                // What Linux reports, from a device that is always full.
                using var full = new FileStream("/dev/full", FileMode.Open, FileAccess.Write, FileShare.None, 0);
                full.WriteByte(1);
            }
        };
        ReadAll(data);

        room = 0;
        using MdsDataset again = await cache.OpenAsync(digest, Cancellation);
        Assert.Contains(
            "is full; it needs", Assert.Throws<RefusedFileException>(() => ReadAll(again)).Message);
        room = 1 << 20;
        using MdsDataset last = await cache.OpenAsync(digest, Cancellation);
        ReadAll(last);
    }

    [Fact]
    public async Task AFileThatIsLargerThanTheCache_IsRefused()
    {
        string digest = await WriteAsync("set");
        using var cache = new ShardCache(_folder["cache"], Largest("set") - 1, _store);
        RefusedFileException refusal = await Assert.ThrowsAsync<RefusedFileException>(
            () => cache.OpenAsync(digest, Cancellation));
        Assert.Contains("TrainingData:CacheMegabytes", refusal.Message);
    }

    [Fact]
    public async Task TwoSetsInOneCache_ShareItsSize()
    {
        string one = await WriteAsync("one"), two = await WriteAsync("two", offset: 100);
        using var cache = new ShardCache(_folder["cache"], 3 * Largest("two"), _store);
        using MdsDataset first = await cache.OpenAsync(one, Cancellation);
        using MdsDataset second = await cache.OpenAsync(two, Cancellation);
        ReadAll(first);
        ReadAll(second, 100);
        ReadAll(first);
        Assert.InRange(
            Cached().Sum(file => file.Length), 1, 3 * Largest("two"));
    }

    private static void ReadAll(MdsDataset data, int offset = 0)
    {
        for (int i = 0; i < Samples; i++)
        {
            Assert.Equal((byte)(i + offset), data[i].Bytes("x").Span[0]);
        }
    }

    private static void Flip(string path)
    {
        byte[] bytes = File.ReadAllBytes(path);
        bytes[^1] ^= 1;
        File.WriteAllBytes(path, bytes);
        File.SetLastWriteTimeUtc(path, DateTime.UtcNow.AddSeconds(5));
    }

    private static async Task UntilAsync(Func<bool> condition)
    {
        while (!condition())
        {
            await Task.Delay(TimeSpan.FromMilliseconds(5), TimeProvider.System, Cancellation);
        }
    }

    private FileInfo[] Cached() => [.. new DirectoryInfo(_folder["cache"]).GetFiles("*", SearchOption.AllDirectories)
        .Where(file => file.Name is not (".lock" or MdsIndex.FileName) && file.Exists)];

    private long Largest(string set) => MdsIndex.Read(_folder[set]).Shards.Max(shard => shard.Stored.Bytes);

    private async Task<string> WriteAsync(string name, string? compression = null, int offset = 0)
    {
        var writer = new MdsWriter(
            _folder[name], new Dictionary<string, string> { ["x"] = "bytes" },
            new MdsWriteOptions { SizeLimit = 400, Compression = compression });
        for (int i = 0; i < Samples; i++)
        {
            byte[] value = [.. Enumerable.Repeat((byte)(i + offset), 50)];
            writer.Write(new Dictionary<string, object> { ["x"] = value });
        }

        Assert.InRange(writer.Complete().Shards.Count, 5, Samples);
        DataManifest manifest = await DataManifest.OfFolderAsync(_folder[name], (piece, bytes) =>
        {
            _store.Pieces[piece.Sha256] = bytes.ToArray();
            return Task.CompletedTask;
        }, Cancellation);
        byte[] json = manifest.Write();
        string digest = Convert.ToHexStringLower(SHA256.HashData(json));
        _store.Pieces[digest] = json;
        return digest;
    }

    private sealed class MemoryStore : IDataStore
    {
        private int _reads;

        public ConcurrentDictionary<string, byte[]> Pieces { get; } = new();

        public Exception? Fault { get; set; }

        public Action<int> Writing { get; set; } = _ => { };

        /// <summary>Number of files that were read.</summary>
        public int Reads => _reads;

        public Task<DataManifest> ReadManifestAsync(string digest, CancellationToken cancellation) =>
            Task.FromResult(DataManifest.Parse(
                Pieces.GetValueOrDefault(digest) ?? throw new IOException("no such blob"), digest));

        public async Task ReadAsync(DataFile file, Stream destination, CancellationToken cancellation)
        {
            Interlocked.Increment(ref _reads);
            await Task.Yield();
            if (Fault is not null)
            {
                throw Fault;
            }

            foreach (DataPiece piece in file.Pieces)
            {
                Writing(Pieces[piece.Sha256].Length);
                await destination.WriteAsync(Pieces[piece.Sha256], cancellation);
            }
        }
    }
}
