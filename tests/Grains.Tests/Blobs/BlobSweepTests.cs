// Goal: a sweep removes what no owner needs and nothing else: not what is younger than the grace period, not what an
// owner did not answer for, not what owners hold that cannot be asked, and not what is put while it sweeps. Method: a
// store in memory with times, owners that answer by hand, and generations of a real cluster.
using Atelier.Contracts;
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Training;
using Atelier.Grains.Blobs;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Cluster;
using Atelier.Grains.Tests.Models;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Grains.Tests.Training;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Atelier.Grains.Tests.Blobs;

public sealed class BlobSweepTests : IDisposable
{
    private static readonly TimeSpan s_grace = TimeSpan.FromHours(24);
    private static readonly BlobOwner s_one = Owner("one"), s_two = Owner("two");

    private readonly Clock _clock = new();
    private readonly FakeBlobStore _store;
    private readonly HashSet<string> _needing = [];
    private readonly List<string> _asked = [];
    private readonly LogKeeper _log = new();
    private Func<BlobName, Task> _asking = _ => Task.CompletedTask;

    public BlobSweepTests() => _store = new FakeBlobStore { Clock = _clock };

    public void Dispose() => _log.Dispose();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ADryRun_SaysWhatWouldBeRemoved_AndRemovesNothing()
    {
        BlobName three = await PutAsync([1, 2, 3], s_one), two = await PutAsync([4, 5], s_one, s_two);
        await PutAsync([6], Owner("needs"));
        _needing.Add("needs");
        _clock.Advance(s_grace + TimeSpan.FromSeconds(1));
        (BlobSweep dry, SweptBlob[] found) = await SweepAsync(isDryRun: true);
        Assert.Equal([three, two], found.Select(one => one.Blob.Name).OrderByDescending(name => name == three));
        Assert.All(found, one => Assert.False(one.IsRemoved));
        Assert.Equal((3, 6, 2, 5), (dry.Listed.Blobs, dry.Listed.Bytes, dry.Unneeded.Blobs, dry.Unneeded.Bytes));
        Assert.Equal(default, dry.Removed);
        Assert.Equal(3, _store.Count);
        (BlobSweep real, found) = await SweepAsync(isDryRun: false);
        Assert.All(found, one => Assert.True(one.IsRemoved));
        Assert.Equal(dry.Unneeded, real.Removed);
        Assert.Equal(1, _store.Count);
    }

    [Fact]
    public async Task WhatIsAsYoungAsTheGracePeriod_IsNotEvenAskedFor()
    {
        BlobName name = await PutAsync([1], s_one);
        _clock.Advance(s_grace);
        (BlobSweep sweep, _) = await SweepAsync(isDryRun: false);
        Assert.Equal((1, 0), (sweep.Young.Blobs, _asked.Count));
        _clock.Advance(TimeSpan.FromTicks(1));
        await PutAsync([1], s_two);
        (sweep, _) = await SweepAsync(isDryRun: false);
        Assert.Equal((1, 0), (sweep.Young.Blobs, _asked.Count));
        Assert.True(_store.Has(name));
        Assert.Throws<ArgumentOutOfRangeException>(() => new BlobSweep(
            _store, Owners(), _clock, BlobSweep.GraceMin - TimeSpan.FromTicks(1), isDryRun: true));
    }

    [Fact]
    public async Task ABlobOfSeveralOwners_StaysWhileOneOfThemNeedsIt()
    {
        BlobName name = await PutAsync([1], s_one, s_two);
        _clock.Advance(2 * s_grace);
        foreach (string needing in (string[])["one", "two"])
        {
            _needing.Clear();
            _needing.Add(needing);
            Assert.Empty((await SweepAsync(isDryRun: false)).Found);
            Assert.True(_store.Has(name));
        }
    }

    [Theory]
    [InlineData(typeof(TimeoutException))]
    [InlineData(typeof(IOException))]
    [InlineData(typeof(InvalidOperationException))]
    public async Task AnOwnerThatDoesNotAnswer_KeepsItsBlobs(Type error)
    {
        using var measurements = new Measurements(factories: [null]);
        BlobName name = await PutAsync([1], s_one, s_two);
        _clock.Advance(2 * s_grace);
        _asking = _ => _asked[^1] == "two" ? throw (Exception)Activator.CreateInstance(error)! : Task.CompletedTask;
        (BlobSweep sweep, SweptBlob[] found) = await SweepAsync(isDryRun: false);
        Assert.Empty(found);
        Assert.Equal(1, sweep.InDoubt.Blobs);
        Assert.True(_store.Has(name));
        LogEvent logged = Assert.Single(_log.Of(121));
        Assert.Equal(("1", name.Value), (logged["Count"], logged["Blob"]));
        Assert.Contains("two", logged["Owner"], StringComparison.Ordinal);
        string series = $"atelier.call.unanswered{{code.function.name=MayNeedAsync,error.type={error.Name}}}";
        Assert.True(measurements[series] > 0, $"{series} is not counted"); // Other tests may count at the same time.
    }

