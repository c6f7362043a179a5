// A blob store that measures the calls of another one.
using Atelier.Contracts;
using Atelier.Grains.Ports;

namespace Atelier.Silo.Blobs;

/// <summary>Measures the calls of a blob store.</summary>
internal sealed class MeasuredBlobStore(IBlobStore store, StoreInstruments instruments, TimeProvider clock) : IBlobStore
{
    public Task PutAsync(BlobName name, GenerationId owner, byte[] bytes, CancellationToken cancellation) =>
        MeasureAsync("put", () => store.PutAsync(name, owner, bytes, cancellation));

    public async Task<byte[]?> GetAsync(BlobName name, CancellationToken cancellation)
    {
        byte[]? bytes = null;
        await MeasureAsync("get", async () => bytes = await store.GetAsync(name, cancellation));
        return bytes;
    }

    public Task ReleaseAsync(BlobName name, GenerationId owner, CancellationToken cancellation) =>
        MeasureAsync("release", () => store.ReleaseAsync(name, owner, cancellation));

    private async Task MeasureAsync(string operation, Func<Task> call)
    {
        long start = clock.GetTimestamp();
        Exception? error = null;
        try
        {
            await call();
        }
        catch (Exception thrown)
        {
            error = thrown;
            throw;
        }
        finally
        {
            instruments.Record(operation, clock.GetElapsedTime(start), error);
        }
    }
}
