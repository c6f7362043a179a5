// Storage of bytes that are too large for a grain's state, up to training checkpoints. Names contain digests of the
// contents, so writing a blob twice is the same as writing it once. Each owner holds a blob until that owner releases
// it.
using Atelier.Contracts;

namespace Atelier.Grains.Ports;

/// <summary>
/// A content-addressed store of bytes. A call that the store refuses or does not answer throws an
/// <see cref="IOException"/> and can be retried. A name or an owner that is not valid causes an
/// <see cref="ArgumentException"/>.
/// </summary>
public interface IBlobStore
{
    /// <summary>
    /// Stores bytes for an owner. Once the call has completed, the bytes survive the death of any machine until the
    /// owner releases them. Bytes that the store already has are not written again. The stream is always read to its
    /// end, and it is not disposed.
    /// </summary>
    /// <param name="name">The blob's name, which contains the digest of the bytes.</param>
    /// <param name="owner">
    /// The owner that needs the bytes. An owner that belongs to a tenant cannot hold blobs of the cluster.
    /// </param>
    /// <param name="content">
    /// The bytes, from the stream's current position. A stream that can seek may be read twice.
    /// </param>
    /// <param name="length">Number of bytes.</param>
    /// <param name="cancellation">Cancels the call.</param>
    /// <exception cref="InvalidDataException">The stream has another length or digest; nothing is stored.</exception>
    Task PutAsync(BlobName name, BlobOwner owner, Stream content, long length, CancellationToken cancellation);

    /// <summary>
    /// Opens a blob for reading; null if the store does not have it. The digest of a whole blob is checked while it is
    /// read: its last bytes are returned only if all bytes are sound; otherwise reading throws an
    /// <see cref="InvalidDataException"/>. A range is not checked.
    /// </summary>
    /// <param name="name">The blob's name.</param>
    /// <param name="range">The bytes to read; those beyond the end of the blob are left out.</param>
    /// <param name="cancellation">Cancels the opening.</param>
    Task<BlobContent?> OpenAsync(BlobName name, BlobRange range, CancellationToken cancellation);

    /// <summary>
    /// Releases a blob that an owner does not need anymore. Once no owner needs it, its bytes are deleted.
    /// </summary>
    Task ReleaseAsync(BlobName name, BlobOwner owner, CancellationToken cancellation);

    /// <summary>
    /// All blobs, each with its owners. A blob that is put or released meanwhile may be listed or not.
    /// </summary>
    IAsyncEnumerable<StoredBlob> ListAsync(CancellationToken cancellation);

    /// <summary>
    /// Releases a blob for an owner, unless the owner has put it since a given time. A concurrent put wins.
    /// </summary>
    /// <param name="name">The blob.</param>
    /// <param name="owner">The owner; null for bytes that no owner holds.</param>
    /// <param name="before">The given time, by the store's clock, whose resolution may be one second.</param>
    /// <param name="cancellation">Cancels the call.</param>
    /// <returns>False if the owner still holds the blob, because the blob was put since.</returns>
    Task<bool> ReleaseOlderAsync(
        BlobName name, BlobOwner? owner, DateTimeOffset before, CancellationToken cancellation);
}

/// <summary>A range of a blob's bytes; by default all of them.</summary>
/// <param name="Offset">The first byte, counted from 0.</param>
/// <param name="Length">Number of bytes; null for all bytes from the offset on.</param>
public readonly record struct BlobRange(long Offset, long? Length = null)
{
    /// <summary>The number of bytes that the range has in a blob.</summary>
    /// <param name="length">The blob's length.</param>
    public long LengthIn(long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(Offset);
        ArgumentOutOfRangeException.ThrowIfNegative(Length ?? 0, nameof(Length));
        long rest = Math.Max(0, length - Offset);
        return Math.Min(Length ?? rest, rest);
    }

    /// <summary>Gets whether the range covers any blob completely.</summary>
    public bool IsWhole => this is { Offset: 0, Length: null };
}

/// <summary>A blob that is open for reading.</summary>
/// <param name="Length">Length of the whole blob in bytes, even if only a range is read.</param>
/// <param name="Stream">The requested bytes, in order.</param>
public sealed record BlobContent(long Length, Stream Stream) : IAsyncDisposable
{
    /// <inheritdoc/>
    public ValueTask DisposeAsync() => Stream.DisposeAsync();
}

/// <summary>A blob in a list.</summary>
/// <param name="Name">The blob's name.</param>
/// <param name="Length">The blob's length in bytes; 0 if a put that was interrupted left only an owner.</param>
/// <param name="PutAt">When the blob was last put, by the store's clock.</param>
/// <param name="Holders">The owners that hold the blob.</param>
public sealed record StoredBlob(
    BlobName Name, long Length, DateTimeOffset PutAt, IReadOnlyList<BlobHolder> Holders);

/// <summary>An owner of a stored blob.</summary>
/// <param name="Spelling">The owner's spelling in the store.</param>
/// <param name="Owner">The owner; null if this release does not know such a spelling.</param>
/// <param name="PutAt">When the owner last put the blob, or a later time, by the store's clock.</param>
public sealed record BlobHolder(string Spelling, BlobOwner? Owner, DateTimeOffset PutAt);
