using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Silo.Api.Http;

namespace Atelier.Silo.Api.Pictures;

/// <summary>Reads pictures from the blob store.</summary>
internal sealed class PictureReader(IBlobStore blobs, GrainCaller calls)
{
    /// <summary>Reads a picture in the given format; null if its file no longer exists.</summary>
    public async Task<byte[]?> ReadAsync(BlobName name, PictureFormat format, CancellationToken cancellation)
    {
        byte[]? png = await calls.CallAsync(() => blobs.GetAsync(name, CancellationToken.None));
        cancellation.ThrowIfCancellationRequested();
        return png is null ? null : format.Encode(png);
    }
}
