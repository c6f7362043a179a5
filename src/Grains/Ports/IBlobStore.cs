// Where bytes lie that are too large for a grain's state: captions, snapshots, latents, previews, pictures. Names are
// digests of contents within a tenant, so writing twice is writing once.
using System.Security.Cryptography;
using Atelier.Contracts;

namespace Atelier.Grains.Ports;

/// <summary>
/// A store of bytes by content. What it refuses or does not answer is an <see cref="IOException"/>: it can be asked
/// again.
/// </summary>
public interface IBlobStore
{
    /// <summary>
    /// Stores bytes and notes who needs them. When this has answered, the bytes survive the death of any machine. What
    /// is there already is not written again.
    /// </summary>
    /// <param name="name">Name that the bytes' digest is part of.</param>
    /// <param name="owner">Generation that needs them.</param>
    /// <param name="bytes">The bytes.</param>
    /// <param name="cancellation">Cancels.</param>
    Task PutAsync(BlobName name, GenerationId owner, byte[] bytes, CancellationToken cancellation);

    /// <summary>The bytes of a name, checked against its digest; none if they are not there.</summary>
    Task<byte[]?> GetAsync(BlobName name, CancellationToken cancellation);

    /// <summary>A generation does not need the bytes any more; once nobody does, they are deleted.</summary>
    Task ReleaseAsync(BlobName name, GenerationId owner, CancellationToken cancellation);
}

/// <summary>What goes for all stores.</summary>
public static class BlobStoreExtensions
{
    /// <summary>The name under which a tenant's bytes are stored.</summary>
    public static BlobName NameOf(string kind, TenantId tenant, byte[] bytes) =>
        BlobName.Of(kind, tenant, Convert.ToHexStringLower(SHA256.HashData(bytes)));

    /// <summary>Stores a generation's bytes under the name that their digest gives.</summary>
    public static async Task<BlobName> PutAsync(
        this IBlobStore store, string kind, GenerationKey owner, byte[] bytes, CancellationToken cancellation)
    {
        BlobName name = NameOf(kind, owner.Tenant, bytes);
        await store.PutAsync(name, owner.Id, bytes, cancellation);
        return name;
    }
}
