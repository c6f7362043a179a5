// Goal: a stage whose data are in the blob store has the bits of the same stage with the data in a folder, also if the
// cache holds half of them and the store is slow and fails; what the store does not have or cannot give is refused with
// its name. Method: the toy stage with its data in shards, in a blob store that fails every fifth time.
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Model;
using Atelier.Model.Data.Caching;
using Atelier.Model.Data.Mds;
using Atelier.Model.Networks;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Tests.Training;
using Atelier.Model.Tests.Training.Runs;
using Atelier.Model.Training;
using Atelier.Model.Training.Runs;
using Atelier.Silo.Blobs;
using Atelier.Silo.Devices;
using Atelier.Silo.Training;
using Atelier.Silo.Training.Data;
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Silo.Tests.Training.Data;

public sealed class BlobDataTests : IDisposable
{
    private const int Samples = 128;
    private readonly string _folder = Directory.CreateTempSubdirectory("atelier-data").FullName;
    private readonly TorchDeviceOptions _options = new();
    private readonly DeviceLane _lane;
    private readonly FaultyBlobs _blobs;

    public BlobDataTests()
    {
        _lane = DeviceLane.Of(_options, TimeProvider.System);
        _blobs = new FaultyBlobs(new FolderBlobStore(
            new FolderBlobStoreOptions { Folder = In("blobs") }, TimeProvider.System));
        Write(SmallNetworks.Tiny);
    }

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private long DataBytes => MdsIndex.Read(In("data")).Shards.Sum(shard => shard.Stored.Bytes);

    public void Dispose()
    {
        _lane.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Theory]
    [InlineData(SampleOrder.Version)]
    [InlineData(SampleOrder.UniformVersion)]
    public async Task StageWithDataInAStoreThatFails_HasTheBitsOfAFolder(int orderVersion)
    {
        StageConfig config = Config(In("data")) with { OrderVersion = orderVersion };
        using var folder = LatentData.Of(config);
        string expected = ToyStage.Run(config, data: folder);
        string set = await UploadAsync();
        (_blobs.FailsEvery, _blobs.Latency) = (5, TimeSpan.FromMilliseconds(5));
        using SiloDataSets sets = Sets(DataBytes / 2);
        LatentData data = await LatentData.OpenAsync(config with { DataFolders = [set] }, sets, Cancellation);
        await using var work = new TorchStageWork(
            config with { DataFolders = [set], Folder = In("cluster") }, new StagePlan("run", "toy", "", []), data,
            new TrainingLane(_lane, TimeSpan.FromMinutes(5)));
        Assert.Equal(StageIdentity.Of(config, folder).ToJson(), work.Facts.Identity);
        Assert.Equal(new DataStream(set, 0, Samples), Assert.Single(data.Streams));
        await work.ResetAsync(null);
        await TrainAsync(work);
        Assert.Equal(expected, TrainingState.Digest((await work.ExportAsync())[0]));
        Assert.True(_blobs.Failures > 3, $"{_blobs.Failures} failures");
        Assert.InRange(
            new DirectoryInfo(In("cache")).GetFiles("*.mds", SearchOption.AllDirectories).Sum(file => file.Length),
            1, DataBytes / 2);
    }

    [Fact]
    public async Task WhatTheStoreDoesNotHave_OrDoesNotGive_IsRefusedByName()
    {
        string set = await UploadAsync();
        using SiloDataSets sets = Sets(DataBytes, TimeSpan.Zero);
        string other = "blob:" + new string('0', 64);
        Assert.Contains(
            "upload the data again",
            (await Assert.ThrowsAsync<FileNotFoundException>(() => sets.OpenAsync(other, Cancellation))).Message);
        using MdsDataset data = await sets.OpenAsync(set, Cancellation);
        _blobs.FailsEvery = 1;
        RefusedFileException refusal = Assert.Throws<RefusedFileException>(() => data[0]);
        Assert.Equal(
            $"{set}/shard.00000.mds: file: cannot be fetched: the store does not answer", refusal.Message);
        _blobs.FailsEvery = 0;
        _ = data[0];
    }

    [Fact]
    public async Task AStageThatLosesItsStore_IsRefusedWithTheFile()
    {
        string set = await UploadAsync();
        StageConfig config = Config(set);
        using SiloDataSets sets = Sets(DataBytes / 2, TimeSpan.Zero);
        LatentData data = await LatentData.OpenAsync(config, sets, Cancellation);
        await using var work = new TorchStageWork(
            config, new StagePlan("run", "toy", "", []), data, new TrainingLane(_lane, TimeSpan.FromMinutes(5)));
        _blobs.FailsEvery = 1;
        StageRefusedException refusal = await Assert.ThrowsAsync<StageRefusedException>(
            () => work.ComputeShardsAsync(0, [.. Enumerable.Range(0, config.StepSettings.Shards)]));
        Assert.Contains($"toy cannot be trained on this device at step 0: {set}/shard.", refusal.Message);
        _blobs.FailsEvery = 0;
        Assert.Equal(2, (await work.ComputeShardsAsync(0, [0, 1])).Count);
    }

