// Goal: what the store has taken is there until its last owner releases it, and nothing else ever is. Method: a folder
// in which every kind of accident is staged with plain files, and many owners at once.
using System.Security.Cryptography;
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Silo.Blobs;
using Xunit;

namespace Atelier.Silo.Tests.Blobs;

public sealed class FolderBlobStoreTests : IDisposable
{
    private static readonly TenantId s_tenant = new("tenant");
    private static readonly GenerationId s_one = new("one"), s_two = new("two");
    private static readonly byte[] s_bytes = [1, 2, 3];
    private readonly string _folder = Directory.CreateTempSubdirectory("blobs").FullName;
    private readonly FolderBlobStore _store;

    public FolderBlobStoreTests() => _store = Open();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task WhatWasPut_IsThere_AlsoForTheNextProcess()
    {
        BlobName name = await _store.PutAsync("pictures", new GenerationKey(s_tenant, s_one), s_bytes, Cancellation);
        Assert.Equal(s_bytes, await _store.GetAsync(name, Cancellation));
        Assert.Equal(s_bytes, await Open().GetAsync(name, Cancellation));
        Assert.Null(await _store.GetAsync(NameOf([4]), Cancellation));
        BlobName other = BlobName.Of("pictures", new TenantId("other"), name.Sha256);
        Assert.Null(await _store.GetAsync(other, Cancellation));
        Assert.Single(Files());
    }

    [Fact]
    public async Task AnEmptyBlob_IsABlob()
    {
        await _store.PutAsync(NameOf([]), s_one, [], Cancellation);
        byte[]? read = await _store.GetAsync(NameOf([]), Cancellation);
        Assert.True(read is []);
    }

    [Fact]
    public async Task Bytes_AreThereUntilTheirLastOwnerReleasesThem_AndThenNothingIsLeft()
    {
        BlobName name = NameOf(s_bytes);
        await _store.PutAsync(name, s_one, s_bytes, Cancellation);
        await _store.PutAsync(name, s_one, s_bytes, Cancellation);
        await _store.PutAsync(name, s_two, s_bytes, Cancellation);
        await _store.ReleaseAsync(name, s_one, Cancellation);
        await _store.ReleaseAsync(name, s_one, Cancellation);
        Assert.Equal(s_bytes, await _store.GetAsync(name, Cancellation));
        await _store.ReleaseAsync(name, new GenerationId("stranger"), Cancellation);
        Assert.Equal(s_bytes, await _store.GetAsync(name, Cancellation));
        await _store.ReleaseAsync(name, s_two, Cancellation);
        Assert.Null(await _store.GetAsync(name, Cancellation));
        await _store.ReleaseAsync(name, s_two, Cancellation);
        Assert.Empty(Files());
    }

    [Fact]
    public async Task ADamagedFile_CountsAsGone_UntilTheBytesArePutAgain()
    {
        BlobName name = NameOf(s_bytes);
        byte[][] damages = [[], [1, 2], [1, 2, 4], [1, 2, 3, 4], new byte[2000]];
        foreach (byte[] damage in damages)
        {
            await _store.PutAsync(name, s_one, s_bytes, Cancellation);
            await File.WriteAllBytesAsync(Assert.Single(Files()), damage, Cancellation);
            Assert.Null(await _store.GetAsync(name, Cancellation));
            await _store.PutAsync(name, s_two, s_bytes, Cancellation);
            Assert.Equal(s_bytes, await _store.GetAsync(name, Cancellation));
            await _store.PutAsync(name, s_one, s_bytes, Cancellation);
            await _store.ReleaseAsync(name, s_two, Cancellation);
            Assert.Equal(s_bytes, await _store.GetAsync(name, Cancellation));
        }
    }

