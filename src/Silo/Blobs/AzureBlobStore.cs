// A blob store in Azure Blob Storage. A blob is its content and, beside it, an empty marker for each generation that
// needs it:
//
//     pictures/TENANT/abcd...ef/content
//     pictures/TENANT/abcd...ef/owners/GENERATION
//
// Nobody holds a lock. What must never happen is that a release deletes content that a put has just promised to another
// owner. The orders of their steps, together with the content's ETag, rule that out:
//
//     put:      P1 write the marker; P2 create the content if it is absent, or else touch it, which gives it a new ETag
//     release:  R1 delete the marker; R2 read the content's ETag; R3 list the markers, and stop if there is one;
//               R4 delete the content if its ETag is still the one of R2
//
// Suppose R4 deletes content after some put's P2 is over. The ETag had not changed since R2, and every P2 changes it or
// makes it anew, so this P2 came before R2. Its P1 came before that, so R3, which came after, saw the marker (lists are
// as strongly consistent as reads) and stopped, unless that owner had released it meanwhile, and so did not need it. If
// R4 comes before the end of P2, the touch finds no content, and P2 begins again. Nor is content left behind that
// nobody needs: of releases at the same time the one whose R3 is last sees no marker; and if its R4 fails, a put came
// between, whose own release is yet to come or was after that R1. A process that dies between R1 and R4 leaves content
// without an owner, which the same release, sent again, deletes: a marker that is gone already is no reason to stop.
// All this holds as long as a request that the client gave up and sent again does not reach the service after the
// owner's next one.
using System.Security.Cryptography;
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Azure;
using Azure.Core;
using Azure.Storage.Blobs;
using Azure.Storage.Blobs.Models;

namespace Atelier.Silo.Blobs;

/// <summary>What can be set about a store in Azure Blob Storage.</summary>
public sealed class AzureBlobStoreOptions
{
    /// <summary>Gets or sets the connection string of the account.</summary>
    public required string Connection { get; set; }

    /// <summary>Gets or sets the container; it is made if it is not there.</summary>
    public required string Container { get; set; }

    /// <summary>Gets or sets the size of the largest blob, in bytes.</summary>
    /// <value>The default is 64 MiB.</value>
    public int BlobBytesMax { get; set; } = 64 << 20;

    /// <summary>Gets or sets how often a call is tried again where the service fails for the moment.</summary>
    /// <value>The default is 5.</value>
    public int RetriesMax { get; set; } = 5;

    /// <summary>Gets or sets how long one try of a call may take.</summary>
    /// <remarks>It must be long enough for the largest blob.</remarks>
    /// <value>The default is 30 seconds.</value>
    public TimeSpan TryTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>What is wrong with these options, as a sentence; none if nothing is.</summary>
    public string? Fault() => this switch
    {
        _ when string.IsNullOrWhiteSpace(Connection) => $"{nameof(Connection)} must be a connection string.",
        _ when !IsContainerName(Container) =>
            $"{nameof(Container)} must have 3 to 63 lower-case letters, digits and single '-' between them, not be "
            + $"'{Container}'.",
        { BlobBytesMax: < 1 } => $"{nameof(BlobBytesMax)} must be positive.",
        { RetriesMax: < 0 or > 100 } => $"{nameof(RetriesMax)} must lie in 0..100, not be {RetriesMax}.",
        _ when TryTimeout <= TimeSpan.Zero => $"{nameof(TryTimeout)} must be positive.",
        _ => null,
    };

    private static bool IsContainerName(string? name) =>
        name is { Length: >= 3 and <= 63 }
            && name.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-')
        && name[0] != '-' && name[^1] != '-' && !name.Contains("--", StringComparison.Ordinal);
}

/// <summary>A blob store in Azure Blob Storage, which any number of processes may share.</summary>
public sealed class AzureBlobStore : IBlobStore
{
    // Attempts against others who release the same blob at the same time.
    private const int TriesMax = 100;

