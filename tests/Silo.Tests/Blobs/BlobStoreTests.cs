// Goal: whatever a store has accepted is kept until its last owner releases it, and nothing else ever is. Method: the
// same tests over every store: accidents are staged directly in the storage, and many owners act at once.
using System.Security.Cryptography;
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Xunit;

namespace Atelier.Silo.Tests.Blobs;

public abstract class BlobStoreTests
{
    protected const int BytesMax = 1024;

    private static readonly GenerationId s_one = new("one"), s_two = new("two");

    protected static TenantId Tenant { get; } = new("tenant");

    protected static byte[] Bytes { get; } = [1, 2, 3];

    protected static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    /// <summary>Rounds of each owner in concurrent tests.</summary>
    protected virtual int Rounds => 50;

    /// <summary>The store, as seen by this process or another one.</summary>
    protected abstract IBlobStore Open();

    /// <summary>Names of everything in the store.</summary>
    protected abstract Task<string[]> ContentAsync();

    /// <summary>Changes the bytes of the one blob in the store.</summary>
    protected abstract Task DamageAsync(byte[] bytes);

    [Fact]
    public async Task ABlob_IsFoundByTheNextProcessToo()
    {
        BlobName name = await Open().PutAsync("pictures", new GenerationKey(Tenant, s_one), Bytes, Cancellation);
        Assert.Equal(Bytes, await Open().GetAsync(name, Cancellation));
        Assert.Equal(Bytes, await Open().GetAsync(name, Cancellation));
        Assert.Null(await Open().GetAsync(NameOf([4]), Cancellation));
        BlobName other = BlobName.Of("pictures", new TenantId("other"), name.Sha256);
        Assert.Null(await Open().GetAsync(other, Cancellation));
    }

    [Fact]
    public async Task AnEmptyBlob_IsABlob()
    {
        await Open().PutAsync(NameOf([]), s_one, [], Cancellation);
        byte[]? read = await Open().GetAsync(NameOf([]), Cancellation);
        Assert.True(read is []);
    }

    [Fact]
    public async Task Bytes_AreKeptUntilTheirLastOwnerReleasesThem_AndThenNothingIsLeft()
    {
        BlobName name = NameOf(Bytes);
        await Open().PutAsync(name, s_one, Bytes, Cancellation);
        await Open().PutAsync(name, s_one, Bytes, Cancellation);
        await Open().PutAsync(name, s_two, Bytes, Cancellation);
        await Open().ReleaseAsync(name, s_one, Cancellation);
        await Open().ReleaseAsync(name, s_one, Cancellation);
        Assert.Equal(Bytes, await Open().GetAsync(name, Cancellation));
        await Open().ReleaseAsync(name, new GenerationId("stranger"), Cancellation);
        Assert.Equal(Bytes, await Open().GetAsync(name, Cancellation));
        await Open().ReleaseAsync(name, s_two, Cancellation);
        Assert.Null(await Open().GetAsync(name, Cancellation));
        await Open().ReleaseAsync(name, s_two, Cancellation);
        Assert.Empty(await ContentAsync());
    }

    [Fact]
    public async Task ADamagedFile_CountsAsGone_UntilTheBytesArePutAgain()
    {
        BlobName name = NameOf(Bytes);
        byte[][] damages = [[], [1, 2], [1, 2, 4], [1, 2, 3, 4], new byte[2000]];
        foreach (byte[] damage in damages)
        {
            await Open().PutAsync(name, s_one, Bytes, Cancellation);
            await DamageAsync(damage);
            Assert.Null(await Open().GetAsync(name, Cancellation));
            await Open().PutAsync(name, s_two, Bytes, Cancellation);
            Assert.Equal(Bytes, await Open().GetAsync(name, Cancellation));
            await Open().PutAsync(name, s_one, Bytes, Cancellation);
            await Open().ReleaseAsync(name, s_two, Cancellation);
            Assert.Equal(Bytes, await Open().GetAsync(name, Cancellation));
        }
    }

    [Fact]
    public async Task ManyOwnersAtOnce_InTwoProcesses_NeverLoseABlobThatOneOfThemNeeds()
    {
        IBlobStore[] stores = [Open(), Open()];
        BlobName name = NameOf(Bytes);
        await Task.WhenAll(Enumerable.Range(0, 8).Select(async i =>
        {
            var owner = new GenerationId($"owner{i}");
            for (int round = 0; round < Rounds; round++)
            {
                await stores[i % 2].PutAsync(name, owner, Bytes, Cancellation);
                byte[]? seen = await stores[(i + round) % 2].GetAsync(name, Cancellation);
                Assert.Equal(Bytes, seen);
                await stores[i % 2].ReleaseAsync(name, owner, Cancellation);
            }
        }));
        Assert.Null(await Open().GetAsync(name, Cancellation));
        Assert.Empty(await ContentAsync());
    }

    [Theory]
    [InlineData("")]
    [InlineData("../etc/passwd")]
    [InlineData("pictures/../039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81")]
    [InlineData("pictures/tenant/../../../../../../../../../../../../../../../../../../../../../x")]
    [InlineData("/pictures/tenant/039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81")]
    [InlineData("aside/tenant/039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81")]
    public async Task InvalidNames_AreRefused(string text)
    {
        var name = new BlobName(text);
        await Assert.ThrowsAsync<ArgumentException>(() => Open().PutAsync(name, s_one, Bytes, Cancellation));
        await Assert.ThrowsAsync<ArgumentException>(() => Open().GetAsync(name, Cancellation));
        await Assert.ThrowsAsync<ArgumentException>(() => Open().ReleaseAsync(name, s_one, Cancellation));
        Assert.Empty(await ContentAsync());
    }

    [Theory]
    [InlineData("")]
    [InlineData("..")]
    [InlineData("a/b")]
    [InlineData("../../../x")]
    public async Task InvalidOwners_AreRefused(string text)
    {
        var owner = new GenerationId(text);
        BlobName name = NameOf(Bytes);
        await Assert.ThrowsAsync<ArgumentException>(() => Open().PutAsync(name, owner, Bytes, Cancellation));
        await Assert.ThrowsAsync<ArgumentException>(() => Open().ReleaseAsync(name, owner, Cancellation));
        Assert.Empty(await ContentAsync());
    }

    [Fact]
    public async Task BytesThatAreTooMany_OrNotTheNames_AreRefused()
    {
        var large = new byte[BytesMax + 1];
        await Assert.ThrowsAsync<ArgumentException>(() => Open().PutAsync(NameOf(large), s_one, large, Cancellation));
        await Assert.ThrowsAsync<ArgumentException>(() => Open().PutAsync(NameOf([9]), s_one, Bytes, Cancellation));
        Assert.Empty(await ContentAsync());
        await Open().PutAsync(NameOf(large[1..]), s_one, large[1..], Cancellation);
    }

    protected static BlobName NameOf(byte[] bytes) =>
        BlobName.Of("pictures", Tenant, Convert.ToHexStringLower(SHA256.HashData(bytes)));
}
