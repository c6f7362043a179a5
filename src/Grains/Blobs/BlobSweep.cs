// The sweep of the blob store: it lists all blobs, asks their owners, and removes the blobs that no owner needs. A blob
// is removed only if it was listed as older than the grace period and all its owners answer that they do not need it.
// It is then released for each owner on condition that the owner has not put it since, so bytes that are stored again
// at that moment are kept. A worker stores bytes before it reports them; until the report its generation is open, and
// an open generation needs all blobs that it holds.
using System.Runtime.CompilerServices;
using Atelier.Grains.Ports;

namespace Atelier.Grains.Blobs;

/// <summary>A blob that no owner needs.</summary>
/// <param name="Blob">The blob as it was listed.</param>
/// <param name="IsRemoved">Whether the blob was removed; false in a dry run, or if it was put again meanwhile.</param>
public readonly record struct SweptBlob(StoredBlob Blob, bool IsRemoved);

/// <summary>A number of blobs, and the sum of their bytes.</summary>
public readonly record struct BlobCount(long Blobs, long Bytes)
{
    internal BlobCount With(StoredBlob blob) => new(Blobs + 1, Bytes + blob.Length);
}

/// <summary>One sweep of a blob store.</summary>
public sealed class BlobSweep
{
    /// <summary>
    /// The shortest grace period. It allows for differences between the clocks of the cluster and of its store, and for
    /// the duration of calls.
    /// </summary>
    public static readonly TimeSpan GraceMin = TimeSpan.FromHours(1);

    /// <summary>The default grace period.</summary>
    public static readonly TimeSpan GraceDefault = TimeSpan.FromDays(1);

    private readonly IBlobStore _store;
    private readonly BlobOwners _owners;
    private readonly DateTimeOffset _before;
    private readonly bool _isDryRun;

    /// <summary>Prepares a sweep.</summary>
    /// <param name="store">The store.</param>
    /// <param name="owners">The owners.</param>
    /// <param name="clock">The clock that determines the age of blobs.</param>
    /// <param name="grace">The minimum age of a blob that is removed, at least <see cref="GraceMin"/>.</param>
    /// <param name="isDryRun">Whether nothing is removed.</param>
    public BlobSweep(IBlobStore store, BlobOwners owners, TimeProvider clock, TimeSpan grace, bool isDryRun)
        : this(store, owners, clock.GetUtcNow() - Checked(grace), isDryRun)
    {
    }

    /// <summary>Prepares a sweep of the blobs that were put before a given time.</summary>
    internal BlobSweep(IBlobStore store, BlobOwners owners, DateTimeOffset before, bool isDryRun) =>
        (_store, _owners, _before, _isDryRun) = (store, owners, before, isDryRun);

    /// <summary>Gets the number of blobs that were listed so far.</summary>
    public BlobCount Listed { get; private set; }

    /// <summary>Gets the number of blobs that no owner needs.</summary>
    public BlobCount Unneeded { get; private set; }

    /// <summary>Gets the number of blobs that were removed.</summary>
    public BlobCount Removed { get; private set; }

    /// <summary>Gets the number of blobs that were kept because they are younger than the grace period.</summary>
    public BlobCount Young { get; private set; }

    /// <summary>
    /// Gets the number of blobs that were kept because an owner, or the store at their removal, did not answer.
    /// </summary>
    public BlobCount InDoubt { get; private set; }

    /// <summary>Runs the sweep, once, and returns the blobs that no owner needs.</summary>
    /// <exception cref="IOException">The store cannot be listed.</exception>
    public async IAsyncEnumerable<SweptBlob> RunAsync([EnumeratorCancellation] CancellationToken cancellation)
    {
        await foreach (StoredBlob blob in _store.ListAsync(cancellation))
        {
            cancellation.ThrowIfCancellationRequested();
            Listed = Listed.With(blob);
            switch (await JudgeAsync(blob))
            {
                case Verdict.Young:
                    Young = Young.With(blob);
                    break;
                case Verdict.InDoubt:
                    InDoubt = InDoubt.With(blob);
                    break;
                case Verdict.Unneeded:
                    Unneeded = Unneeded.With(blob);
                    yield return new SweptBlob(blob, !_isDryRun && await TryRemoveAsync(blob, cancellation));
                    break;
                default:
                    break;
            }
        }
    }

    private static TimeSpan Checked(TimeSpan grace)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(grace, GraceMin);
        return grace;
    }

    private enum Verdict
    {
        Needed,
        Young,
        InDoubt,
        Unneeded,
    }

    private async Task<Verdict> JudgeAsync(StoredBlob blob)
    {
        if (blob.PutAt >= _before || blob.Holders.Any(holder => holder.PutAt >= _before))
        {
            return Verdict.Young;
        }

        var verdict = Verdict.Unneeded;
        foreach (BlobHolder holder in blob.Holders)
        {
            switch (await _owners.MayNeedAsync(blob.Name, holder.Owner))
            {
                case true:
                    return Verdict.Needed;
                case null:
                    verdict = Verdict.InDoubt;
                    break;
                default:
                    break;
            }
        }

        return verdict;
    }

    private async Task<bool> TryRemoveAsync(StoredBlob blob, CancellationToken cancellation)
    {
        try
        {
            bool isGone = blob.Holders.Count > 0
                || await _store.ReleaseOlderAsync(blob.Name, null, _before, cancellation);
            foreach (BlobHolder holder in blob.Holders)
            {
                isGone &= await _store.ReleaseOlderAsync(blob.Name, holder.Owner, _before, cancellation);
            }

            Removed = isGone ? Removed.With(blob) : Removed;
            return isGone;
        }
        catch (IOException)
        {
            InDoubt = InDoubt.With(blob);
            return false;
        }
    }
}
