// A blob store in Azure Blob Storage. A blob is its content and, beside it, an empty marker for each owner that needs
// it. Names of the cluster's own blobs have no tenant:
//
//     pictures/TENANT/abcd...ef/content
//     pictures/TENANT/abcd...ef/owners/GENERATION
//     checkpoints/abcd...ef/content
//     checkpoints/abcd...ef/owners/run.RUN
//
// There are no locks. A release must never delete content that a put has just promised to another owner. The order of
// the following steps, together with the content's ETag, rules that out:
//
//     put:      P1 write the marker; P2 create the content if it is absent, or else touch it, which gives it a new ETag
//     release:  R1 delete the marker; R2 read the content's ETag; R3 list the markers, and stop if there is one;
//               R4 delete the content if its ETag is still the one that R2 read
//
// Suppose R4 deletes content after some put has completed P2. The ETag has not changed since R2, and every P2 gives the
// content a new ETag, so this P2 came before R2. The put's P1 came even earlier, so R3, which came after R2, saw the
// marker (lists are as strongly consistent as reads) and stopped, unless the marker's owner had released the blob in
// the meantime and so did not need it. If R4 comes before the end of P2, the touch finds no content, and P2 starts
// over.
//
// Content that nobody needs is not left behind either. Of several concurrent releases, the one whose R3 comes last sees
// no marker. If its R4 fails, a put came in between, and the release by that put's owner either is still to come or
// came after that R1. A process that dies between R1 and R4 leaves content without an owner. A retry of the same
// release deletes it, because a release continues if the marker is already absent. All this holds as long as a request
// that the client has timed out and retried does not reach the service after the owner's next request.
//
// Large content is uploaded in blocks before P1. Staged blocks are not content: nobody reads or lists them, they change
// no ETag, and the service drops them when anybody commits the same blob, or after a week. P2 then commits all blocks
// at once, under the same condition as an upload in one request. A commit whose blocks were dropped fails as a whole;
// P2 starts over after the blocks are staged again. The digest is checked before P1, so a stream that is refused leaves
// neither marker nor content.
//
// ReleaseOlderAsync is a release whose R1 deletes the marker only if the marker's ETag has not changed since its age
// was read. P1 writes the marker again, which gives it a new ETag. So either R1 fails, or it came before P1, and the
// rest is as above. Content without a marker is deleted by R2 to R4 alone, with its age read in R2.
using System.Globalization;
using System.Runtime.CompilerServices;
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Azure;
using Azure.Core;
using Azure.Storage.Blobs;
using Azure.Storage.Blobs.Models;
using Azure.Storage.Blobs.Specialized;

namespace Atelier.Silo.Blobs;

/// <summary>A blob store in Azure Blob Storage, which any number of processes may share.</summary>
public sealed class AzureBlobStore : IBlobStore
{
    // Maximum number of attempts while others release the same blob.
    private const int TriesMax = 100;

    private const int NotFound = 404;
    private const int PreconditionFailed = 412;
    private const int RangeNotSatisfiable = 416;

    private const string Content = "/content";
    private const string Owners = "/owners/";

    private readonly BlobContainerClient _container;

    /// <summary>Opens the store, and creates its container if it does not exist.</summary>
    /// <exception cref="ArgumentException">The options are invalid; the message says why.</exception>
    /// <exception cref="IOException">The account refuses this process, or does not answer.</exception>
    public AzureBlobStore(AzureBlobStoreOptions options)
        : this(Checked(options), new BlobClientOptions())
    {
    }

    /// <summary>Opens the store with the given client options.</summary>
    internal AzureBlobStore(AzureBlobStoreOptions options, BlobClientOptions client)
    {
        client.Retry.Mode = RetryMode.Exponential;
        client.Retry.MaxRetries = options.RetriesMax;
        client.Retry.Delay = TimeSpan.FromSeconds(0.2);
        client.Retry.MaxDelay = TimeSpan.FromSeconds(3);
        client.Retry.NetworkTimeout = options.TryTimeout;
        _container = options.Open(client);
    }

    /// <summary>Maximum size of an upload in one request, in bytes; larger content is uploaded in blocks.</summary>
    internal int BlockBytes { get; init; } = 8 << 20;

    /// <inheritdoc/>
    public async Task PutAsync(
        BlobName name, BlobOwner owner, Stream content, long length, CancellationToken cancellation)
    {
        (BlockBlobClient blob, BlobClient marker) = (ContentOf(name), MarkerOf(name, owner));
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        var upload = new AzureUpload(blob, name, content, length, BlockBytes);
        await AskAsync(name, async () =>
        {
            await upload.PrepareAsync(cancellation);
            await marker.UploadAsync(BinaryData.Empty, overwrite: true, cancellation);
            for (int attempt = 1; !await TryPlaceAsync(name, blob, upload, cancellation); attempt++)
            {
                if (attempt == TriesMax)
                {
                    throw new IOException($"{name} was deleted {TriesMax} times while it was being put.");
                }
            }

            return true;
        });
    }

