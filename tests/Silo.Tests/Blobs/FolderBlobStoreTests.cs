// Goal: behavior of folders only: what dead writers left behind is removed once it is old.
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Silo.Blobs;
using Xunit;

namespace Atelier.Silo.Tests.Blobs;

public sealed class FolderBlobStoreTests : BlobStoreTests, IDisposable
{
    private static readonly GenerationId s_owner = new("one");
    private readonly string _folder = Directory.CreateTempSubdirectory("blobs").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task AWriteThatTheDiskRefuses_CanBeRetried()
    {
        IBlobStore store = Open();
        BlobName name = NameOf(Bytes);
        string digest = name.Sha256, inTheWay = Path.Combine(_folder, "pictures", "tenant", digest[..2], digest, "one");
        Directory.CreateDirectory(inTheWay);
        var owner = new GenerationId("one");
        await Assert.ThrowsAsync<IOException>(() => store.PutAsync(name, owner, Bytes, Cancellation));
        await Assert.ThrowsAsync<IOException>(() => store.ReleaseAsync(name, owner, Cancellation));
        Directory.Delete(inTheWay);
        await store.PutAsync(name, owner, Bytes, Cancellation);
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

    protected override IBlobStore Open() =>
        new FolderBlobStore(
            new FolderBlobStoreOptions { Folder = _folder, BlobBytesMax = BytesMax }, TimeProvider.System);

    protected override Task<string[]> ContentAsync() => Task.FromResult(Files());

    protected override Task DamageAsync(byte[] bytes) =>
        File.WriteAllBytesAsync(Assert.Single(Files()), bytes, Cancellation);

    private string[] Files() => Directory.GetFiles(_folder, "*", SearchOption.AllDirectories);
}
