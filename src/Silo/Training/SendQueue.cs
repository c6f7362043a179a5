// The data that waits to be sent to one peer: frames in order, and one copy of the state, whose chunks are sent between
// the frames.
using Atelier.Training.Worlds;

namespace Atelier.Silo.Training;

/// <summary>The send queue of one connection. Any thread may add; a single thread takes.</summary>
/// <param name="bytesMax">
/// Maximum number of bytes of waiting frames. A larger frame may wait if no other frame does.
/// </param>
internal sealed class SendQueue(long bytesMax) : IDisposable
{
    private readonly Lock _gate = new();
    private readonly SemaphoreSlim _added = new(0);
    private readonly Queue<FrameEncoding> _frames = [];
    private StateSender? _sending;
    private StateSender? _next;
    private (int World, long Step)? _asked;
    private long _bytes;
    private bool _isHeartbeatDue;
    private bool _isClosed;

    /// <summary>
    /// World and step of the state that was last requested from the peer; the peer's other states are ignored.
    /// </summary>
    public (int World, long Step)? Asked
    {
        get
        {
            lock (_gate)
            {
                return _asked;
            }
        }
    }

    /// <summary>Adds a frame. After the connection has ended, added frames are lost.</summary>
    /// <returns>False if too many bytes wait already.</returns>
    public bool TryAdd(Frame frame, FrameEncoding encoding)
    {
        lock (_gate)
        {
            if (_isClosed)
            {
                return true;
            }

            if (_bytes > 0 && _bytes + encoding.Bytes > bytesMax)
            {
                return false;
            }

            if (frame is CopyFrame copy)
            {
                _asked = (copy.World, copy.Step);
            }

            _bytes += encoding.Bytes;
            _frames.Enqueue(encoding);
            _added.Release();
            return true;
        }
    }

    /// <summary>
    /// Sends a copy of the state. It replaces a copy that is still being sent, because the peer needs only the last
    /// one.
    /// </summary>
    public void Add(StateSender state)
    {
        StateSender? dropped;
        lock (_gate)
        {
            (dropped, _next) = _isClosed ? (state, null) : (_next, state);
            _added.Release();
        }

        dropped?.Dispose();
    }

    /// <summary>Adds a heartbeat, if none waits already.</summary>
    public void AddHeartbeat()
    {
        lock (_gate)
        {
            if (!_isHeartbeatDue && !_isClosed)
            {
                _isHeartbeatDue = true;
                _added.Release();
            }
        }
    }

    /// <summary>Waits until there may be something to send.</summary>
    public Task WaitAsync(CancellationToken cancellation) => _added.WaitAsync(cancellation);

    /// <summary>
    /// The next frame to send; null if there is none. The caller calls <see cref="Sent"/> once it is sent.
    /// </summary>
    public FrameEncoding? NextFrame()
    {
        lock (_gate)
        {
            return _frames.TryPeek(out FrameEncoding? frame) ? frame : null;
        }
    }

    /// <summary>Removes the next frame, which was sent.</summary>
    public void Sent()
    {
        lock (_gate)
        {
            _bytes -= _frames.Dequeue().Bytes;
        }
    }

    /// <summary>Returns whether a heartbeat is due, and clears the flag.</summary>
    public bool TakeHeartbeat()
    {
        lock (_gate)
        {
            (bool isDue, _isHeartbeatDue) = (_isHeartbeatDue, false);
            return isDue;
        }
    }

    /// <summary>The next chunk of the state; empty if there is none.</summary>
    public ReadOnlyMemory<byte> NextChunk()
    {
        StateSender? next;
        lock (_gate)
        {
            (next, _next) = (_next, null);
        }

        if (next is not null)
        {
            _sending?.Dispose();
            _sending = next;
        }

        if (_sending?.TryNext(out ReadOnlyMemory<byte> chunk) == true)
        {
            return chunk;
        }

        _sending?.Dispose();
        _sending = null;
        return default;
    }

    /// <summary>Drops everything that waits. The connection has ended, and nothing is taken anymore.</summary>
    public void Dispose()
    {
        StateSender? next;
        lock (_gate)
        {
            _isClosed = true;
            _frames.Clear();
            (next, _next) = (_next, null);
        }

        next?.Dispose();
        _sending?.Dispose();
        _sending = null;
    }
}
