// A connection between two trainers after their handshake. One task reads frames, and another task writes them.
using System.Net.Sockets;
using Atelier.Grains.Ports;
using Atelier.Training.Worlds;

namespace Atelier.Silo.Training;

/// <summary>Objects and settings that all connections of a trainer share.</summary>
/// <param name="Codec">Encodes and decodes frames.</param>
/// <param name="Credits">Limits the bytes that are received but not processed yet.</param>
/// <param name="Events">Receives frames and disconnections.</param>
/// <param name="SilenceTicks">Number of ticks of silence after which a connection is broken.</param>
/// <param name="HeartbeatTicks">Number of ticks without a write after which a heartbeat is sent.</param>
internal sealed record PeerContext(
    FrameCodec Codec, ReceiveCredits Credits, ITrainerPeerEvents Events, int SilenceTicks, int HeartbeatTicks);

/// <summary>A connection to a peer.</summary>
internal sealed class PeerConnection : IDisposable
{
    // Bytes per write. A write must end within PeerOptions.Silence, so the slowest peer must accept 64 KiB per second.
    private const int WriteBytes = 128 << 10;

    // Minimum credit for a frame, because a small frame takes more memory than its bytes on the wire.
    private const long FrameBytesMin = 256;

    private readonly PeerContext _context;
    private readonly Socket _socket;
    private readonly Stream _stream;
    private readonly Action<PeerConnection> _ended;
    private readonly CancellationTokenSource _end = new();
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private string? _reason;
    private int _unheard;
    private int _unwritten;
    private volatile bool _isWriting;
    private volatile bool _isWaitingForCredit;

    /// <summary>Creates a connection after the handshake.</summary>
    /// <param name="peer">The peer.</param>
    /// <param name="isDialed">Whether this trainer dialed.</param>
    /// <param name="socket">The socket.</param>
    /// <param name="stream">The stream to read from and write to: the socket's own, or TLS over it.</param>
    /// <param name="queue">The frames to send; the connection disposes the queue.</param>
    /// <param name="context">Objects and settings that all connections share.</param>
    /// <param name="ended">Called once, after the last frame was passed to the events.</param>
    public PeerConnection(
        TrainerId peer, bool isDialed, Socket socket, Stream stream, SendQueue queue, PeerContext context,
        Action<PeerConnection> ended)
    {
        (Peer, IsDialed, Queue, Completion) = (peer, isDialed, queue, _completion.Task);
        (_socket, _stream, _context, _ended) = (socket, stream, context, ended);
    }

    /// <summary>The peer.</summary>
    public TrainerId Peer { get; }

    /// <summary>Whether this trainer dialed.</summary>
    public bool IsDialed { get; }

    /// <summary>The frames to send.</summary>
    public SendQueue Queue { get; }

    /// <summary>Completes when the connection has ended, after its last event.</summary>
    public Task Completion { get; }

    /// <summary>Why the connection ended; null while it works.</summary>
    public string? Reason => Volatile.Read(ref _reason);

    /// <summary>Starts reading and writing.</summary>
    public void Start() => _ = RunAsync();

    /// <summary>Ends the connection soon. If this is called again, the first reason is kept.</summary>
    public void Break(string reason)
    {
        if (Interlocked.CompareExchange(ref _reason, reason, null) is null)
        {
            // In a task of its own, because the code that waits for the end would otherwise run under the caller's
            // locks.
            _ = Task.Run(async () =>
            {
                await _end.CancelAsync();
                _socket.Dispose();
            });
        }
    }

    /// <summary>Ends the connection soon, because this trainer is shutting down.</summary>
    public void Dispose() => Break("this trainer is shutting down");

    /// <summary>
    /// Called at every tick of the watchdog timer: breaks the connection if the peer is silent, and sends a heartbeat
    /// if one is due.
    /// </summary>
    public void Tick()
    {
        // While this trainer waits for credits, it does not read, so silence does not count.
        if (!_isWaitingForCredit && Interlocked.Increment(ref _unheard) > _context.SilenceTicks)
        {
            Break("the peer is silent");
        }

        int unwritten = Interlocked.Increment(ref _unwritten);
        if (_isWriting && unwritten > _context.SilenceTicks)
        {
            Break("the peer does not accept what is sent to it");
        }

        if (!_isWriting && unwritten >= _context.HeartbeatTicks)
        {
            Queue.AddHeartbeat();
        }
    }

