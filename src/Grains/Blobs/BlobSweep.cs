// The sweep of the blob store: it lists all blobs, asks their owners, and removes those that none of them needs. What
// it removes was listed as older than the grace period and its owners were asked; then it is released for each owner in
// a way that a later put defeats, so bytes that are stored again at that moment stay. A worker stores bytes before it
// reports them; until then its generation is open, and an open generation needs all that it holds.
using System.Runtime.CompilerServices;
using Atelier.Grains.Ports;

namespace Atelier.Grains.Blobs;

/// <summary>A blob that no owner needs.</summary>
/// <param name="Blob">The blob as it was listed.</param>
/// <param name="IsRemoved">Whether it is removed; false in a dry run, or if it was put meanwhile.</param>
public readonly record struct SweptBlob(StoredBlob Blob, bool IsRemoved);

/// <summary>Numbers of a sweep: blobs and their bytes.</summary>
public readonly record struct BlobCount(long Blobs, long Bytes)
{
    internal BlobCount With(StoredBlob blob) => new(Blobs + 1, Bytes + blob.Length);
}

/// <summary>One sweep of a blob store.</summary>
public sealed class BlobSweep
{
    /// <summary>
    /// The shortest grace period, since clocks of a cluster and of its store differ, and calls take time.
    /// </summary>
    public static readonly TimeSpan GraceMin = TimeSpan.FromHours(1);

    /// <summary>The usual grace period.</summary>
    public static readonly TimeSpan GraceDefault = TimeSpan.FromDays(1);

    private readonly IBlobStore _store;
    private readonly BlobOwners _owners;
    private readonly DateTimeOffset _before;
    private readonly bool _isDryRun;

    /// <summary>Prepares a sweep.</summary>
    /// <param name="store">The store.</param>
    /// <param name="owners">The owners.</param>
    /// <param name="clock">The time, from which the grace period counts.</param>
    /// <param name="grace">The age that a blob must have, at least <see cref="GraceMin"/>.</param>
    /// <param name="isDryRun">Whether nothing is removed.</param>
    public BlobSweep(IBlobStore store, BlobOwners owners, TimeProvider clock, TimeSpan grace, bool isDryRun)
        : this(store, owners, clock.GetUtcNow() - Checked(grace), isDryRun)
    {
    }

    /// <summary>A sweep of what is older than a moment.</summary>
    internal BlobSweep(IBlobStore store, BlobOwners owners, DateTimeOffset before, bool isDryRun) =>
        (_store, _owners, _before, _isDryRun) = (store, owners, before, isDryRun);

    /// <summary>Gets what was listed so far.</summary>
    public BlobCount Listed { get; private set; }

    /// <summary>Gets what was found that no owner needs.</summary>
    public BlobCount Unneeded { get; private set; }

    /// <summary>Gets what was removed.</summary>
    public BlobCount Removed { get; private set; }

    /// <summary>Gets what was kept because it is younger than the grace period.</summary>
    public BlobCount Young { get; private set; }

    /// <summary>Gets what was kept because an owner, or the store when it was to be removed, did not answer.</summary>
    public BlobCount InDoubt { get; private set; }

    /// <summary>Sweeps, once, and gives what no owner needs.</summary>
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
