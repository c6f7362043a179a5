// A blob store that refuses writes of models' files and damages reads of them, as many as a test says.
using Atelier.Contracts;
using Atelier.Grains.Ports;

namespace Atelier.Silo.Tests.Blobs;

internal sealed class FaultyBlobStore(IBlobStore blobs) : IBlobStore
{
    private const string Models = "models/";
    private int _damages;

    /// <summary>Number of models' files that are stored before others are refused; null for no limit.</summary>
    public int? PutsMax { get; set; }

    /// <summary>Number of reads of models' files that end as those of a damaged blob.</summary>
    public int Damages
    {
        get => _damages;
        set => _damages = value;
    }

    public int Puts { get; private set; }

    public async Task PutAsync(
        BlobName name, BlobOwner owner, Stream content, long length, CancellationToken cancellation)
    {
        if (name.Value.StartsWith(Models, StringComparison.Ordinal) && ++Puts > PutsMax)
        {
            throw new IOException("No space left on device.");
        }

        await blobs.PutAsync(name, owner, content, length, cancellation);
    }

    public async Task<BlobContent?> OpenAsync(BlobName name, BlobRange range, CancellationToken cancellation)
    {
        BlobContent? content = await blobs.OpenAsync(name, range, cancellation);
        return content is not null && name.Value.StartsWith(Models, StringComparison.Ordinal)
            && Interlocked.Decrement(ref _damages) >= 0
            ? content with { Stream = new DamagedStream(content.Stream) } : content;
    }

    public Task ReleaseAsync(BlobName name, BlobOwner owner, CancellationToken cancellation) =>
        blobs.ReleaseAsync(name, owner, cancellation);

    public IAsyncEnumerable<StoredBlob> ListAsync(CancellationToken cancellation) => blobs.ListAsync(cancellation);

    public Task<bool> ReleaseOlderAsync(
        BlobName name, BlobOwner? owner, DateTimeOffset before, CancellationToken cancellation) =>
        blobs.ReleaseOlderAsync(name, owner, before, cancellation);

    // All bytes, and then what a store says about a digest that differs.
    private sealed class DamagedStream(Stream sound) : Stream
    {
        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => sound.Length;

        public override long Position
        {
            get => sound.Position;
            set => throw new NotSupportedException();
        }

        public override int Read(byte[] buffer, int offset, int count) => Checked(sound.Read(buffer, offset, count));

        public override async ValueTask<int> ReadAsync(
            Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            Checked(await sound.ReadAsync(buffer, cancellationToken));

        public override void Flush() => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            sound.Dispose();
            base.Dispose(disposing);
        }

        private static int Checked(int read) =>
            read > 0 ? read : throw new InvalidDataException("The bytes do not have the digest of their name.");
    }
}
