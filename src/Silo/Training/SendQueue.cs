// What waits to be sent to one peer: frames in their order, and beside them one copy of the state, whose chunks go
// between the frames.
using Atelier.Training.Worlds;

namespace Atelier.Silo.Training;

/// <summary>The queue of one connection. Any thread adds; one takes.</summary>
/// <param name="bytesMax">Bytes of frames that may wait; a larger frame may wait alone.</param>
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

    /// <summary>The state that the peer was asked for last; no other one is taken from it.</summary>
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

    /// <summary>Adds a frame. What is added after the connection has ended is lost with it.</summary>
    /// <returns>False if too much waits.</returns>
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

    /// <summary>Sends a state after those parts of it that went before; the peer wants the last one only.</summary>
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

    /// <summary>Sends a heartbeat.</summary>
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

    /// <summary>The next frame; <see cref="Sent"/> is called after it.</summary>
    public FrameEncoding? NextFrame()
    {
        lock (_gate)
        {
            return _frames.TryPeek(out FrameEncoding? frame) ? frame : null;
        }
    }

    /// <summary>The next frame is sent.</summary>
    public void Sent()
    {
        lock (_gate)
        {
            _bytes -= _frames.Dequeue().Bytes;
        }
    }

    /// <summary>Whether a heartbeat is due; it is not due again until it is added again.</summary>
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

    /// <summary>Drops everything. Nobody takes any longer.</summary>
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
