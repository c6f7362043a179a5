// Goal: whatever a store has accepted is kept until its last owner releases it, and nothing else ever is. Method: the
// same tests over every store: accidents are staged directly in the storage, and many owners act at once.
using System.Security.Cryptography;
using Atelier.Contracts;
using Atelier.Contracts.Diagnostics;
using Atelier.Grains.Blobs;
using Atelier.Grains.Ports;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Atelier.Silo.Tests.Blobs;

public abstract class BlobStoreTests
{
    /// <summary>Bytes of a blob that a store does not upload at once.</summary>
    protected const int LargeBytes = (3 * BlockBytes) + 17;

    protected const int BlockBytes = 1024;

    private static readonly BlobOwner s_one = Owner("one"), s_two = Owner("two");

    protected static TenantId Tenant { get; } = new("tenant");

    protected static byte[] Bytes { get; } = [1, 2, 3];

    protected static byte[] Large { get; } = [.. Enumerable.Range(0, LargeBytes).Select(i => (byte)(i * i / 7))];

    protected static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    /// <summary>Rounds of each owner in concurrent tests.</summary>
    protected virtual int Rounds => 50;

    /// <summary>Bytes of a blob that fits into no buffer: more than 64 MiB where that is fast.</summary>
    protected virtual long HugeBytes => (64L << 20) + 17;

    /// <summary>The store with the sizes that ship.</summary>
    protected virtual IBlobStore OpenAsShipped() => Open();

    /// <summary>The store, as seen by this process or another one.</summary>
    protected abstract IBlobStore Open();

    /// <summary>Names of everything in the store.</summary>
    protected abstract Task<string[]> ContentAsync();

    /// <summary>Changes the bytes of the one blob in the store.</summary>
    protected abstract Task DamageAsync(byte[] bytes);

    /// <summary>Writes a blob of a generation as releases without streams did.</summary>
    protected abstract Task WriteFormerAsync(string kind, string digest, string generation, byte[] bytes);

    [Fact]
    public async Task ABlob_IsFoundByTheNextProcessToo()
    {
        var key = new GenerationKey(Tenant, new GenerationId("one"));
        BlobName name = await Open().PutAsync(BlobKind.Picture, key, Bytes, Cancellation);
        Assert.Equal(Bytes, await Open().GetAsync(name, Cancellation));
        Assert.Equal(Bytes, await Open().GetAsync(name, Cancellation));
        Assert.Null(await Open().GetAsync(NameOf([4]), Cancellation));
        BlobName other = BlobName.Of(BlobKind.Picture, new TenantId("other"), name.Sha256);
        Assert.Null(await Open().GetAsync(other, Cancellation));
    }

    [Fact]
    public async Task WhatTheFormerReleaseWrote_IsReadListedAndReleased()
    {
        (string Kind, string Generation, byte[] Bytes)[] former =
        [
            ("pictures", "one", Bytes), ("snapshots", "a_b-C", [5]), ("captions", "one", []), ("latents", "two", Large),
            ("previews", "9", [6, 7]),
        ];
        foreach ((string kind, string generation, byte[] bytes) in former)
        {
            await WriteFormerAsync(kind, DigestOf(bytes), generation, bytes);
        }

        IBlobStore store = Open();
        StoredBlob[] listed = await ListAsync(store);
        Assert.Equal(
            former.Select(one => $"{one.Kind}/tenant/{DigestOf(one.Bytes)} {one.Bytes.Length} {one.Generation}")
                .Order(StringComparer.Ordinal),
            listed.Select(one => $"{one.Name} {one.Length} {Assert.Single(one.Holders).Owner}")
                .Order(StringComparer.Ordinal));
        foreach ((string kind, string generation, byte[] bytes) in former)
        {
            Assert.True(BlobName.TryParse($"{kind}/tenant/{DigestOf(bytes)}", out BlobName name));
            Assert.Equal(bytes, await store.GetAsync(name, Cancellation));
            await store.PutAsync(name, Owner(generation), bytes, Cancellation);
            await store.ReleaseAsync(name, Owner(generation), Cancellation);
        }

        Assert.Empty(await ContentAsync());
    }

