// A blob's bytes on their way into a store or out of it. The bytes of a whole blob are counted and hashed while they
// are read: the last ones are returned only if all of them match the blob's name.
using System.Security.Cryptography;
using Atelier.Contracts;
using Azure;

namespace Atelier.Silo.Blobs;

/// <summary>A stream that reads another stream up to a known length.</summary>
internal sealed class BlobStream : Stream
{
    private readonly Stream _inner;
    private readonly BlobName _name;
    private readonly IncrementalHash? _hash;
    private readonly bool _leaveOpen;
    private long _position;
    private bool _isChecked;

    private BlobStream(Stream inner, BlobName name, long length, bool isWhole, bool leaveOpen)
    {
        (_inner, _name, Length, _leaveOpen) = (inner, name, length, leaveOpen);
        _hash = isWhole ? IncrementalHash.CreateHash(HashAlgorithmName.SHA256) : null;
    }

    /// <inheritdoc/>
    public override bool CanRead => true;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => false;

    /// <inheritdoc/>
    public override long Length { get; }

    /// <inheritdoc/>
    public override long Position
    {
        get => _position;
        set => throw new NotSupportedException();
    }

    /// <summary>
    /// A caller's stream, which the caller disposes. A length or digest other than announced is an error.
    /// </summary>
    public static BlobStream Announced(Stream content, BlobName name, long length) =>
        new(content, name, length, isWhole: true, leaveOpen: true);

    /// <summary>A whole blob from a store.</summary>
    public static BlobStream Whole(Stream stored, BlobName name, long length) =>
        new(stored, name, length, isWhole: true, leaveOpen: false);

    /// <summary>A part of a blob, from the stream's position; only its length is checked.</summary>
    public static BlobStream Part(Stream stored, BlobName name, long length) =>
        new(stored, name, length, isWhole: false, leaveOpen: false);

    /// <inheritdoc/>
    /// <exception cref="InvalidDataException">The bytes do not match the blob's name.</exception>
    /// <exception cref="IOException">The store does not answer.</exception>
    public override async ValueTask<int> ReadAsync(
        Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        Memory<byte> room = buffer[..RoomIn(buffer.Length)];
        if (room.IsEmpty)
        {
            return 0;
        }

        try
        {
            int bytes = await _inner.ReadAsync(room, cancellationToken);
            return Taken(room.Span[..bytes]);
        }
        catch (Exception error) when (error is RequestFailedException or AggregateException)
        {
            throw NoAnswer(error);
        }
    }

    /// <inheritdoc/>
    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc/>
    public override int Read(Span<byte> buffer)
    {
        Span<byte> room = buffer[..RoomIn(buffer.Length)];
        if (room.IsEmpty)
        {
            return 0;
        }

        try
        {
            return Taken(room[.._inner.Read(room)]);
        }
        catch (Exception error) when (error is RequestFailedException or AggregateException)
        {
            throw NoAnswer(error);
        }
    }

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _hash?.Dispose();
            if (!_leaveOpen)
            {
                _inner.Dispose();
            }
        }

        base.Dispose(disposing);
    }

    // A whole blob is read one byte beyond its length, because a longer one does not match its name.
    private int RoomIn(int bytes) => (int)Math.Min(bytes, Length - _position + (_hash is null ? 0 : 1));

    private int Taken(ReadOnlySpan<byte> bytes)
    {
        if (bytes.IsEmpty && _position < Length)
        {
            throw new InvalidDataException($"{_name} ends after {_position} of {Length} bytes.");
        }

        _position += bytes.Length;
        if (_hash is null)
        {
            return bytes.Length;
        }

        if (_position > Length)
        {
            throw new InvalidDataException($"{_name} has more than {Length} bytes.");
        }

        _hash.AppendData(bytes);
        if (_position == Length && !_isChecked)
        {
            string digest = Convert.ToHexStringLower(_hash.GetHashAndReset());
            _isChecked = digest == _name.Sha256
                ? true
                : throw new InvalidDataException($"The bytes of {_name} have the digest {digest}.");
        }

        return bytes.Length;
    }

    private IOException NoAnswer(Exception error) =>
        new($"Azure Blob Storage failed while {_name} was being read: {error.Message}", error);
}
