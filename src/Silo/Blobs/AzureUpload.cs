// The bytes of one put on their way into Azure Blob Storage: in memory if they fit into one block, else staged as
// blocks that one commit turns into the content. The proof is at the top of AzureBlobStore.cs.
using System.Buffers.Binary;
using Atelier.Contracts;
using Azure;
using Azure.Storage.Blobs.Models;
using Azure.Storage.Blobs.Specialized;

namespace Atelier.Silo.Blobs;

/// <summary>An upload that becomes visible in one step.</summary>
/// <param name="blob">The blob that receives the content.</param>
/// <param name="name">The blob's name.</param>
/// <param name="source">The bytes to upload.</param>
/// <param name="length">Number of bytes.</param>
/// <param name="blockBytes">Size of a block, in bytes; blocks are larger if there would be too many otherwise.</param>
internal sealed class AzureUpload(BlockBlobClient blob, BlobName name, Stream source, long length, int blockBytes)
{
    // The service's maximum number of blocks in a blob.
    private const int BlocksMax = 50_000;

    private const int BadRequest = 400;
    private const int NotFound = 404;
    private const int Conflict = 409;
    private const int PreconditionFailed = 412;

    private readonly long _start = source.CanSeek ? source.Position : 0;
    private byte[]? _bytes;
    private string[]? _blocks;

    /// <summary>
    /// Reads the source to its end and checks it. A large source is staged, unless the content already seems to exist.
    /// </summary>
    /// <exception cref="InvalidDataException">
    /// The source's length or digest differs from what was announced.
    /// </exception>
    public async Task PrepareAsync(CancellationToken cancellation)
    {
        if (length > blockBytes && await blob.ExistsAsync(cancellation))
        {
            using var announced = BlobStream.Announced(source, name, length);
            await announced.CopyToAsync(Stream.Null, cancellation);
            return;
        }

        await StageAsync(cancellation);
    }

    /// <summary>Stages the bytes if they are not staged, or if their blocks were dropped.</summary>
    /// <exception cref="IOException">The source cannot be read again.</exception>
    public async Task PrepareAgainAsync(CancellationToken cancellation)
    {
        if (_bytes is not null || _blocks is not null)
        {
            return;
        }

        if (!source.CanSeek)
        {
            throw new IOException($"{name} was deleted while it was being put, and its stream cannot be read again.");
        }

        source.Position = _start;
        await StageAsync(cancellation);
    }

    /// <summary>Turns the bytes into the content, all at once or not at all.</summary>
    /// <returns>False if the conditions do not hold, or if the staged blocks were dropped.</returns>
    public async Task<bool> TryAsync(BlobRequestConditions conditions, CancellationToken cancellation)
    {
        try
        {
            if (_bytes is not null)
            {
                using var content = new MemoryStream(_bytes, writable: false);
                await blob.UploadAsync(content, new BlobUploadOptions { Conditions = conditions }, cancellation);
                return true;
            }

            if (_blocks is null)
            {
                return false;
            }

            await blob.CommitBlockListAsync(
                _blocks, new CommitBlockListOptions { Conditions = conditions }, cancellation);
            return true;
        }
        catch (RequestFailedException error) when (error.Status is NotFound or Conflict or PreconditionFailed)
        {
            return false;
        }
        catch (RequestFailedException error)
            when (error.Status == BadRequest && error.ErrorCode == BlobErrorCode.InvalidBlockList)
        {
            _blocks = null;
            return false;
        }
    }

    private async Task StageAsync(CancellationToken cancellation)
    {
        using var announced = BlobStream.Announced(source, name, length);
        if (length <= blockBytes)
        {
            using var memory = new MemoryStream((int)length);
            await announced.CopyToAsync(memory, cancellation);
            _bytes = memory.ToArray();
            return;
        }

        // Other puts of the same blob may stage blocks too, so each put has its own ids. All ids must have the same
        // length.
        byte[] id = [.. Guid.NewGuid().ToByteArray(), 0, 0, 0, 0];
        var block = new byte[Math.Max(blockBytes, (length + BlocksMax - 1) / BlocksMax)];
        var blocks = new List<string>();
        while (await announced.ReadAtLeastAsync(
            block, block.Length, throwOnEndOfStream: false, cancellation) is > 0 and int bytes)
        {
            BinaryPrimitives.WriteInt32BigEndian(id.AsSpan(^4..), blocks.Count);
            blocks.Add(Convert.ToBase64String(id));
            using var content = new MemoryStream(block, 0, bytes, writable: false);
            await blob.StageBlockAsync(blocks[^1], content, cancellationToken: cancellation);
        }

        _blocks = [.. blocks];
    }
}
