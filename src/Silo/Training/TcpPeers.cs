// The connections between the trainers of a stage, over TCP with the transport security of the silos' ports.
using System.Net;
using System.Text;
using Atelier.Grains.Ports;
using Atelier.Training.Worlds;

namespace Atelier.Silo.Training;

/// <summary>A trainer's listener and its connections, one to each peer. Thread-safe.</summary>
/// <remarks>
/// A frame is lost only if its connection ends, which <see cref="ITrainerPeerEvents.Disconnected"/> reports. Frames for
/// a member of the world wait while there is no connection to it.
/// </remarks>
public sealed partial class TcpPeers : ITrainerPeers
{
    private readonly TrainerId _self;
    private readonly string _stage;
    private readonly PeerOptions _options;
    private readonly long _sendQueueBytes;
    private readonly TimeProvider _clock;
    private readonly ITrainerPeerEvents _events;
    private readonly PeerContext _context;
    private readonly PeerSecurity _security;
    private readonly PeerListener _listener;
    private readonly PeerLog _log;
    private readonly Lock _gate = new();
    private readonly PeerTable _table;
    private readonly HashSet<Task> _tasks = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly TimeSpan _tick;
    private long _attempts;

    /// <summary>Creates a trainer's listener, which does not listen yet and has no connections.</summary>
    /// <param name="self">This trainer.</param>
    /// <param name="stage">The stage's key; peers of other stages are refused.</param>
    /// <param name="options">Timeouts and limits.</param>
    /// <param name="limits">Limits of the run's frames.</param>
    /// <param name="security">Secures the connections.</param>
    /// <param name="listen">Address and port on which to listen; port 0 chooses a free port.</param>
    /// <param name="clock">Measures timeouts.</param>
    /// <param name="events">Receives frames and disconnections.</param>
    /// <param name="logger">The log.</param>
    /// <exception cref="ArgumentException">
    /// There is no secret and the address is not a loopback address, a name is too long, or an option is impossible.
    /// </exception>
    public TcpPeers(
        TrainerId self, string stage, PeerOptions options, FrameLimits limits, PeerSecurity security, IPEndPoint listen,
        TimeProvider clock, ITrainerPeerEvents events, ILogger<TcpPeers> logger)
    {
        (_self, _stage, _options) = (self, stage, options);
        (_clock, _events) = (clock, events);
        _security = security;
        if (!_security.Allows(listen.Address))
        {
            throw new ArgumentException(
                $"Without Cluster:Secret, trainers may listen on a loopback address only, not at {listen}: anybody who "
                + "reaches the port could change the weights. Set the secret, or listen at 127.0.0.1.",
                nameof(listen));
        }

        CheckLength(self.Name, PeerHello.NameBytesMax, nameof(self));
        CheckLength(stage, PeerHello.StageBytesMax, nameof(stage));
        _tick = options.Heartbeat / 2;
        _context = new PeerContext(
            new FrameCodec(limits), new ReceiveCredits(Math.Max(options.ReceiveBytes, TwoVectors(limits))), events,
            SilenceTicks: (int)Math.Ceiling(options.Silence / _tick), HeartbeatTicks: 2);
        _sendQueueBytes = Math.Max(options.SendQueueBytes, TwoVectors(limits));
        _table = new PeerTable(self, options.Connections);
        _log = new PeerLog(clock, logger);
        _listener = new PeerListener(listen, options, _security, clock, _log, WelcomeAsync);
    }

    /// <summary>Address on which the trainer listens, as "ip:port".</summary>
    /// <exception cref="InvalidOperationException">The trainer is not listening.</exception>
    public string Address => _listener.Address;

    /// <summary>
    /// Members that have had no connection for longer than <see cref="PeerOptions.UnreachableAfter"/>, in order of
    /// their ids.
    /// </summary>
    public IReadOnlyList<TrainerId> Unreachable
    {
        get
        {
            lock (_gate)
            {
                return
                [
                    .. _table.All.Where(peer => peer is { Address: not null, Connection: null }
                        && _clock.GetElapsedTime(peer.DownSince) > _options.UnreachableAfter)
                        .Select(peer => peer.Id).Order(TrainerId.Order),
                ];
            }
        }
    }

    /// <summary>Starts listening.</summary>
    /// <exception cref="IOException">The address is in use, or does not belong to this machine.</exception>
    public Task StartAsync()
    {
        _listener.Listen();
        Track(() => _listener.RunAsync(_stop.Token));
        Track(WatchAsync);
        return Task.CompletedTask;
    }