    [Fact]
    public async Task ABlobThatFitsIntoNoBuffer_IsStoredAndRead()
    {
        IBlobStore store = OpenAsShipped();
        var run = new BlobOwner(BlobOwnerType.Run, "run");
        string digest = Convert.ToHexStringLower(
            await SHA256.HashDataAsync(new PatternStream(HugeBytes), Cancellation));
        BlobName name = BlobName.OfCluster(BlobKind.Checkpoint, digest);
        await store.PutAsync(name, run, new PatternStream(HugeBytes), HugeBytes, Cancellation);
        await using (BlobContent? whole = await store.OpenAsync(name, default, Cancellation))
        {
            Assert.Equal(HugeBytes, whole!.Length);
            await whole.Stream.CopyToAsync(Stream.Null, Cancellation); // Its last bytes come only if all are right.
        }

        const int Around = 1000;
        foreach (long offset in (long[])[(8L << 20) - 500, (HugeBytes / 2) - 500, HugeBytes - Around])
        {
            await using BlobContent? part = await store.OpenAsync(name, new BlobRange(offset, Around), Cancellation);
            var bytes = new byte[Around];
            await part!.Stream.ReadExactlyAsync(bytes, Cancellation);
            Assert.Equal(Enumerable.Range(0, Around).Select(i => PatternStream.At(offset + i)), bytes);
        }

        await store.ReleaseAsync(name, run, Cancellation);
        Assert.Null(await store.OpenAsync(name, default, Cancellation));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task AStream_IsThereWhole_AndInAnyOfItsParts(bool canSeek)
    {
        IBlobStore store = Open();
        var run = new BlobOwner(BlobOwnerType.Run, "run");
        BlobName name = BlobName.OfCluster(BlobKind.Checkpoint, DigestOf(Large));
        using var content = new OneWayStream(Large, canSeek);
        await store.PutAsync(name, run, content, LargeBytes, Cancellation);
        Assert.False(content.IsDisposed);
        Assert.Equal(Large, await Open().GetAsync(name, Cancellation));
        (long Offset, long? Length)[] ranges =
        [
            (0, 1), (0, LargeBytes), (BlockBytes - 1, 2), (5, null), (LargeBytes - 3, 100), (LargeBytes, null),
            (LargeBytes + 1, 5), (7, 0), (LargeBytes, 0),
        ];
        foreach ((long offset, long? length) in ranges)
        {
            await using BlobContent? part = await store.OpenAsync(name, new BlobRange(offset, length), Cancellation);
            Assert.NotNull(part);
            using var bytes = new MemoryStream();
            await part.Stream.CopyToAsync(bytes, Cancellation);
            int start = (int)Math.Min(offset, LargeBytes);
            int end = (int)Math.Min(LargeBytes, offset + (length ?? LargeBytes));
            Assert.Equal(LargeBytes, part.Length);
            Assert.Equal(Large[start..Math.Max(start, end)], bytes.ToArray());
        }

        Assert.Null(await store.OpenAsync(NameOf([4]), new BlobRange(1, 1), Cancellation));
        Assert.Null(await store.OpenAsync(NameOf([4]), new BlobRange(1, 0), Cancellation));
        StoredBlob listed = Assert.Single(await ListAsync(store));
        Assert.Equal((name, LargeBytes, run), (listed.Name, (int)listed.Length, Assert.Single(listed.Holders).Owner));
        await store.ReleaseAsync(name, run, Cancellation);
        Assert.Empty(await ContentAsync());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task AStreamOfAnotherLengthOrDigest_IsRefused_AndLeavesNothing(bool isLarge)
    {
        byte[] bytes = isLarge ? Large : Bytes;
        byte[] other = [.. bytes[..^1], (byte)(bytes[^1] ^ 1)];
        BlobName name = NameOf(bytes);
        for (int round = 0; round < 2; round++)
        {
            await RefusedAsync(name, bytes[..^1], bytes.Length);
            await RefusedAsync(name, [.. bytes, 0], bytes.Length);
            await RefusedAsync(name, bytes, bytes.Length - 1);
            await RefusedAsync(name, bytes, bytes.Length + 1);
            await RefusedAsync(name, other, bytes.Length);
            await RefusedAsync(name, [], 0);
            Assert.Equal(round == 0, (await ContentAsync()).Length == 0);

            // The second time the content is there: an owner that puts other bytes does not hold it.
            await Open().PutAsync(name, s_one, bytes, Cancellation);
        }

        await Open().ReleaseAsync(name, s_one, Cancellation);
        Assert.Empty(await ContentAsync());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task AStreamThatBreaks_LeavesNothing(bool isLarge)
    {
        byte[] bytes = isLarge ? Large : Bytes;
        using var broken = new OneWayStream(bytes, canSeek: false) { BreaksAt = bytes.Length - 1 };
        await Assert.ThrowsAsync<IOException>(
            () => Open().PutAsync(NameOf(bytes), s_one, broken, bytes.Length, Cancellation));
        Assert.Empty(await ContentAsync());
    }

    [Fact]
    public async Task AnEmptyBlob_IsABlob()
    {
        await Open().PutAsync(NameOf([]), s_one, [], Cancellation);
        byte[]? read = await Open().GetAsync(NameOf([]), Cancellation);
        Assert.True(read is []);
        await using BlobContent? part = await Open().OpenAsync(NameOf([]), new BlobRange(3, 2), Cancellation);
        Assert.Equal(0, part?.Length);
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
        await Open().ReleaseAsync(name, Owner("stranger"), Cancellation);
        Assert.Equal(Bytes, await Open().GetAsync(name, Cancellation));
        await Open().ReleaseAsync(name, s_two, Cancellation);
        Assert.Null(await Open().GetAsync(name, Cancellation));
        await Open().ReleaseAsync(name, s_two, Cancellation);
        Assert.Empty(await ContentAsync());
    }

    [Fact]
    public async Task OwnersOfOneId_AreDifferentOwners()
    {
        BlobName name = NameOf(Bytes);
        BlobOwner[] owners = [.. Enum.GetValues<BlobOwnerType>().Select(type => new BlobOwner(type, "one"))];
        foreach (BlobOwner owner in owners)
        {
            await Open().PutAsync(name, owner, Bytes, Cancellation);
        }

        IReadOnlyList<BlobHolder> holders = Assert.Single(await ListAsync(Open())).Holders;
        Assert.Equal(owners.ToHashSet(), holders.Select(holder => holder.Owner!.Value).ToHashSet());
        foreach (BlobOwner owner in owners)
        {
            Assert.Equal(Bytes, await Open().GetAsync(name, Cancellation));
            await Open().ReleaseAsync(name, owner, Cancellation);
        }

        Assert.Empty(await ContentAsync());
    }

    [Fact]
    public async Task ADamagedFile_CountsAsGone_UntilTheBytesArePutAgain()
    {
        byte[][] damages =
            [[], Large[..^1], [.. Large[..^1], (byte)(Large[^1] ^ 1)], [.. Large, 4], new byte[2 * LargeBytes]];
        byte[][] smallDamages = [[], [1, 2], [1, 2, 4], [1, 2, 3, 4], new byte[2000]];
        await CheckAsync(Bytes, smallDamages);
        await CheckAsync(Large, damages);

        async Task CheckAsync(byte[] bytes, byte[][] damages)
        {
            BlobName name = NameOf(bytes);
            foreach (byte[] damage in damages)
            {
                await Open().PutAsync(name, s_one, bytes, Cancellation);
                await DamageAsync(damage);
                Assert.Null(await Open().GetAsync(name, Cancellation));
                await Open().PutAsync(name, s_two, bytes, Cancellation);
                Assert.Equal(bytes, await Open().GetAsync(name, Cancellation));
                await Open().PutAsync(name, s_one, bytes, Cancellation);
                await Open().ReleaseAsync(name, s_two, Cancellation);
                Assert.Equal(bytes, await Open().GetAsync(name, Cancellation));
            }

            await Open().ReleaseAsync(name, s_one, Cancellation);
            Assert.Empty(await ContentAsync());
        }
    }

    [Fact]
    public async Task TheLastBytesOfADamagedBlob_AreNotGiven()
    {
        await Open().PutAsync(NameOf(Large), s_one, Large, Cancellation);
        await DamageAsync([.. Large[..^1], (byte)(Large[^1] ^ 1)]);
        await using BlobContent? content = await Open().OpenAsync(NameOf(Large), default, Cancellation);
        using var read = new MemoryStream();
        await Assert.ThrowsAsync<InvalidDataException>(
            () => content!.Stream.CopyToAsync(read, bufferSize: 100, Cancellation));
        Assert.InRange(read.Length, 0, LargeBytes - 1);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ManyOwnersAtOnce_InTwoProcesses_NeverLoseABlobThatOneOfThemNeeds(bool isLarge)
    {
        IBlobStore[] stores = [Open(), Open()];
        byte[] bytes = isLarge ? Large : Bytes;
        BlobName name = NameOf(bytes);
        DateTimeOffset before = DateTimeOffset.UtcNow - TimeSpan.FromHours(1);
        int rounds = isLarge ? (Rounds + 1) / 2 : Rounds;
        await Task.WhenAll(Enumerable.Range(0, 8).Select(async i =>
        {
            BlobOwner owner = Owner($"owner{i}");
            for (int round = 0; round < rounds; round++)
            {
                await stores[i % 2].PutAsync(name, owner, bytes, Cancellation);

                // A sweep that took the owner's last put for an old one.
                Assert.False(await stores[round % 2].ReleaseOlderAsync(name, owner, before, Cancellation));
                byte[]? seen = await stores[(i + round) % 2].GetAsync(name, Cancellation);
                Assert.Equal(bytes, seen);
                await stores[i % 2].ReleaseAsync(name, owner, Cancellation);
            }
        }));
        Assert.Null(await Open().GetAsync(name, Cancellation));
        Assert.Empty(await ContentAsync());
    }

    [Fact]
    public async Task WhatIsOlder_IsReleased_AndWhatIsYounger_IsNot()
    {
        BlobName name = NameOf(Bytes);
        DateTimeOffset past = DateTimeOffset.UtcNow - TimeSpan.FromHours(1), future = past + TimeSpan.FromHours(2);
        await Open().PutAsync(name, s_one, Bytes, Cancellation);
        await Open().PutAsync(name, s_two, Bytes, Cancellation);
        Assert.False(await Open().ReleaseOlderAsync(name, s_one, past, Cancellation));
        Assert.Equal(2, Assert.Single(await ListAsync(Open())).Holders.Count);
        Assert.True(await Open().ReleaseOlderAsync(name, s_one, future, Cancellation));
        Assert.True(await Open().ReleaseOlderAsync(name, s_one, future, Cancellation));
        Assert.Equal(Bytes, await Open().GetAsync(name, Cancellation));
        Assert.True(await Open().ReleaseOlderAsync(name, s_two, future, Cancellation));
        Assert.Empty(await ContentAsync());
    }

    [Fact]
    public async Task ASweep_RemovesWhatNoOwnerNeeds_AndOnlyThat()
    {
        byte[][] all = [[1], [2], [3], [4], [5], Large];
        BlobOwner[] owners =
        [
            Owner("gone"), Owner("here"), Owner("silent"), new(BlobOwnerType.Session, "gone"), Owner("gone"),
            Owner("gone"),
        ];
        foreach ((byte[] bytes, BlobOwner owner) in all.Zip(owners))
        {
            await Open().PutAsync(NameOf(bytes), owner, bytes, Cancellation);
        }

        await Open().PutAsync(NameOf(all[4]), Owner("here"), all[4], Cancellation);
        Assert.Empty(await SweepAsync(isDryRun: false, TimeSpan.Zero, expectYoung: 6));
        string[] unneeded = [.. new[] { NameOf(all[0]).Value, NameOf(Large).Value }.Order(StringComparer.Ordinal)];
        foreach (bool isDryRun in (bool[])[true, true, false])
        {
            Assert.Equal(unneeded, await SweepAsync(isDryRun, TimeSpan.FromDays(2), expectYoung: 0));
            foreach (byte[] bytes in all)
            {
                bool isThere = isDryRun || !unneeded.Contains(NameOf(bytes).Value);
                Assert.Equal(isThere, await Open().GetAsync(NameOf(bytes), Cancellation) is not null);
            }
        }

        Assert.Empty(await SweepAsync(isDryRun: false, TimeSpan.FromDays(2), expectYoung: 0));
    }

    [Theory]
    [InlineData("")]
    [InlineData("../etc/passwd")]
    [InlineData("pictures/../039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81")]
    [InlineData("pictures/tenant/../../../../../../../../../../../../../../../../../../../../../x")]
    [InlineData("/pictures/tenant/039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81")]
    [InlineData("aside/tenant/039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81")]
    [InlineData("pictures/039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81")]
    [InlineData("checkpoints/tenant/039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81")]
    public async Task InvalidNames_AreRefused(string text)
    {
        var name = new BlobName(text);
        await Assert.ThrowsAsync<ArgumentException>(() => Open().PutAsync(name, s_one, Bytes, Cancellation));
        await Assert.ThrowsAsync<ArgumentException>(() => Open().GetAsync(name, Cancellation));
        await Assert.ThrowsAsync<ArgumentException>(() => Open().ReleaseAsync(name, s_one, Cancellation));
        await Assert.ThrowsAsync<ArgumentException>(
            () => Open().ReleaseOlderAsync(name, s_one, DateTimeOffset.MaxValue, Cancellation));
        Assert.Empty(await ContentAsync());
    }

    [Theory]
    [InlineData("")]
    [InlineData("..")]
    [InlineData("a/b")]
    [InlineData("run.a")]
    [InlineData("a~b")]
    [InlineData("../../../x")]
    public async Task InvalidOwners_AreRefused(string text)
    {
        BlobName name = NameOf(Bytes);
        foreach (BlobOwner owner in Enum.GetValues<BlobOwnerType>().Select(type => new BlobOwner(type, text)))
        {
            await Assert.ThrowsAsync<ArgumentException>(() => Open().PutAsync(name, owner, Bytes, Cancellation));
            await Assert.ThrowsAsync<ArgumentException>(() => Open().ReleaseAsync(name, owner, Cancellation));
        }

        Assert.Empty(await ContentAsync());
    }

    [Fact]
    public async Task ATenantsOwner_CannotHoldTheClustersBytes()
    {
        BlobName name = BlobName.OfCluster(BlobKind.Checkpoint, DigestOf(Bytes));
        await Assert.ThrowsAsync<ArgumentException>(() => Open().PutAsync(name, s_one, Bytes, Cancellation));
        Assert.Empty(await ContentAsync());
    }

    protected static BlobOwner Owner(string generation) => BlobOwner.Of(new GenerationId(generation));

    protected static BlobName NameOf(byte[] bytes) => BlobName.Of(BlobKind.Picture, Tenant, DigestOf(bytes));

    protected static string DigestOf(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    protected static async Task<StoredBlob[]> ListAsync(IBlobStore store) =>
        await store.ListAsync(Cancellation).ToArrayAsync(Cancellation);

    private async Task RefusedAsync(BlobName name, byte[] bytes, long length)
    {
        using var content = new OneWayStream(bytes, canSeek: false);
        await Assert.ThrowsAsync<InvalidDataException>(
            () => Open().PutAsync(name, s_two, content, length, Cancellation));
        Assert.DoesNotContain(await ContentAsync(), file => file.EndsWith("/two", StringComparison.Ordinal));
    }

    // The names of what a sweep finds when a while has passed. Generations named "gone" need nothing, and others do not
    // answer.
    private async Task<string[]> SweepAsync(bool isDryRun, TimeSpan later, int expectYoung)
    {
        var owners = new BlobOwners(new Dictionary<BlobOwnerType, AskOwner>
        {
            [BlobOwnerType.Generation] = (_, id) => id == "silent"
                ? Task.FromException<bool>(new TimeoutException())
                : Task.FromResult(id == "here"),
        }, new LogLimits(TimeProvider.System), NullLogger<BlobOwners>.Instance);
        var sweep = new BlobSweep(Open(), owners, new LaterClock(later), BlobSweep.GraceMin, isDryRun);
        SweptBlob[] found = await sweep.RunAsync(Cancellation).ToArrayAsync(Cancellation);
        Assert.All(found, one => Assert.Equal(!isDryRun, one.IsRemoved));
        var count = new BlobCount(found.Length, found.Sum(one => one.Blob.Length));
        Assert.Equal(count, sweep.Unneeded);
        Assert.Equal(isDryRun ? default : count, sweep.Removed);
        Assert.Equal((expectYoung, expectYoung == 0 ? 1 : 0), (sweep.Young.Blobs, sweep.InDoubt.Blobs));
        return [.. found.Select(one => one.Blob.Name.Value).Order(StringComparer.Ordinal)];
    }

    private sealed class LaterClock(TimeSpan by) : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => System.GetUtcNow() + by;
    }
}
