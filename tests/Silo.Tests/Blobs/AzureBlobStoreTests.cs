// Goal: the same over Azure Blob Storage, and a release never deletes content that a concurrent put has just promised.
// Method: Azurite, which implements its protocol; a client that stops before a chosen request, so that the other side
// can act there.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Silo.Blobs;
using Azure.Core;
using Azure.Core.Pipeline;
using Azure.Storage.Blobs;
using Xunit;

namespace Atelier.Silo.Tests.Blobs;

public sealed class AzureBlobStoreTests(AzuriteServer azurite) : BlobStoreTests, IClassFixture<AzuriteServer>
{
    private static readonly BlobOwner s_one = Owner("one"), s_two = Owner("two");
    private static int s_containers;

    private readonly string _container =
        $"test-{Interlocked.Increment(ref s_containers).ToString(CultureInfo.InvariantCulture)}";

    protected override int Rounds => 10;

    private BlobContainerClient Container => new(azurite.Connection, _container);

    [Fact]
    public async Task APut_DuringARelease_KeepsTheContent()
    {
        BlobName name = NameOf(Bytes);
        using var pause = new PausePolicy(RequestMethod.Delete, "/content");
        await Open().PutAsync(name, s_one, Bytes, Cancellation);

        // The release has found no owner, and is about to delete the content.
        Task release = Open(pause).ReleaseAsync(name, s_one, Cancellation);
        await pause.ReachedAsync();
        await Open().PutAsync(name, s_two, Bytes, Cancellation);
        pause.Resume();
        await release;
        Assert.Equal(Bytes, await Open().GetAsync(name, Cancellation));
        await Open().ReleaseAsync(name, s_two, Cancellation);
        Assert.Empty(await ContentAsync());
    }

    [Fact]
    public async Task ARelease_DuringAPut_IsUndoneByThePut()
    {
        BlobName name = NameOf(Bytes);
        using var pause = new PausePolicy(RequestMethod.Put, "comp=metadata");
        await Open().PutAsync(name, s_one, Bytes, Cancellation);

        // The put has found sound content, and is about to touch it. Its marker is deleted meanwhile.
        Task put = Open(pause).PutAsync(name, s_two, Bytes, Cancellation);
        await pause.ReachedAsync();
        await Container.DeleteBlobAsync($"{name}/owners/two", cancellationToken: Cancellation);
        await Open().ReleaseAsync(name, s_one, Cancellation);
        Assert.Empty(await ContentAsync());
        pause.Resume();
        await put;
        Assert.Equal(Bytes, await Open().GetAsync(name, Cancellation));
    }

    [Fact]
    public async Task ARelease_ThatDiedHalfWay_IsFinishedByTheNext()
    {
        BlobName name = NameOf(Bytes);
        await Open().PutAsync(name, s_one, Bytes, Cancellation);
        await Container.DeleteBlobAsync($"{name}/owners/one", cancellationToken: Cancellation);
        await Open().ReleaseAsync(name, s_one, Cancellation);
        Assert.Empty(await ContentAsync());
    }

    [Fact]
    public async Task APut_ThatDiedHalfWay_LeavesNoBlob()
    {
        BlobName name = NameOf(Bytes);
        IBlobStore store = Open();
        await Container.UploadBlobAsync($"{name}/owners/one", BinaryData.Empty, Cancellation);
        Assert.Null(await store.GetAsync(name, Cancellation));
        await store.ReleaseAsync(name, s_one, Cancellation);
        Assert.Empty(await ContentAsync());
    }

    [Fact]
    public async Task AnOldOwnersRelease_DuringItsPut_IsDefeatedByThePut()
    {
        BlobName name = NameOf(Bytes);
        using var pause = new PausePolicy(RequestMethod.Delete, "/owners/one");
        await Open().PutAsync(name, s_one, Bytes, Cancellation);

        // The marker was seen to be old, and is about to be deleted.
        DateTimeOffset future = DateTimeOffset.UtcNow + TimeSpan.FromHours(1);
        Task<bool> release = Open(pause).ReleaseOlderAsync(name, s_one, future, Cancellation);
        await pause.ReachedAsync();
        await Open().PutAsync(name, s_one, Bytes, Cancellation);
        pause.Resume();
        Assert.False(await release);
        Assert.Equal(Bytes, await Open().GetAsync(name, Cancellation));
        Assert.Equal(s_one, Assert.Single(Assert.Single(await ListAsync(Open())).Holders).Owner);
    }