    // A measurement: how much of the time the device computes, if steps take about as long as a few calls of the store.
    // Run it with --explicit only.
    [Fact(Explicit = true)]
    public async Task DeviceIsBusy_DespiteASlowStore()
    {
        Directory.Delete(In("data"), recursive: true);
        Write(SmallNetworks.Realistic);
        StageConfig config = Config(In("data")) with { Network = SmallNetworks.Realistic, Steps = 60 };
        string set = await UploadAsync();
        (_blobs.FailsEvery, _blobs.Latency) = (5, TimeSpan.FromMilliseconds(50));
        using SiloDataSets sets = Sets(DataBytes / 2);
        string[] digests = ["", ""];
        foreach (string entry in new[] { In("data"), set })
        {
            LatentData data = await LatentData.OpenAsync(config with { DataFolders = [entry] }, sets, Cancellation);
            var timed = new TimedData(data);
            await using var work = new TorchStageWork(
                config, new StagePlan("run", "toy", "", []), timed, new TrainingLane(_lane, TimeSpan.FromMinutes(5)));
            await work.ResetAsync(null);
            long begun = Stopwatch.GetTimestamp();
            await TrainAsync(work, config.Steps);
            TimeSpan all = Stopwatch.GetElapsedTime(begun);
            digests[entry == set ? 1 : 0] = TrainingState.Digest((await work.ExportAsync())[0]);
            TestContext.Current.TestOutputHelper!.WriteLine(
                $"{entry}: {config.Steps} steps in {all.TotalSeconds:f1} s, of which "
                + $"{timed.Reading.TotalSeconds:f1} s for data: busy {1 - (timed.Reading / all):p1}; "
                + $"{_blobs.Failures} failures");
        }

        Assert.Equal(digests[0], digests[1]);
    }

    private static async Task TrainAsync(TorchStageWork work, long steps = ToyStage.Steps)
    {
        RunPosition position = RunPosition.Start;
        for (long step = 0; step < steps; step++)
        {
            int[] shards = [.. Enumerable.Range(0, work.Facts.Shards)];
            IReadOnlyList<ShardSum> sums = await work.ComputeShardsAsync(step, shards);
            var tree = new ReductionTree<GradientSlice>(work.Facts.Shards, GradientSlice.Merge);
            foreach ((int shard, ShardSum sum) in shards.Zip(sums))
            {
                tree.Add(shard, new GradientSlice(sum.Gradient, sum.Sums));
            }

            var total = new ShardSum(tree.Total!.Values.ToArray(), tree.Total.Sums!);
            BatchOutcome batch = await work.MeasureAsync(total);
            StepDecision decision = work.Facts.Rules.Decide(position, batch, work.Place);
            await work.UpdateAsync(step, batch);
            position = decision.Position;
        }
    }

    private static StageConfig Config(string data) => ToyStage.Config(Path.GetTempPath()) with
    {
        DataFolders = [data],
        Folder = Path.Combine(Path.GetTempPath(), $"atelier-{Guid.NewGuid():N}"),
    };

    private SiloDataSets Sets(long bytes, TimeSpan? timeout = null) => new(
        "silo", new TrainingDataOptions
        {
            CacheFolder = In("cache"), CacheBytes = bytes, FetchTimeout = timeout ?? TimeSpan.FromMinutes(5),
        },
        _blobs, TimeProvider.System);

    private string In(string name) => Path.Combine(_folder, name);

    // As `atelier runs submit --upload` does.
    private async Task<string> UploadAsync()
    {
        var owner = new BlobOwner(BlobOwnerType.Run, "run");
        DataManifest manifest = await DataManifest.OfFolderAsync(
            In("data"), (piece, bytes) => PutAsync(piece.Sha256, bytes), Cancellation);
        string digest = Convert.ToHexStringLower(SHA256.HashData(manifest.Write()));
        await PutAsync(digest, manifest.Write());
        return "blob:" + digest;

        async Task PutAsync(string sha256, ReadOnlyMemory<byte> bytes)
        {
            using var stream = new MemoryStream(bytes.ToArray());
            await _blobs.PutAsync(
                BlobName.OfCluster(BlobKind.Data, sha256), owner, stream, bytes.Length, Cancellation);
        }
    }