    /// <inheritdoc/>
    public Task<BlobContent?> OpenAsync(BlobName name, BlobRange range, CancellationToken cancellation)
    {
        BlockBlobClient blob = ContentOf(name);
        _ = range.LengthIn(0);
        return AskAsync(name, async () =>
        {
            if (range.Length == 0)
            {
                // The service does not support requests for an empty range.
                return await LengthAsync(blob, cancellation) is { } total
                    ? new BlobContent(total, BlobStream.Part(Stream.Null, name, 0))
                    : null;
            }

            (BlobContent? content, _) = await ReadAsync(name, blob, range, cancellation);
            return content;
        });
    }

    /// <inheritdoc/>
    public async Task ReleaseAsync(BlobName name, BlobOwner owner, CancellationToken cancellation)
    {
        BlobClient marker = MarkerOf(name, owner);
        await AskAsync(name, async () =>
        {
            await marker.DeleteIfExistsAsync(DeleteSnapshotsOption.IncludeSnapshots, cancellationToken: cancellation);
            return await TryDeleteAsync(name, DateTimeOffset.MaxValue, cancellation);
        });
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<StoredBlob> ListAsync([EnumeratorCancellation] CancellationToken cancellation)
    {
        // The items of a blob are listed together, its content first.
        StoredBlob? blob = null;
        await using IAsyncEnumerator<BlobItem> items = _container.GetBlobsAsync(cancellationToken: cancellation)
            .GetAsyncEnumerator(cancellation);
        while (await AskAsync("the container", async () => await items.MoveNextAsync()))
        {
            BlobItem item = items.Current;
            DateTimeOffset at = item.Properties.LastModified ?? DateTimeOffset.MaxValue;
            if (!TryParse(item.Name, out BlobName name, out string? owner))
            {
                continue;
            }

            if (blob is not null && blob.Name != name)
            {
                yield return blob;
                blob = null;
            }

            blob ??= new StoredBlob(name, 0, at, []);
            blob = blob with { PutAt = at > blob.PutAt ? at : blob.PutAt };
            blob = owner is null
                ? blob with { Length = item.Properties.ContentLength ?? 0 }
                : blob with
                {
                    Holders =
                    [
                        .. blob.Holders,
                        new BlobHolder(owner, BlobOwner.TryParse(owner, out BlobOwner known) ? known : null, at),
                    ],
                };
        }

        if (blob is not null)
        {
            yield return blob;
        }
    }

    /// <inheritdoc/>
    public Task<bool> ReleaseOlderAsync(
        BlobName name, BlobOwner? owner, DateTimeOffset before, CancellationToken cancellation)
    {
        PathOf(name);
        BlobClient? marker = owner is { } one ? MarkerOf(name, one) : null;
        return AskAsync(name, async () =>
        {
            if (marker is null)
            {
                return await TryDeleteAsync(name, before, cancellation);
            }

            try
            {
                BlobProperties seen = await marker.GetPropertiesAsync(cancellationToken: cancellation);
                if (seen.LastModified >= before)
                {
                    return false;
                }

                await marker.DeleteAsync(
                    DeleteSnapshotsOption.IncludeSnapshots, new BlobRequestConditions { IfMatch = seen.ETag },
                    cancellation);
            }
            catch (RequestFailedException error) when (error.Status == PreconditionFailed)
            {
                return false;
            }
            catch (RequestFailedException error) when (error.Status == NotFound)
            {
                // The owner's marker was already deleted.
            }

            await TryDeleteAsync(name, DateTimeOffset.MaxValue, cancellation);
            return true;
        });
    }

    // Makes a call. If it still fails after the client's own retries, throws an IOException, as all stores do.
    private static async Task<T> AskAsync<T>(object name, Func<Task<T>> call)
    {
        try
        {
            return await call();
        }
        catch (Exception error) when (error is RequestFailedException or AggregateException)
        {
            throw new IOException($"Azure Blob Storage failed for {name}: {error.Message}", error);
        }
    }

    // P2; returns false if the content was deleted meanwhile.
    private static async Task<bool> TryPlaceAsync(
        BlobName name, BlockBlobClient blob, AzureUpload upload, CancellationToken cancellation)
    {
        if (await upload.TryAsync(new BlobRequestConditions { IfNoneMatch = ETag.All }, cancellation))
        {
            return true;
        }

        (bool isSound, ETag seen) = await CheckAsync(name, blob, cancellation);
        if (seen == default)
        {
            await upload.PrepareAgainAsync(cancellation);
            return false;
        }

        if (!isSound)
        {
            await upload.PrepareAgainAsync(cancellation);
            return await upload.TryAsync(new BlobRequestConditions { IfMatch = seen }, cancellation);
        }

        try
        {
            await blob.SetMetadataAsync(new Dictionary<string, string>(), cancellationToken: cancellation);
            return true;
        }
        catch (RequestFailedException error) when (error.Status == NotFound)
        {
            await upload.PrepareAgainAsync(cancellation);
            return false;
        }
    }

    // R2 to R4, if the content is older than the given time. Returns false if it is not, or if it was put or deleted
    // meanwhile.
    private async Task<bool> TryDeleteAsync(BlobName name, DateTimeOffset before, CancellationToken cancellation)
    {
        BlockBlobClient blob = ContentOf(name);
        try
        {
            BlobProperties seen = await blob.GetPropertiesAsync(cancellationToken: cancellation);
            if (seen.LastModified >= before || await HasOwnerAsync(name, cancellation))
            {
                return false;
            }

            await blob.DeleteAsync(
                DeleteSnapshotsOption.IncludeSnapshots, new BlobRequestConditions { IfMatch = seen.ETag },
                cancellation);
            return true;
        }
        catch (RequestFailedException error) when (error.Status is NotFound or PreconditionFailed)
        {
            return false;
        }
    }

    // Whether the content matches its name. Returns no ETag if the content does not exist, or was replaced or deleted
    // meanwhile.
    private static async Task<(bool IsSound, ETag Seen)> CheckAsync(
        BlobName name, BlockBlobClient blob, CancellationToken cancellation)
    {
        (BlobContent? content, ETag seen) = await ReadAsync(name, blob, default, cancellation);
        if (content is null)
        {
            return default;
        }

        try
        {
            await using (content)
            {
                await content.Stream.CopyToAsync(Stream.Null, cancellation);
            }

            return (true, seen);
        }
        catch (InvalidDataException)
        {
            return (false, seen);
        }
        catch (IOException error)
            when (error.InnerException is RequestFailedException { Status: NotFound or PreconditionFailed })
        {
            return default;
        }
    }

    // Returns no content and no ETag if the blob does not exist.
    private static async Task<(BlobContent? Content, ETag Seen)> ReadAsync(
        BlobName name, BlockBlobClient blob, BlobRange range, CancellationToken cancellation)
    {
        try
        {
            BlobDownloadStreamingResult answer = await blob.DownloadStreamingAsync(
                range.IsWhole ? null : new BlobDownloadOptions { Range = new HttpRange(range.Offset, range.Length) },
                cancellation);
            long length = answer.Details.ContentLength;
            BlobContent content = range.IsWhole
                ? new BlobContent(length, BlobStream.Whole(answer.Content, name, length))
                : new BlobContent(
                    TotalOf(answer.Details.ContentRange), BlobStream.Part(answer.Content, name, length));
            return (content, answer.Details.ETag);
        }
        catch (RequestFailedException error) when (error.Status == NotFound)
        {
            return default;
        }
        catch (RequestFailedException error) when (error.Status == RangeNotSatisfiable)
        {
            return await LengthAsync(blob, cancellation) is { } total
                ? (new BlobContent(total, BlobStream.Part(Stream.Null, name, 0)), default)
                : default;
        }
    }

    // Returns null if the blob does not exist.
    private static async Task<long?> LengthAsync(BlockBlobClient blob, CancellationToken cancellation)
    {
        try
        {
            return (await blob.GetPropertiesAsync(cancellationToken: cancellation)).Value.ContentLength;
        }
        catch (RequestFailedException error) when (error.Status == NotFound)
        {
            return null;
        }
    }

    // "bytes 0-9/100"
    private static long TotalOf(string range) =>
        long.Parse(range.AsSpan(range.LastIndexOf('/') + 1), NumberStyles.None, CultureInfo.InvariantCulture);

    private ValueTask<bool> HasOwnerAsync(BlobName name, CancellationToken cancellation) => _container.GetBlobsAsync(
        BlobTraits.None, BlobStates.None, PathOf(name) + Owners, cancellation).AnyAsync(cancellation);

    private BlockBlobClient ContentOf(BlobName name) => _container.GetBlockBlobClient(PathOf(name) + Content);

    private BlobClient MarkerOf(BlobName name, BlobOwner owner) =>
        _container.GetBlobClient(PathOf(name) + Owners + owner.SpellingFor(name));

    private static string PathOf(BlobName name) => BlobName.TryParse(name.Value, out _)
        ? name.Value
        : throw new ArgumentException($"'{name.Value}' is not the name of a blob.", nameof(name));

    // Parses the path of a blob's content or of an owner's marker. Paths that this version of the program does not know
    // are ignored.
    private static bool TryParse(string path, out BlobName name, out string? owner)
    {
        int end = path.IndexOf(Owners, StringComparison.Ordinal);
        owner = end < 0 ? null : path[(end + Owners.Length)..];
        string text = end >= 0 ? path[..end] : path.EndsWith(Content, StringComparison.Ordinal)
            ? path[..^Content.Length]
            : "";
        return BlobName.TryParse(text, out name);
    }

    private static AzureBlobStoreOptions Checked(AzureBlobStoreOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentException.ThrowIfNullOrEmpty(options.Connection ?? options.Endpoint, nameof(options.Connection));
        return new AzureBlobStoreOptionsValidator().Require(options);
    }
}