    /// <summary>Sets the members of the world, which are the trainer's peers from now on.</summary>
    /// <param name="addresses">
    /// Addresses of the members, as "ip:port". If this trainer is a member, the trainer with the lower id of each pair
    /// dials; otherwise this trainer dials all members. Connections to other trainers end, unless the other trainer
    /// dialed.
    /// </param>
    public void Connect(IReadOnlyDictionary<TrainerId, string> addresses)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_stop.IsCancellationRequested, this);
            _table.IsMember = addresses.ContainsKey(_self);
            foreach (Peer peer in _table.All.Where(peer => !addresses.ContainsKey(peer.Id)).ToArray())
            {
                Unname(peer);
            }

            foreach ((TrainerId id, string address) in addresses.Where(named => named.Key != _self))
            {
                Peer peer = _table.Get(id);
                peer.DownSince = peer.Address is null ? _clock.GetTimestamp() : peer.DownSince;
                peer.Address = address;
                if (!_table.Dials(id))
                {
                    StopDialing(peer);
                }
                else if (peer.Dialing is null)
                {
                    var dialing = new CancellationTokenSource();
                    peer.Dialing = dialing;
                    Track(() => DialAsync(peer, dialing.Token));
                }
            }
        }
    }

    /// <summary>
    /// Sends a frame to a peer. The call never blocks: if too many bytes wait for the peer, it is disconnected. The
    /// frame's numbers are not copied, so they must not change after the call. A state is disposed once it is sent or
    /// lost.
    /// </summary>
    /// <remarks>A frame for a peer that is neither a member nor connected is dropped.</remarks>
    /// <exception cref="ArgumentException">The frame exceeds the run's limits.</exception>
    public void Send(TrainerId to, Frame frame)
    {
        StateSender? state =
            frame is StateFrame { State: not null } copy ? new StateSender(_context.Codec, copy) : null;
        FrameEncoding? encoding = state is null ? _context.Codec.Encode(frame) : null;
        lock (_gate)
        {
            Peer? peer = _table.Find(to);
            SendQueue? queue = peer?.Connection is { } connection ? connection.Queue
                : peer?.Address is not null ? peer.Waiting ??= new SendQueue(_sendQueueBytes) : null;
            if (queue is null)
            {
                state?.Dispose();
            }
            else if (state is not null)
            {
                queue.Add(state);
            }
            else if (!queue.TryAdd(frame, encoding!))
            {
                Overflow(peer!);
            }
        }
    }

    /// <summary>Ends all connections and stops listening.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _listener.Dispose();
        lock (_gate)
        {
            foreach (Peer peer in _table.All.ToArray())
            {
                Unname(peer);
                peer.Connection?.Dispose();
            }
        }

        while (Running() is { Length: > 0 } tasks)
        {
            await Task.WhenAll(tasks);
        }
    }

    // A peer sends at most one vector while this trainer is busy with the one before.
    private static long TwoVectors(FrameLimits limits) => 2L * sizeof(float) * limits.Parameters;

    private static void CheckLength(string text, int bytesMax, string name)
    {
        if (text.Length == 0 || Encoding.UTF8.GetByteCount(text) > bytesMax)
        {
            throw new ArgumentException($"\"{text}\" must have 1 to {bytesMax} bytes in UTF-8.", name);
        }
    }

    private Task[] Running()
    {
        lock (_gate)
        {
            return
            [
                .. _tasks.Concat(_table.All.Select(peer => peer.Connection?.Completion ?? peer.LastEnd))
                    .Where(task => !task.IsCompleted),
            ];
        }
    }

    // Runs a task; DisposeAsync waits for it.
    private void Track(Func<Task> run)
    {
        lock (_gate)
        {
            _tasks.RemoveWhere(task => task.IsCompleted);
            _tasks.Add(Task.Run(run, CancellationToken.None));
        }
    }

    private void Unname(Peer peer)
    {
        peer.Address = null;
        peer.Waiting?.Dispose();
        peer.Waiting = null;
        StopDialing(peer);
        if (peer.Connection is { IsDialed: true } connection)
        {
            connection.Break("the peer is no longer a member");
        }

        _table.Tidy(peer);
    }

    private static void StopDialing(Peer peer)
    {
        // CancelAsync, because Cancel would run the code that waits for the cancellation under the lock.
        _ = peer.Dialing?.CancelAsync();
        peer.Dialing = null;
    }

    private void Overflow(Peer peer)
    {
        if (peer.Connection is { } connection)
        {
            connection.Break("too many bytes wait to be sent to the peer");
            return;
        }

        peer.Waiting!.Dispose();
        peer.Waiting = null;
        Track(() =>
        {
            _events.Disconnected(peer.Id);
            return Task.CompletedTask;
        });
    }

    private async Task WatchAsync()
    {
        using var timer = new PeriodicTimer(_tick, _clock);
        try
        {
            while (await timer.WaitForNextTickAsync(_stop.Token))
            {
                PeerConnection[] connections;
                lock (_gate)
                {
                    connections = [.. _table.All.Select(peer => peer.Connection).OfType<PeerConnection>()];
                }

                Array.ForEach(connections, connection => connection.Tick());
            }
        }
        catch (OperationCanceledException)
        {
            // This trainer is shutting down.
        }
    }
}
