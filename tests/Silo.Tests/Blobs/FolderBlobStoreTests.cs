// Goal: behavior of folders only: what dead writers left behind is removed once it is old, and the release of an old
// file never loses a new put. Method: files that dead processes left, and races in a loop.
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Silo.Blobs;
using Atelier.Silo.Tests.Hosting;
using Xunit;

namespace Atelier.Silo.Tests.Blobs;

public sealed class FolderBlobStoreTests : BlobStoreTests, IDisposable
{
    private static readonly BlobOwner s_owner = Owner("one");
    private readonly string _folder = Directory.CreateTempSubdirectory("blobs").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task AWriteThatTheDiskRefuses_CanBeRetried()
    {
        IBlobStore store = Open();
        BlobName name = NameOf(Bytes);
        string digest = name.Sha256, inTheWay = Path.Combine(_folder, "pictures", "tenant", digest[..2], digest, "one");
        Directory.CreateDirectory(inTheWay);
        await Assert.ThrowsAsync<IOException>(() => store.PutAsync(name, s_owner, Bytes, Cancellation));
        await Assert.ThrowsAsync<IOException>(() => store.ReleaseAsync(name, s_owner, Cancellation));
        Directory.Delete(inTheWay);
        await store.PutAsync(name, s_owner, Bytes, Cancellation);
        Assert.Equal(Bytes, await store.GetAsync(name, Cancellation));
    }

    // What a release that deletes the folder does to a put: ENOENT, EEXIST, ENOTEMPTY.
    [Fact]
    public void ARaceWithReleases_IsSurvived_AndAFaultThatStays_IsAnErrorAfterTheLastAttempt()
    {
        foreach (IOException race in new IOException[]
            { new DirectoryNotFoundException(), new FileNotFoundException(), new("exists", 17), new("not empty", 39) })
        {
            Assert.Equal(100, Attempts(failures: 99, race, fails: false));
            Assert.Equal(100, Attempts(failures: int.MaxValue, race, fails: true));
        }

        Assert.Equal(1, Attempts(failures: int.MaxValue, new IOException("No space left on device.", 28), fails: true));

        static int Attempts(int failures, IOException error, bool fails)
        {
            int attempts = 0;
            Exception? thrown = Record.Exception(() => FolderBlobStore.RetryRaces(() =>
            {
                if (++attempts <= failures)
                {
                    throw error;
                }
            }));
            Assert.Same(fails ? error : null, thrown);
            return attempts;
        }
    }

    // The file looks like another put's folder that is created and deleted again and again.
    [Fact]
    public async Task AFileWhereAFolderMustBe_FailsThePut()
    {
        IBlobStore store = Open();
        BlobName name = NameOf(Bytes);
        string inTheWay = Path.Combine(_folder, "pictures", "tenant", name.Sha256[..2]);
        Directory.CreateDirectory(Path.GetDirectoryName(inTheWay)!);
        await File.WriteAllBytesAsync(inTheWay, [], Cancellation);
        await Assert.ThrowsAnyAsync<IOException>(() => store.PutAsync(name, s_owner, Bytes, Cancellation));
        Assert.Equal([inTheWay], Files());
        File.Delete(inTheWay);
        await store.PutAsync(name, s_owner, Bytes, Cancellation);
        Assert.Equal(Bytes, await store.GetAsync(name, Cancellation));
    }

    [Fact]
    public async Task LeftoversOfDeadWriters_AreNotBlobs_AndAreRemovedOnceTheyAreOld()
    {
        IBlobStore store = Open();
        BlobName name = NameOf(Bytes);
        string young = Path.Combine(_folder, "aside", "young"), old = Path.Combine(_folder, "aside", "old");
        await File.WriteAllBytesAsync(young, Bytes, Cancellation);
        await File.WriteAllBytesAsync(old, Bytes[..1], Cancellation);
        File.SetLastWriteTimeUtc(old, DateTime.UtcNow.AddHours(-2));

        // A writer died after it had created the folder.
        string digest = name.Sha256;
        Directory.CreateDirectory(Path.Combine(_folder, "pictures", "tenant", digest[..2], digest));
        Assert.Null(await store.GetAsync(name, Cancellation));
        IBlobStore next = Open();
        Assert.Equal([young], Files());
        Assert.Null(await next.GetAsync(name, Cancellation));
        await next.PutAsync(name, s_owner, Bytes, Cancellation);
        Assert.Equal(Bytes, await next.GetAsync(name, Cancellation));
    }