    [Fact]
    public async Task ContentThatNobodyHolds_IsReleasedByItsAge()
    {
        BlobName name = NameOf(Bytes);
        DateTimeOffset past = DateTimeOffset.UtcNow - TimeSpan.FromHours(1), future = past + TimeSpan.FromHours(2);
        await Open().PutAsync(name, s_one, Bytes, Cancellation);
        Assert.False(await Open().ReleaseOlderAsync(name, null, future, Cancellation));
        await Container.DeleteBlobAsync($"{name}/owners/one", cancellationToken: Cancellation);
        StoredBlob listed = Assert.Single(await ListAsync(Open()));
        Assert.Equal((3, 0), ((int)listed.Length, listed.Holders.Count));
        Assert.False(await Open().ReleaseOlderAsync(name, null, past, Cancellation));
        Assert.Equal(Bytes, await Open().GetAsync(name, Cancellation));
        Assert.True(await Open().ReleaseOlderAsync(name, null, future, Cancellation));
        Assert.Empty(await ContentAsync());
    }

    [Fact]
    public async Task StagedBlocks_AreNotABlob()
    {
        BlobName name = NameOf(Large);
        using var pause = new PausePolicy(RequestMethod.Put, "comp=blocklist");
        using var staged = new MemoryStream(Large);
        Task put = Open(pause).PutAsync(name, s_one, staged, LargeBytes, Cancellation);
        await pause.ReachedAsync();
        Assert.Null(await Open().GetAsync(name, Cancellation));
        StoredBlob listed = Assert.Single(await ListAsync(Open()));
        Assert.Equal((0, s_one), ((int)listed.Length, Assert.Single(listed.Holders).Owner));
        pause.Resume();
        await put;
        Assert.Equal(Large, await Open().GetAsync(name, Cancellation));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task BlocksThatAnotherPutDropped_AreStagedAgain_OrThePutFails(bool canSeek)
    {
        BlobName name = NameOf(Large);
        using var pause = new PausePolicy(RequestMethod.Put, "comp=blocklist");
        using var content = new OneWayStream(Large, canSeek);
        Task put = Open(pause).PutAsync(name, s_one, content, LargeBytes, Cancellation);
        await pause.ReachedAsync();

        // Another put commits the same blob, and its content is deleted.
        await Open().PutAsync(name, s_two, Large, Cancellation);
        await Container.DeleteBlobAsync($"{name}/content", cancellationToken: Cancellation);
        pause.Resume();
        if (canSeek)
        {
            await put;
            Assert.Equal(Large, await Open().GetAsync(name, Cancellation));
        }
        else
        {
            // The service may or may not have kept the blocks; either way the put is done as a whole or not at all.
            bool isDone = true;
            try
            {
                await put;
            }
            catch (IOException)
            {
                isDone = false;
            }

            Assert.Equal(isDone, await Open().GetAsync(name, Cancellation) is not null);
        }
    }

    [Fact]
    public async Task AReleaseDuringAPutInBlocks_IsUndoneByThePut()
    {
        BlobName name = NameOf(Large);
        using var pause = new PausePolicy(RequestMethod.Put, "comp=metadata");
        await Open().PutAsync(name, s_one, Large, Cancellation);
        Task put = Open(pause).PutAsync(name, s_two, Large, Cancellation);
        await pause.ReachedAsync();
        await Container.DeleteBlobAsync($"{name}/owners/two", cancellationToken: Cancellation);
        await Open().ReleaseAsync(name, s_one, Cancellation);
        Assert.Empty(await ContentAsync());
        pause.Resume();
        await put;
        Assert.Equal(Large, await Open().GetAsync(name, Cancellation));
    }

    [Fact]
    public void InvalidOptions_AreRefused()
    {
        Assert.Contains(
            "Blobs:Container is No_Container",
            Refusal(new AzureBlobStoreOptions { Connection = azurite.Connection, Container = "No_Container" }));
        string both = Refusal(new AzureBlobStoreOptions { Connection = "AccountKey=c2VjcmV0", RetriesMax = -1 });
        Assert.Contains("Blobs:Azure must be a connection string", both);
        Assert.Contains("Blobs:RetriesMax is -1", both);
        Assert.DoesNotContain("c2VjcmV0", both);
        Assert.Contains("Connection", Refusal(new AzureBlobStoreOptions()));
        Assert.Contains(
            "Blobs:Endpoint is http://a.b; it must be an https URL",
            Refusal(new AzureBlobStoreOptions { Endpoint = "http://a.b" }));
        Assert.Contains(
            "Blobs:Azure and Blobs:Endpoint must not both be set",
            Refusal(new AzureBlobStoreOptions { Connection = azurite.Connection, Endpoint = "https://a.b" }));

        // Without a workload identity, the error says so, and no call is made.
        Exception error = Assert.ThrowsAny<Exception>(
            () => new AzureBlobStore(new AzureBlobStoreOptions { Endpoint = "https://127.0.0.1:1" }));
        Assert.Contains("WorkloadIdentityCredential", error.ToString(), StringComparison.Ordinal);

        static string Refusal(AzureBlobStoreOptions options) =>
            Assert.ThrowsAny<ArgumentException>(() => new AzureBlobStore(options)).Message;
    }

    [Fact]
    public async Task AServiceThatIsAway_IsAnError_AfterABoundedTime()
    {
        string nowhere = azurite.Connection.Replace($":{azurite.Port}/", ":1/", StringComparison.Ordinal);
        var options = new AzureBlobStoreOptions { Connection = nowhere, Container = _container, RetriesMax = 1 };
        await Assert.ThrowsAnyAsync<Exception>(() => Task.Run(() => new AzureBlobStore(options), Cancellation));
    }

    [Fact]
    public async Task ACallThatTheServiceRefuses_CanBeRetried()
    {
        BlobName name = NameOf(Bytes);
        IBlobStore store = Open();
        await Container.DeleteAsync(cancellationToken: Cancellation);
        await Assert.ThrowsAsync<IOException>(() => store.PutAsync(name, s_one, Bytes, Cancellation));
        await Open().PutAsync(name, s_one, Bytes, Cancellation);
        Assert.Equal(Bytes, await store.GetAsync(name, Cancellation));
    }

    // Two blocks of the size that ships, and a bit: the emulator is slow.
    protected override long HugeBytes => (16L << 20) + 17;

    protected override IBlobStore OpenAsShipped() => new AzureBlobStore(Options());

    protected override IBlobStore Open() => Open(null);

    protected override async Task<string[]> ContentAsync()
    {
        Open();
        return
        [
            .. await Container.GetBlobsAsync(cancellationToken: Cancellation).Select(blob => blob.Name).ToArrayAsync(
                Cancellation),
        ];
    }

    protected override async Task DamageAsync(byte[] bytes)
    {
        string name = Assert.Single(await ContentAsync(), one => one.EndsWith("/content", StringComparison.Ordinal));
        await Container.GetBlobClient(name).UploadAsync(BinaryData.FromBytes(bytes), overwrite: true, Cancellation);
    }

    protected override async Task WriteFormerAsync(string kind, string digest, string generation, byte[] bytes)
    {
        Open();
        string name = $"{kind}/tenant/{digest}";
        await Container.UploadBlobAsync($"{name}/owners/{generation}", BinaryData.Empty, Cancellation);
        await Container.UploadBlobAsync($"{name}/content", BinaryData.FromBytes(bytes), Cancellation);
    }

    private AzureBlobStore Open(PausePolicy? pause)
    {
        var client = new BlobClientOptions();
        if (pause is not null)
        {
            client.AddPolicy(pause, HttpPipelinePosition.PerCall);
        }

        return new AzureBlobStore(Options(), client) { BlockBytes = BlockBytes };
    }

    private AzureBlobStoreOptions Options() => new() { Connection = azurite.Connection, Container = _container };

    /// <summary>Stops before the first request of a kind until the test lets it continue.</summary>
    private sealed class PausePolicy(RequestMethod method, string part) : HttpPipelinePolicy, IDisposable
    {
        private readonly SemaphoreSlim _reached = new(0), _resume = new(0);
        private int _requests;

        public Task ReachedAsync() => _reached.WaitAsync(Cancellation);

        public void Dispose()
        {
            _reached.Dispose();
            _resume.Dispose();
        }

        public void Resume() => _resume.Release();

        public override void Process(HttpMessage message, ReadOnlyMemory<HttpPipelinePolicy> pipeline) =>
            ProcessNext(message, pipeline);

        public override async ValueTask ProcessAsync(HttpMessage message, ReadOnlyMemory<HttpPipelinePolicy> pipeline)
        {
            if (message.Request.Method == method
                && message.Request.Uri.ToUri().PathAndQuery.Contains(part, StringComparison.Ordinal)
                && Interlocked.Increment(ref _requests) == 1)
            {
                _reached.Release();
                await _resume.WaitAsync(Cancellation);
            }

            await ProcessNextAsync(message, pipeline);
        }
    }
}