    private const int NotFound = 404;
    private const int Conflict = 409;
    private const int PreconditionFailed = 412;

    private readonly BlobContainerClient _container;
    private readonly int _bytesMax;

    /// <summary>Opens the store, and makes its container if that is not there.</summary>
    /// <exception cref="ArgumentException">The options make no sense; the message says why.</exception>
    /// <exception cref="RequestFailedException">The service refuses, or does not answer.</exception>
    public AzureBlobStore(AzureBlobStoreOptions options)
        : this(Checked(options), new BlobClientOptions())
    {
    }

    /// <summary>The same with a client that is set up further.</summary>
    internal AzureBlobStore(AzureBlobStoreOptions options, BlobClientOptions client)
    {
        client.Retry.Mode = RetryMode.Exponential;
        client.Retry.MaxRetries = options.RetriesMax;
        client.Retry.Delay = TimeSpan.FromSeconds(0.2);
        client.Retry.MaxDelay = TimeSpan.FromSeconds(3);
        client.Retry.NetworkTimeout = options.TryTimeout;
        _bytesMax = options.BlobBytesMax;
        _container = new BlobContainerClient(options.Connection, options.Container, client);
        _container.CreateIfNotExists(PublicAccessType.None);
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">The bytes are too many, or are not the name's.</exception>
    /// <exception cref="IOException">The service refuses, or does not answer.</exception>
    public async Task PutAsync(BlobName name, GenerationId owner, byte[] bytes, CancellationToken cancellation)
    {
        (BlobClient content, BlobClient marker) = (ContentOf(name), MarkerOf(name, owner));
        if (bytes.Length > _bytesMax)
        {
            throw new ArgumentException(
                $"{name} has {bytes.Length} bytes; the store takes at most {_bytesMax}.", nameof(bytes));
        }

        if (!IsOf(name, bytes))
        {
            throw new ArgumentException($"The bytes are not those of {name}.", nameof(bytes));
        }

        await AskAsync(name, async () =>
        {
            await marker.UploadAsync(BinaryData.Empty, overwrite: true, cancellation);
            for (int attempt = 1; !await TryPlaceAsync(name, content, bytes, cancellation); attempt++)
            {
                if (attempt == TriesMax)
                {
                    throw new IOException($"{name} was deleted {TriesMax} times while it was put.");
                }
            }

            return true;
        });
    }

    /// <inheritdoc/>
    /// <remarks>Damaged bytes count as gone.</remarks>
    /// <exception cref="IOException">The service refuses, or does not answer.</exception>
    public async Task<byte[]?> GetAsync(BlobName name, CancellationToken cancellation)
    {
        (byte[]? bytes, _) = await AskAsync(name, () => ReadAsync(ContentOf(name), cancellation));
        return bytes is not null && IsOf(name, bytes) ? bytes : null;
    }

    /// <inheritdoc/>
    /// <exception cref="IOException">The service refuses, or does not answer.</exception>
    public async Task ReleaseAsync(BlobName name, GenerationId owner, CancellationToken cancellation)
    {
        (BlobClient content, BlobClient marker) = (ContentOf(name), MarkerOf(name, owner));
        await AskAsync(name, async () =>
        {
            await marker.DeleteIfExistsAsync(DeleteSnapshotsOption.IncludeSnapshots, cancellationToken: cancellation);
            try
            {
                ETag seen = (await content.GetPropertiesAsync(cancellationToken: cancellation)).Value.ETag;
                if (!await HasOwnerAsync(name, cancellation))
                {
                    await content.DeleteAsync(
                        DeleteSnapshotsOption.IncludeSnapshots, new BlobRequestConditions { IfMatch = seen },
                        cancellation);
                }
            }
            catch (RequestFailedException error) when (error.Status is NotFound or PreconditionFailed)
            {
                // Deleted by another, or wanted by another.
            }

            return true;
        });
    }

    // What the service refuses or does not answer, in the words of all stores. The client's own retries are over by
    // then; of several it gives all failures.
    private static async Task<T> AskAsync<T>(BlobName name, Func<Task<T>> call)
    {
        try
        {
            return await call();
        }
        catch (Exception error) when (error is RequestFailedException or AggregateException)
        {
            throw new IOException($"Azure Blob Storage has no good answer for {name}: {error.Message}", error);
        }
    }

    // False if the content was deleted meanwhile.
    private async Task<bool> TryPlaceAsync(
        BlobName name, BlobClient content, byte[] bytes, CancellationToken cancellation)
    {
        if (await TryUploadAsync(content, bytes, new BlobRequestConditions { IfNoneMatch = ETag.All }, cancellation))
        {
            return true;
        }

        (byte[]? there, ETag seen) = await ReadAsync(content, cancellation);
        if (there is null && seen == default)
        {
            return false;
        }

        if (there is null || !IsOf(name, there))
        {
            return await TryUploadAsync(content, bytes, new BlobRequestConditions { IfMatch = seen }, cancellation);
        }

        try
        {
            await content.SetMetadataAsync(new Dictionary<string, string>(), cancellationToken: cancellation);
            return true;
        }
        catch (RequestFailedException error) when (error.Status == NotFound)
        {
            return false;
        }
    }

    private static async Task<bool> TryUploadAsync(
        BlobClient content, byte[] bytes, BlobRequestConditions conditions, CancellationToken cancellation)
    {
        try
        {
            await content.UploadAsync(
                BinaryData.FromBytes(bytes), new BlobUploadOptions { Conditions = conditions }, cancellation);
            return true;
        }
        catch (RequestFailedException error) when (error.Status is NotFound or Conflict or PreconditionFailed)
        {
            return false;
        }
    }

    // No bytes and no ETag if there is nothing; an ETag alone if there is more than any blob has.
    private async Task<(byte[]? Bytes, ETag ETag)> ReadAsync(BlobClient content, CancellationToken cancellation)
    {
        try
        {
            using BlobDownloadStreamingResult answer = await content.DownloadStreamingAsync(
                cancellationToken: cancellation);
            if (answer.Details.ContentLength > _bytesMax)
            {
                return (null, answer.Details.ETag);
            }

            var bytes = new byte[answer.Details.ContentLength];
            await answer.Content.ReadExactlyAsync(bytes, cancellation);
            return (bytes, answer.Details.ETag);
        }
        catch (RequestFailedException error) when (error.Status is NotFound or PreconditionFailed)
        {
            return (null, default); // Never there, or replaced or deleted while it was read.
        }
    }

    private async Task<bool> HasOwnerAsync(BlobName name, CancellationToken cancellation)
    {
        await foreach (BlobItem _ in _container.GetBlobsAsync(
            BlobTraits.None, BlobStates.None, $"{PathOf(name)}/owners/", cancellation))
        {
            return true;
        }

        return false;
    }

    private BlobClient ContentOf(BlobName name) => _container.GetBlobClient($"{PathOf(name)}/content");

    private BlobClient MarkerOf(BlobName name, GenerationId owner) => Names.AreValid(owner.Value)
        ? _container.GetBlobClient($"{PathOf(name)}/owners/{owner.Value}")
        : throw new ArgumentException($"'{owner.Value}' names no generation.", nameof(owner));

    // Names are checked where they become paths, whoever made them.
    private static string PathOf(BlobName name) => BlobName.TryParse(name.Value, out _)
        ? name.Value
        : throw new ArgumentException($"'{name.Value}' names no blob.", nameof(name));

    private static bool IsOf(BlobName name, byte[] bytes) =>
        Convert.ToHexStringLower(SHA256.HashData(bytes)) == name.Sha256;

    private static AzureBlobStoreOptions Checked(AzureBlobStoreOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return options.Fault() is { } fault ? throw new ArgumentException(fault, nameof(options)) : options;
    }
}
