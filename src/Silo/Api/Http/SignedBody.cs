// The body of a call with a ticket. A ticket is signed for one body: reading to the end yields exactly that body, or
// throws.
using System.Buffers.Text;
using System.Security.Cryptography;

namespace Atelier.Silo.Api.Http;

/// <summary>A request's body that must have the digest in the call's ticket.</summary>
/// <param name="wire">The body as it arrives.</param>
/// <param name="digest">Its SHA-256 in base64url.</param>
internal sealed class SignedBody(Stream wire, string digest) : Stream
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <inheritdoc/>
    /// <exception cref="ApiException">The body has ended and is not the one that was signed.</exception>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int read = await wire.ReadAsync(buffer, cancellationToken);
        _hash.AppendData(buffer.Span[..read]);
        return read > 0 || buffer.IsEmpty || Base64Url.EncodeToString(_hash.GetCurrentHash()) == digest
            ? read
            : throw new ApiException(ApiError.NoTicket);
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        _hash.Dispose();
        base.Dispose(disposing);
    }
}
