// Small blobs as bytes in memory: pictures, snapshots, captions, latents and previews.
using System.Security.Cryptography;
using Atelier.Contracts;

namespace Atelier.Grains.Ports;

/// <summary>A simple interface to <see cref="IBlobStore"/>, for blobs that fit into memory.</summary>
public static class BlobBytes
{
    /// <summary>Maximum size of a small blob, in bytes.</summary>
    public const int BytesMax = 64 << 20;

    /// <summary>The name under which a tenant's bytes are stored.</summary>
    public static BlobName NameOf(BlobKind kind, TenantId tenant, byte[] bytes) =>
        BlobName.Of(kind, tenant, Convert.ToHexStringLower(SHA256.HashData(bytes)));

    /// <summary>Stores a generation's bytes under a name that contains their digest.</summary>
    /// <exception cref="ArgumentException">There are more than <see cref="BytesMax"/> bytes.</exception>
    public static async Task<BlobName> PutAsync(
        this IBlobStore store, BlobKind kind, GenerationKey owner, byte[] bytes, CancellationToken cancellation)
    {
        BlobName name = NameOf(kind, owner.Tenant, bytes);
        await store.PutAsync(name, BlobOwner.Of(owner.Id), bytes, cancellation);
        return name;
    }

    /// <summary>Stores bytes.</summary>
    /// <exception cref="ArgumentException">There are more than <see cref="BytesMax"/> bytes.</exception>
    /// <exception cref="InvalidDataException">The bytes do not match the digest in the name.</exception>
    public static async Task PutAsync(
        this IBlobStore store, BlobName name, BlobOwner owner, byte[] bytes, CancellationToken cancellation)
    {
        if (bytes.Length > BytesMax)
        {
            throw new ArgumentException(
                $"{name} has {bytes.Length} bytes; a small blob has at most {BytesMax}.", nameof(bytes));
        }

        using var content = new MemoryStream(bytes, writable: false);
        await store.PutAsync(name, owner, content, bytes.Length, cancellation);
    }

    /// <summary>
    /// The bytes of a blob, checked against the digest in its name; null if they are missing, damaged, or more than
    /// <see cref="BytesMax"/>.
    /// </summary>
    public static async Task<byte[]?> GetAsync(
        this IBlobStore store, BlobName name, CancellationToken cancellation)
    {
        await using BlobContent? content = await store.OpenAsync(name, default, cancellation);
        if (content is null || content.Length > BytesMax)
        {
            return null;
        }

        try
        {
            var bytes = new byte[content.Length];
            await content.Stream.ReadExactlyAsync(bytes, cancellation);

            // The digest of an empty blob is checked only when the end of the stream is read.
            return await content.Stream.ReadAsync(new byte[1], cancellation) == 0 ? bytes : null;
        }
        catch (Exception error) when (error is InvalidDataException or EndOfStreamException)
        {
            return null;
        }
    }
}