    [Fact]
    public async Task APut_DuringTheReleaseOfAnOldOne_KeepsTheContent()
    {
        var time = new FakeTime();
        IBlobStore[] stores =
        [
            .. Enumerable.Range(0, 3).Select(_ => new FolderBlobStore(
                new FolderBlobStoreOptions { Folder = _folder }, time)),
        ];
        BlobName name = NameOf(Bytes);
        for (int round = 0; round < 300; round++)
        {
            await stores[0].PutAsync(name, s_owner, Bytes, Cancellation);
            time.Advance(TimeSpan.FromMilliseconds(1));
            DateTimeOffset before = time.GetUtcNow();
            Task put = stores[0].PutAsync(name, s_owner, Bytes, Cancellation);
            Task[] releases =
                [.. stores[1..].Select(store => store.ReleaseOlderAsync(name, s_owner, before, Cancellation))];
            await Task.WhenAll([put, .. releases]);
            Assert.Equal(Bytes, await stores[0].GetAsync(name, Cancellation));
            Assert.Equal(s_owner, Assert.Single(Assert.Single(await ListAsync(stores[0])).Holders).Owner);
        }

        await stores[0].ReleaseAsync(name, s_owner, Cancellation);
        Assert.Empty(Files());
    }

    [Fact]
    public async Task AReleaseThatDiedHalfWay_LosesNothing_AndIsDecidedByTheNext()
    {
        IBlobStore store = Open();
        BlobName name = NameOf(Bytes);
        DateTimeOffset past = DateTimeOffset.UtcNow - TimeSpan.FromHours(1), future = past + TimeSpan.FromHours(2);
        await store.PutAsync(name, s_owner, Bytes, Cancellation);
        string file = Assert.Single(Files());
        File.Move(file, $"{file}~1");
        Assert.Equal(Bytes, await store.GetAsync(name, Cancellation));
        BlobHolder holder = Assert.Single(Assert.Single(await ListAsync(store)).Holders);
        Assert.Equal(s_owner, holder.Owner);
        Assert.False(await store.ReleaseOlderAsync(name, s_owner, past, Cancellation));
        Assert.Equal([file], Files());
        File.Move(file, $"{file}~1");
        Assert.True(await store.ReleaseOlderAsync(name, s_owner, future, Cancellation));
        Assert.Empty(Files());
    }

    [Fact]
    public async Task AHolderWhoseSpellingIsUnknown_KeepsTheBlob()
    {
        IBlobStore store = Open();
        BlobName name = NameOf(Bytes);
        await store.PutAsync(name, s_owner, Bytes, Cancellation);
        string file = Assert.Single(Files());
        File.Copy(file, Path.Combine(Path.GetDirectoryName(file)!, "later.one"));
        StoredBlob listed = Assert.Single(await ListAsync(store));
        Assert.Equal([null, s_owner], listed.Holders.Select(holder => holder.Owner).OrderBy(one => one is not null));
        await store.ReleaseAsync(name, s_owner, Cancellation);
        Assert.Equal(Bytes, await store.GetAsync(name, Cancellation));
    }

    [Fact]
    public async Task APutOfWhatIsThere_MakesItYoung()
    {
        IBlobStore store = Open();
        BlobName name = NameOf(Bytes);
        await store.PutAsync(name, s_owner, Bytes, Cancellation);
        File.SetLastWriteTimeUtc(Assert.Single(Files()), DateTime.UtcNow.AddDays(-9));
        await store.PutAsync(name, Owner("two"), Bytes, Cancellation);
        DateTimeOffset past = DateTimeOffset.UtcNow - TimeSpan.FromHours(1);
        Assert.False(await store.ReleaseOlderAsync(name, Owner("two"), past, Cancellation));
        Assert.True(Assert.Single(await ListAsync(store)).PutAt > past);
    }

    protected override IBlobStore Open() =>
        new FolderBlobStore(new FolderBlobStoreOptions { Folder = _folder }, TimeProvider.System);

    protected override async Task WriteFormerAsync(string kind, string digest, string generation, byte[] bytes)
    {
        string folder = Path.Combine(_folder, kind, "tenant", digest[..2], digest);
        Directory.CreateDirectory(folder);
        await File.WriteAllBytesAsync(Path.Combine(folder, generation), bytes, Cancellation);
    }

    protected override Task<string[]> ContentAsync() => Task.FromResult(Files());

    protected override Task DamageAsync(byte[] bytes) =>
        File.WriteAllBytesAsync(Assert.Single(Files()), bytes, Cancellation);

    private string[] Files() => Directory.GetFiles(_folder, "*", SearchOption.AllDirectories);
}
