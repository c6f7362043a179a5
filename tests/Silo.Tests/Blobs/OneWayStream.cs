// A stream like a client's body: it cannot seek, returns few bytes at a time, and may break.
namespace Atelier.Silo.Tests.Blobs;

internal sealed class OneWayStream(byte[] bytes, bool canSeek) : MemoryStream(bytes, writable: false)
{
    /// <summary>Where reading fails.</summary>
    public int? BreaksAt { get; init; }

    public bool IsDisposed { get; private set; }

    public override bool CanSeek => canSeek;

    public override long Length => canSeek ? base.Length : throw new NotSupportedException();

    public override long Position
    {
        get => canSeek ? base.Position : throw new NotSupportedException();
        set => base.Position = canSeek ? value : throw new NotSupportedException();
    }

    public override int Read(Span<byte> buffer) => base.Read(buffer[..Next(buffer.Length)]);

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        base.ReadAsync(buffer[..Next(buffer.Length)], cancellationToken);

    protected override void Dispose(bool disposing)
    {
        IsDisposed = true;
        base.Dispose(disposing);
    }

    private int Next(int room) => (BreaksAt - base.Position) switch
    {
        <= 0 => throw new IOException("The connection broke."),
        { } rest => (int)Math.Min(rest, Math.Min(room, 700)),
        null => Math.Min(room, 700),
    };
}