    private async Task RunAsync()
    {
        await Task.WhenAll(GuardAsync(ReadAsync), GuardAsync(WriteAsync));
        await _stream.DisposeAsync();
        Queue.Dispose();
        try
        {
            _ended(this);
        }
        finally
        {
            _completion.SetResult();
        }
    }

    // Runs the reader or the writer. When either of them ends, the other is ended, too.
    private async Task GuardAsync(Func<CancellationToken, Task> run)
    {
        try
        {
            await Task.Run(() => run(_end.Token), CancellationToken.None);
        }
        catch (EndOfStreamException)
        {
            Break("the peer has closed the connection");
        }
        catch (Exception error)
        {
            Break(error.Message);
        }
    }

    private async Task ReadAsync(CancellationToken cancellation)
    {
        var decoder = new FrameDecoder(_context.Codec);
        using var assembly = new StateAssembly();
        byte[] header = new byte[FrameCodec.HeaderBytes];
        while (true)
        {
            for (int filled = 0; filled < header.Length;)
            {
                filled += await ReadSomeAsync(header.AsMemory(filled), cancellation);
            }

            FrameBody body = decoder.Begin(header);

            // Chunks need no credit: they are read into one buffer of the connection, and copied from there into the
            // requested state.
            IDisposable? credit = body.IsChunk ? null
                : await CreditAsync(FrameCodec.HeaderBytes + body.Bytes, cancellation);
            try
            {
                while (!body.IsWhole)
                {
                    body.Advance(await ReadSomeAsync(body.Window(), cancellation));
                }

                Frame? frame = body.ToFrame();
                if (frame is StateChunkFrame chunk)
                {
                    frame = Queue.Asked == (chunk.World, chunk.Step) ? assembly.Add(chunk) : null;
                    credit = frame is null ? null : await CreditAsync(0, cancellation);
                }

                if (frame is not (null or HeartbeatFrame))
                {
                    _context.Events.Received(Peer, frame, credit!);
                    credit = null;
                }
            }
            finally
            {
                credit?.Dispose();
            }
        }
    }

    private async ValueTask<int> ReadSomeAsync(Memory<byte> to, CancellationToken cancellation)
    {
        int read = await _stream.ReadAsync(to, cancellation);
        Volatile.Write(ref _unheard, 0);
        return read > 0 ? read : throw new EndOfStreamException();
    }

    private async ValueTask<IDisposable> CreditAsync(long bytes, CancellationToken cancellation)
    {
        _isWaitingForCredit = true;
        try
        {
            return await _context.Credits.TakeAsync(Math.Max(bytes, FrameBytesMin), cancellation);
        }
        finally
        {
            Volatile.Write(ref _unheard, 0);
            _isWaitingForCredit = false;
        }
    }

    private async Task WriteAsync(CancellationToken cancellation)
    {
        while (true)
        {
            await Queue.WaitAsync(cancellation);

            // Frames and chunks alternate, so that neither delays the other.
            for (bool isMore = true; isMore;)
            {
                isMore = false;
                if (Queue.NextFrame() is { } frame)
                {
                    while (frame.TryNext(out ReadOnlyMemory<byte> piece))
                    {
                        await WriteAsync(piece, cancellation);
                    }

                    Queue.Sent();
                    isMore = true;
                }

                ReadOnlyMemory<byte> chunk = Queue.NextChunk();
                if (!chunk.IsEmpty)
                {
                    await WriteAsync(chunk, cancellation);
                    isMore = true;
                }
            }

            if (Queue.TakeHeartbeat())
            {
                FrameEncoding heartbeat = _context.Codec.Encode(new HeartbeatFrame());
                while (heartbeat.TryNext(out ReadOnlyMemory<byte> piece))
                {
                    await WriteAsync(piece, cancellation);
                }
            }
        }
    }

    private async ValueTask WriteAsync(ReadOnlyMemory<byte> piece, CancellationToken cancellation)
    {
        while (!piece.IsEmpty)
        {
            int bytes = Math.Min(WriteBytes, piece.Length);
            Volatile.Write(ref _unwritten, 0);
            _isWriting = true;
            await _stream.WriteAsync(piece[..bytes], cancellation);
            _isWriting = false;
            Volatile.Write(ref _unwritten, 0);
            piece = piece[bytes..];
        }
    }
}
