// Storage of bytes that are too large for a grain's state, up to training checkpoints. Names are digests of contents,
// so that writing twice is writing once, and every owner holds a blob until it releases it.
using Atelier.Contracts;

namespace Atelier.Grains.Ports;

/// <summary>
/// A store of bytes by content. What it refuses or does not answer is an <see cref="IOException"/>: it can be asked
/// again. A name or an owner that is not valid is an <see cref="ArgumentException"/>.
/// </summary>
public interface IBlobStore
{
    /// <summary>
    /// Stores bytes for an owner. When this has answered, they survive the death of any machine until the owner
    /// releases them. Bytes that the store already has are not written again. The stream is always read to its end, and
    /// it is not disposed.
    /// </summary>
    /// <param name="name">Name that the bytes' digest is part of.</param>
    /// <param name="owner">Who needs them. An owner of a tenant's cannot hold the cluster's blobs.</param>
    /// <param name="content">The bytes, from its position on. A stream that can seek may be read twice.</param>
    /// <param name="length">Number of bytes.</param>
    /// <param name="cancellation">Cancels.</param>
    /// <exception cref="InvalidDataException">The stream has another length or digest; nothing is stored.</exception>
    Task PutAsync(BlobName name, BlobOwner owner, Stream content, long length, CancellationToken cancellation);

    /// <summary>
    /// Opens a blob for reading; null if the store does not have it. The digest of a whole blob is checked while it is
    /// read: its last bytes are returned only if all of them are sound, else reading throws an <see
    /// cref="InvalidDataException"/>. A range is not checked.
    /// </summary>
    /// <param name="name">Its name.</param>
    /// <param name="range">Which bytes; what is beyond the end is left out.</param>
    /// <param name="cancellation">Cancels the opening.</param>
    Task<BlobContent?> OpenAsync(BlobName name, BlobRange range, CancellationToken cancellation);

    /// <summary>The owner does not need the bytes anymore; once no owner does, they are deleted.</summary>
    Task ReleaseAsync(BlobName name, BlobOwner owner, CancellationToken cancellation);

    /// <summary>All blobs, each with who holds it. What is put or released meanwhile may be in it or not.</summary>
    IAsyncEnumerable<StoredBlob> ListAsync(CancellationToken cancellation);

    /// <summary>
    /// Releases a blob for an owner whose last put of it is older than a moment; a put that comes meanwhile wins.
    /// </summary>
    /// <param name="name">The blob.</param>
    /// <param name="owner">The owner; null for bytes that nobody holds.</param>
    /// <param name="before">The moment, by the store's clock, which may count in seconds.</param>
    /// <param name="cancellation">Cancels.</param>
    /// <returns>False if the owner holds it still, because it was put since.</returns>
    Task<bool> ReleaseOlderAsync(
        BlobName name, BlobOwner? owner, DateTimeOffset before, CancellationToken cancellation);
}

/// <summary>Which bytes of a blob; by default all of them.</summary>
/// <param name="Offset">The first byte, counted from 0.</param>
/// <param name="Length">How many; null for all from there on.</param>
public readonly record struct BlobRange(long Offset, long? Length = null)
{
    /// <summary>How many bytes of a blob these are.</summary>
    /// <param name="length">The blob's length.</param>
    public long LengthIn(long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(Offset);
        ArgumentOutOfRangeException.ThrowIfNegative(Length ?? 0, nameof(Length));
        long rest = Math.Max(0, length - Offset);
        return Math.Min(Length ?? rest, rest);
    }

    /// <summary>Gets whether these are all bytes of any blob.</summary>
    public bool IsWhole => this is { Offset: 0, Length: null };
}

/// <summary>A blob that is open for reading.</summary>
/// <param name="Length">Bytes of the whole blob, also when a range is read.</param>
/// <param name="Stream">The bytes that were asked for, in order.</param>
public sealed record BlobContent(long Length, Stream Stream) : IAsyncDisposable
{
    /// <inheritdoc/>
    public ValueTask DisposeAsync() => Stream.DisposeAsync();
}

/// <summary>A blob in a list.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Length">Its bytes; 0 if a put that died left only its owner.</param>
/// <param name="PutAt">When it was last put, by the store's clock.</param>
/// <param name="Holders">Who holds it.</param>
public sealed record StoredBlob(
    BlobName Name, long Length, DateTimeOffset PutAt, IReadOnlyList<BlobHolder> Holders);

/// <summary>An owner of a stored blob.</summary>
/// <param name="Spelling">How the store spells it.</param>
/// <param name="Owner">The owner; null if this release does not know such a spelling.</param>
/// <param name="PutAt">When it last put the blob, or later, by the store's clock.</param>
public sealed record BlobHolder(string Spelling, BlobOwner? Owner, DateTimeOffset PutAt);