    // The toy's samples in 32 shards.
    private void Write(MicroDiTConfig network)
    {
        var toy = new ToyData(Samples, network);
        float[] latent = new float[4 * network.InputSize * network.InputSize];
        float[] caption = new float[5 * network.CaptionChannels];
        int sample = 2 * (latent.Length + caption.Length);
        var writer = new MdsWriter(
            In("data"), new Dictionary<string, string> { ["caption_latents"] = "bytes", ["latents_64"] = "bytes" },
            new MdsWriteOptions { SizeLimit = (9 * sample) / 2 });
        for (int i = 0; i < Samples; i++)
        {
            toy.Read(i, latent, caption);
            writer.Write(new Dictionary<string, object>
            {
                ["caption_latents"] = Halves(caption), ["latents_64"] = Halves(latent),
            });
        }

        Assert.InRange(writer.Complete().Shards.Count, 32, 43);

        static ReadOnlyMemory<byte> Halves(float[] values) =>
            MemoryMarshal.AsBytes<Half>([.. values.Select(value => (Half)value)]).ToArray();
    }

    /// <summary>Data whose reading is timed.</summary>
    private sealed class TimedData(LatentData data) : ITrainingData, IDisposable
    {
        public TimeSpan Reading { get; private set; }

        public int Count => data.Count;

        public string Digest => data.Digest;

        public (int Channels, int Height, int Width) LatentShape => data.LatentShape;

        public (int Length, int Channels) CaptionShape => data.CaptionShape;

        public void Foresee(IEnumerable<int> samples) => data.Foresee(samples);

        public void Read(int sample, Span<float> latent, Span<float> caption)
        {
            long begun = Stopwatch.GetTimestamp();
            data.Read(sample, latent, caption);
            Reading += Stopwatch.GetElapsedTime(begun);
        }

        public void Dispose() => data.Dispose();
    }

    /// <summary>
    /// A blob store that takes its time to open a blob, and fails at times before or within its bytes.
    /// </summary>
    private sealed class FaultyBlobs(IBlobStore store) : IBlobStore
    {
        private int _calls, _failures;

        public int FailsEvery { get; set; }

        public TimeSpan Latency { get; set; }

        public int Failures => _failures;

        public Task PutAsync(
            BlobName name, BlobOwner owner, Stream content, long length, CancellationToken cancellation) =>
            store.PutAsync(name, owner, content, length, cancellation);

        public async Task<BlobContent?> OpenAsync(BlobName name, BlobRange range, CancellationToken cancellation)
        {
            await Task.Delay(Latency, TimeProvider.System, cancellation);
            BlobContent? content = await store.OpenAsync(name, range, cancellation);
            int call = Interlocked.Increment(ref _calls);
            if (content is null || FailsEvery == 0 || call % FailsEvery != 0)
            {
                return content;
            }

            if (Interlocked.Increment(ref _failures) % 2 == 1)
            {
                await content.DisposeAsync();
                throw new IOException("the store does not answer");
            }

            return content with { Stream = new Breaking(content.Stream) };
        }

        public Task ReleaseAsync(BlobName name, BlobOwner owner, CancellationToken cancellation) =>
            store.ReleaseAsync(name, owner, cancellation);

        public IAsyncEnumerable<StoredBlob> ListAsync(CancellationToken cancellation) => store.ListAsync(cancellation);

        public Task<bool> ReleaseOlderAsync(
            BlobName name, BlobOwner? owner, DateTimeOffset before, CancellationToken cancellation) =>
            store.ReleaseOlderAsync(name, owner, before, cancellation);

        private sealed class Breaking(Stream inner) : MemoryStream
        {
            private bool _isBroken;

            public override async ValueTask<int> ReadAsync(
                Memory<byte> buffer, CancellationToken cancellationToken = default)
            {
                int read = _isBroken ? throw new IOException("the store does not answer")
                    : await inner.ReadAsync(buffer[..Math.Min(100, buffer.Length)], cancellationToken);
                _isBroken = true;
                return read;
            }

            public override async Task CopyToAsync(
                Stream destination, int bufferSize, CancellationToken cancellationToken)
            {
                byte[] buffer = new byte[100];
                while (true)
                {
                    int read = await ReadAsync(buffer, cancellationToken);
                    await destination.WriteAsync(buffer.AsMemory(0, read), cancellationToken);
                }
            }

            protected override void Dispose(bool disposing)
            {
                inner.Dispose();
                base.Dispose(disposing);
            }
        }
    }
}