    [Fact]
    public async Task LeftoversOfDeadWriters_AreNoBlobs_AndAreClearedAwayOnceTheyAreOld()
    {
        BlobName name = NameOf(s_bytes);
        string young = Path.Combine(_folder, "aside", "young"), old = Path.Combine(_folder, "aside", "old");
        await File.WriteAllBytesAsync(young, s_bytes, Cancellation);
        await File.WriteAllBytesAsync(old, s_bytes[..1], Cancellation);
        File.SetLastWriteTimeUtc(old, DateTime.UtcNow.AddHours(-2));

        // A writer died after it had made the folder.
        string digest = name.Sha256;
        Directory.CreateDirectory(Path.Combine(_folder, "pictures", "tenant", digest[..2], digest));
        Assert.Null(await _store.GetAsync(name, Cancellation));
        FolderBlobStore next = Open();
        Assert.Equal([young], Files());
        Assert.Null(await next.GetAsync(name, Cancellation));
        await next.PutAsync(name, s_one, s_bytes, Cancellation);
        Assert.Equal(s_bytes, await next.GetAsync(name, Cancellation));
    }

    [Fact]
    public async Task ManyOwnersAtOnce_InTwoProcesses_NeverLoseABlobThatOneOfThemNeeds()
    {
        FolderBlobStore[] stores = [_store, Open()];
        BlobName name = NameOf(s_bytes);
        await Task.WhenAll(Enumerable.Range(0, 8).Select(async i =>
        {
            var owner = new GenerationId($"owner{i}");
            for (int round = 0; round < 50; round++)
            {
                await stores[i % 2].PutAsync(name, owner, s_bytes, Cancellation);
                byte[]? seen = await stores[(i + round) % 2].GetAsync(name, Cancellation);
                Assert.Equal(s_bytes, seen);
                await stores[i % 2].ReleaseAsync(name, owner, Cancellation);
            }
        }));
        Assert.Null(await _store.GetAsync(name, Cancellation));
        Assert.Empty(Files());
    }

    [Theory]
    [InlineData("")]
    [InlineData("../etc/passwd")]
    [InlineData("pictures/../039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81")]
    [InlineData("pictures/tenant/../../../../../../../../../../../../../../../../../../../../../x")]
    [InlineData("/pictures/tenant/039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81")]
    [InlineData("aside/tenant/039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81")]
    public async Task NamesThatAreNone_AreRefused(string text)
    {
        var name = new BlobName(text);
        await Assert.ThrowsAsync<ArgumentException>(() => _store.PutAsync(name, s_one, s_bytes, Cancellation));
        await Assert.ThrowsAsync<ArgumentException>(() => _store.GetAsync(name, Cancellation));
        await Assert.ThrowsAsync<ArgumentException>(() => _store.ReleaseAsync(name, s_one, Cancellation));
        Assert.Empty(Files());
    }

    [Theory]
    [InlineData("")]
    [InlineData("..")]
    [InlineData("a/b")]
    [InlineData("../../../x")]
    public async Task OwnersThatAreNone_AreRefused(string text)
    {
        var owner = new GenerationId(text);
        BlobName name = NameOf(s_bytes);
        await Assert.ThrowsAsync<ArgumentException>(() => _store.PutAsync(name, owner, s_bytes, Cancellation));
        await Assert.ThrowsAsync<ArgumentException>(() => _store.ReleaseAsync(name, owner, Cancellation));
        Assert.Empty(Files());
    }

    [Fact]
    public async Task BytesThatAreTooMany_OrNotTheNames_AreRefused()
    {
        var large = new byte[1025];
        await Assert.ThrowsAsync<ArgumentException>(() => _store.PutAsync(NameOf(large), s_one, large, Cancellation));
        await Assert.ThrowsAsync<ArgumentException>(() => _store.PutAsync(NameOf([9]), s_one, s_bytes, Cancellation));
        Assert.Empty(Files());
        await _store.PutAsync(NameOf(large[1..]), s_one, large[1..], Cancellation);
    }

    private static BlobName NameOf(byte[] bytes) =>
        BlobName.Of("pictures", s_tenant, Convert.ToHexStringLower(SHA256.HashData(bytes)));

    private FolderBlobStore Open() =>
        new(new FolderBlobStoreOptions { Folder = _folder, BlobBytesMax = 1024 }, TimeProvider.System);

    private string[] Files() => Directory.GetFiles(_folder, "*", SearchOption.AllDirectories);
}
