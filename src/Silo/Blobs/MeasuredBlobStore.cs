// A blob store that measures the calls to another one.
using System.Runtime.CompilerServices;
using Atelier.Contracts;
using Atelier.Grains.Ports;

namespace Atelier.Silo.Blobs;

/// <summary>Measures the calls to a blob store.</summary>
internal sealed class MeasuredBlobStore(IBlobStore store, StoreInstruments instruments, TimeProvider clock) : IBlobStore
{
    /// <remarks>Includes the time in which the caller's stream is read.</remarks>
    public async Task PutAsync(
        BlobName name, BlobOwner owner, Stream content, long length, CancellationToken cancellation)
    {
        using MeasuredCall call = Begin("put");
        await call.DoAsync(() => store.PutAsync(name, owner, content, length, cancellation));
    }

    /// <remarks>Measured until the stream is disposed, without the time between its reads.</remarks>
    public async Task<BlobContent?> OpenAsync(BlobName name, BlobRange range, CancellationToken cancellation)
    {
        MeasuredCall call = Begin("get");
        BlobContent? content = null;
        try
        {
            await call.DoAsync(async () => content = await store.OpenAsync(name, range, cancellation));
        }
        finally
        {
            if (content is null)
            {
                call.Dispose();
            }
        }

        return content is null ? null : content with { Stream = new MeasuredStream(content.Stream, call) };
    }

    public async Task ReleaseAsync(BlobName name, BlobOwner owner, CancellationToken cancellation)
    {
        using MeasuredCall call = Begin("release");
        await call.DoAsync(() => store.ReleaseAsync(name, owner, cancellation));
    }

    /// <remarks>Measured until the listing ends, without the time between its items.</remarks>
    public async IAsyncEnumerable<StoredBlob> ListAsync([EnumeratorCancellation] CancellationToken cancellation)
    {
        using MeasuredCall call = Begin("list");
        await using IAsyncEnumerator<StoredBlob> blobs = store.ListAsync(cancellation).GetAsyncEnumerator(cancellation);
        bool isThere = false;
        while (true)
        {
            await call.DoAsync(async () => isThere = await blobs.MoveNextAsync());
            if (!isThere)
            {
                break;
            }

            yield return blobs.Current;
        }
    }

    public async Task<bool> ReleaseOlderAsync(
        BlobName name, BlobOwner? owner, DateTimeOffset before, CancellationToken cancellation)
    {
        using MeasuredCall call = Begin("release_older");
        bool isReleased = false;
        await call.DoAsync(
            async () => isReleased = await store.ReleaseOlderAsync(name, owner, before, cancellation));
        return isReleased;
    }

    private MeasuredCall Begin(string operation) => new(operation, instruments, clock);
}