    [Fact]
    public async Task ManyOwnersThatDoNotAnswer_AreOneLine()
    {
        for (byte i = 0; i < 20; i++)
        {
            await PutAsync([i], s_one);
        }

        _clock.Advance(2 * s_grace);
        _asking = _ => throw new TimeoutException();
        (BlobSweep sweep, _) = await SweepAsync(isDryRun: false);
        Assert.Equal(20, sweep.InDoubt.Blobs);
        Assert.Single(_log.Of(121));
    }

    [Fact]
    public async Task OwnersThatCannotBeAsked_KeepTheirBlobs()
    {
        BlobName[] names =
        [
            await PutAsync([1], new BlobOwner(BlobOwnerType.Session, "s")),
            await PutAsync([2], new BlobOwner(BlobOwnerType.Run, "r"), s_one),
            await PutAsync([3], s_one, new BlobOwner(BlobOwnerType.Upload, "u")),
        ];
        _clock.Advance(2 * s_grace);
        Assert.Empty((await SweepAsync(isDryRun: false)).Found);
        Assert.All(names, name => Assert.True(_store.Has(name)));
    }

    [Fact]
    public async Task FilesOfAPublishedModel_AreKept_AndThoseOfNoEntryAreNot()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => null);
        cluster.Blobs.Clock = _clock;
        PublishedModel model = PublishedModelsTests.Model("one", step: 3);
        await cluster.Grains.PublishedModels().PublishAsync(model);
        await PutAsync(model.Owner);
        await PutAsync("interrupted");
        var owners = BlobOwners.Of(
            cluster.Grains, new LogLimits(_clock), new LoggerFactory([_log]).CreateLogger<BlobOwners>());
        await SweepAsync(cluster, owners);
        Assert.All(model.Files, file => Assert.True(cluster.Blobs.Has(file.Blob)));

        Assert.True(await cluster.Grains.PublishedModels().WithdrawAsync("one"));
        await SweepAsync(cluster, owners);
        Assert.All(model.Files, file => Assert.True(cluster.Blobs.Has(file.Blob)));
        Assert.Equal(model.Files.Length, cluster.Blobs.Count);

        async Task PutAsync(string owner)
        {
            foreach (PublishedFile file in owner == model.Owner ? model.Files : [new("x", new string('e', 64), 1)])
            {
                await cluster.Blobs.PutAsync(
                    file.Blob, new BlobOwner(BlobOwnerType.Model, owner), [1], Cancellation);
            }
        }
    }

    [Fact]
    public async Task WhatIsPutWhileItIsSwept_Stays()
    {
        BlobName name = await PutAsync([1], s_one);
        _clock.Advance(2 * s_grace);

        // The owner says that it does not need it, and stores it at that moment.
        _asking = _ => PutAsync([1], s_one);
        (BlobSweep sweep, SweptBlob[] found) = await SweepAsync(isDryRun: false);
        Assert.False(Assert.Single(found).IsRemoved);
        Assert.Equal((1, 0), (sweep.Unneeded.Blobs, sweep.Removed.Blobs));
        Assert.True(_store.Has(name));
    }

    [Fact]
    public async Task AStoreThatReleasesNothing_IsADoubt_AndTheRestIsSwept()
    {
        await PutAsync([1], s_one);
        _clock.Advance(2 * s_grace);
        _store.IsAway = true;
        (BlobSweep sweep, SweptBlob[] found) = await SweepAsync(isDryRun: false);
        Assert.False(Assert.Single(found).IsRemoved);
        Assert.Equal((1, 0), (sweep.InDoubt.Blobs, sweep.Removed.Blobs));
    }

    [Fact]
    public async Task GenerationsOfACluster_NeedAllWhileTheyAreOpen_AndThenWhatTheyName()
    {
        var letGo = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var device = new FakeDevice("d", 1)
        {
            Decoding = () => letGo.Task.IsCompleted ? Task.CompletedTask : letGo.Task,
        };
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => device);
        cluster.Blobs.Clock = _clock;
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1, 5), Previews = 1 });

        // Blobs that a worker stored without reporting them: one of an open generation, and one of a generation that
        // never existed.
        byte[] left = FakeDevice.Bytes("left");
        await cluster.Blobs.PutAsync(BlobKind.Snapshot, Key("g"), left, Cancellation);
        await cluster.Blobs.PutAsync(BlobKind.Snapshot, Key("never"), FakeDevice.Bytes("never"), Cancellation);
        var owners = BlobOwners.Of(
            cluster.Grains, new LogLimits(_clock), new LoggerFactory([_log]).CreateLogger<BlobOwners>());
        await SweepAsync(cluster, owners);
        Assert.True(cluster.Blobs.Has(BlobBytes.NameOf(BlobKind.Snapshot, TestCluster.Tenant, left)));
        Assert.False(cluster.Blobs.Has(
            BlobBytes.NameOf(BlobKind.Snapshot, TestCluster.Tenant, FakeDevice.Bytes("never"))));
        letGo.SetResult();
        List<GenerationEvent> events = await cluster.WatchAsync("g");
        await TestCluster.UntilAsync(() => Task.FromResult(cluster.Blobs.Count == 3));
        await SweepAsync(cluster, owners);
        Assert.Equal(
            [events[^1].Picture!.Value, Assert.Single(events, one => one.Preview is not null).Preview!.Value],
            cluster.Blobs.Names.OrderBy(name => name.Value, StringComparer.Ordinal));
        await cluster.Generation("g").DeleteAsync();
        await TestCluster.UntilAsync(() => Task.FromResult(cluster.Blobs.Count == 0));
    }

    [Fact]
    public async Task ADataSet_IsNeededWhileAnOpenRunNamesIt()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => new FakeDevice("d", 1));
        cluster.Blobs.Clock = _clock;
        string set = new('a', 64);
        byte[] bytes = [1, 2, 3];
        BlobName piece = BlobName.OfCluster(
            BlobKind.Data, Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes)));
        using var stream = new MemoryStream(bytes);
        await cluster.Blobs.PutAsync(
            piece, new BlobOwner(BlobOwnerType.DataSet, set), stream, bytes.Length, Cancellation);
        ITrainingRunGrain run = cluster.Grains.GetGrain<ITrainingRunGrain>("run");
        StageSource other = new() { Name = "other", Configuration = "" };
        await run.SubmitStagesAsync([other, other with { Overrides = [$"dataset.train.datadir=blob:{set}"] }]);
        var owners = BlobOwners.Of(
            cluster.Grains, new LogLimits(_clock), new LoggerFactory([_log]).CreateLogger<BlobOwners>());
        await SweepAsync(cluster, owners);
        Assert.True(cluster.Blobs.Has(piece));
        await run.CancelAsync();
        await SweepAsync(cluster, owners);
        Assert.False(cluster.Blobs.Has(piece));
    }

    private async Task SweepAsync(TestCluster cluster, BlobOwners owners)
    {
        _clock.Advance(2 * s_grace);
        var sweep = new BlobSweep(cluster.Blobs, owners, _clock, s_grace, isDryRun: false);
        await sweep.RunAsync(Cancellation).ToArrayAsync(Cancellation);
        Assert.Equal(default, sweep.InDoubt);
    }

    private async Task<(BlobSweep Sweep, SweptBlob[] Found)> SweepAsync(bool isDryRun)
    {
        var sweep = new BlobSweep(_store, Owners(), _clock, s_grace, isDryRun);
        return (sweep, await sweep.RunAsync(Cancellation).ToArrayAsync(Cancellation));
    }

    private BlobOwners Owners() => new(new Dictionary<BlobOwnerType, AskOwner>
    {
        [BlobOwnerType.Generation] = async (blob, id) =>
        {
            _asked.Add(id);
            await _asking(blob);
            return _needing.Contains(id);
        },
    }, new LogLimits(_clock), new LoggerFactory([_log]).CreateLogger<BlobOwners>());

    private async Task<BlobName> PutAsync(byte[] bytes, params BlobOwner[] owners)
    {
        BlobName name = BlobBytes.NameOf(BlobKind.Picture, TestCluster.Tenant, bytes);
        foreach (BlobOwner owner in owners)
        {
            await _store.PutAsync(name, owner, bytes, Cancellation);
        }

        return name;
    }

    private sealed class Clock : TimeProvider
    {
        private DateTimeOffset _now = new(2030, 1, 1, 0, 0, 0, TimeSpan.Zero);

        public void Advance(TimeSpan by) => _now += by;

        public override DateTimeOffset GetUtcNow() => _now;
    }

    private static GenerationKey Key(string id) => new(TestCluster.Tenant, new GenerationId(id));

    private static BlobOwner Owner(string id) => BlobOwner.Of(new GenerationId(id));
}
