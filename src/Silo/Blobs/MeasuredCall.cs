// A call to the blob store, whose measured time is the sum of its parts, and the stream that a measured call returns.
namespace Atelier.Silo.Blobs;

/// <summary>Adds up the time of a call's parts, and records it when the call is disposed.</summary>
internal sealed class MeasuredCall(string operation, StoreInstruments instruments, TimeProvider clock) : IDisposable
{
    private TimeSpan _time;
    private Exception? _error;
    private bool _isRecorded;

    /// <summary>Runs a part of the call and adds its time.</summary>
    public async Task DoAsync(Func<Task> part)
    {
        long start = clock.GetTimestamp();
        try
        {
            await part();
        }
        catch (Exception error)
        {
            _error = error;
            throw;
        }
        finally
        {
            _time += clock.GetElapsedTime(start);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_isRecorded)
        {
            _isRecorded = true;
            instruments.Record(operation, _time, _error);
        }
    }
}

/// <summary>A stream whose reads are parts of a call.</summary>
internal sealed class MeasuredStream(Stream inner, MeasuredCall call) : Stream
{
    /// <inheritdoc/>
    public override bool CanRead => true;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => false;

    /// <inheritdoc/>
    public override long Length => inner.Length;

    /// <inheritdoc/>
    public override long Position
    {
        get => inner.Position;
        set => throw new NotSupportedException();
    }

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(
        Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int bytes = 0;
        await call.DoAsync(async () => bytes = await inner.ReadAsync(buffer, cancellationToken));
        return bytes;
    }

    /// <inheritdoc/>
    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => inner.Read(buffer, offset, count);

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
            inner.Dispose();
            call.Dispose();
        }

        base.Dispose(disposing);
    }
}
