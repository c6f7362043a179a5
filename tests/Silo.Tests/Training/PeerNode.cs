// Trainers' connections under test: a trainer that records events, and a peer whose frames the test writes.
using System.Buffers.Binary;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Numerics;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests;
using Atelier.ServiceDefaults;
using Atelier.Silo.Training;
using Atelier.Training.Worlds;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Atelier.Silo.Tests.Training;

/// <summary>A trainer that listens on loopback and records events.</summary>
internal sealed class PeerNode : ITrainerPeerEvents, ILogger<TcpPeers>, IAsyncDisposable
{
    public const string Stage = "run/stage-1";

    private readonly Lock _gate = new();
    private readonly List<(TrainerId From, Frame Frame)> _received = [];
    private readonly List<TrainerId> _disconnected = [];
    private readonly List<string> _story = [];
    private readonly List<string> _lines = [];
    private readonly List<IDisposable> _held = [];

    public PeerNode(
        string name, long incarnation = 1, byte[]? secret = null, Action<PeerOptions>? options = null,
        string stage = Stage, int port = 0, byte[]? accepted = null)
    {
        Id = new TrainerId(name, incarnation);

        // Long enough that no peer counts as silent on a slow machine, unless a test sets a shorter time.
        var chosen = new PeerOptions
        {
            Heartbeat = TimeSpan.FromSeconds(0.1), Silence = TimeSpan.FromMinutes(1),
            HandshakeTimeout = TimeSpan.FromMinutes(1), UnreachableAfter = TimeSpan.FromSeconds(0.2),
            BackoffMin = TimeSpan.FromSeconds(0.02), BackoffMax = TimeSpan.FromSeconds(0.2),
        };
        options?.Invoke(chosen);
        Peers = new TcpPeers(
            Id, stage, chosen, Limits, new PeerSecurity(secret, accepted), new IPEndPoint(IPAddress.Loopback, port),
            TimeProvider.System, this, this);
    }

    public static FrameLimits Limits { get; } = new()
    {
        Parameters = 400_000, Shards = 8, Samples = 64, StateBytes = 40 << 20,
    };

    public static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public TrainerId Id { get; }

    public TcpPeers Peers { get; }

    /// <summary>Whether received frames are not processed, so that their credits are not returned.</summary>
    public bool Holds { get; set; }

    public int Port => IPEndPoint.Parse(Peers.Address).Port;

    public (TrainerId From, Frame Frame)[] Received
    {
        get
        {
            lock (_gate)
            {
                return [.. _received];
            }
        }
    }

    public TrainerId[] Disconnected
    {
        get
        {
            lock (_gate)
            {
                return [.. _disconnected];
            }
        }
    }

    /// <summary>Frames' steps and disconnections, in their order.</summary>
    public string[] Story
    {
        get
        {
            lock (_gate)
            {
                return [.. _story];
            }
        }
    }

    public string[] Lines
    {
        get
        {
            lock (_gate)
            {
                return [.. _lines];
            }
        }
    }

    public static async Task<PeerNode> StartAsync(
        string name, long incarnation = 1, byte[]? secret = null, Action<PeerOptions>? options = null,
        string stage = Stage, int port = 0, byte[]? accepted = null)
    {
        var node = new PeerNode(name, incarnation, secret, options, stage, port, accepted);
        await node.Peers.StartAsync();
        return node;
    }

    /// <summary>Makes all of the nodes members of one world.</summary>
    public static void Connect(params PeerNode[] nodes)
    {
        Dictionary<TrainerId, string> members = nodes.ToDictionary(node => node.Id, node => node.Peers.Address);
        Array.ForEach(nodes, node => node.Peers.Connect(members));
    }

    public static Task UntilAsync(Func<bool> condition, Func<string>? story = null) =>
        Eventually.TrueAsync(condition, story);

    public Task ReceivesAsync(int frames) =>
        UntilAsync(() => Received.Length >= frames, () => string.Join('\n', Story.Concat(Lines)));

    /// <summary>Checks that frames travel in both directions between two nodes.</summary>
    public static async Task TalkAsync(PeerNode one, PeerNode other, long step)
    {
        one.Peers.Send(other.Id, new CatchUpFrame(1, step));
        other.Peers.Send(one.Id, new CatchUpFrame(1, step));
        await UntilAsync(() => one.HasStep(other.Id, step) && other.HasStep(one.Id, step), () => string.Join(
            '\n', one.Story.Concat(one.Lines).Append("--").Concat(other.Story).Concat(other.Lines)));
    }

    public bool HasStep(TrainerId from, long step) => Received.Contains((from, new CatchUpFrame(1, step)));

    /// <summary>Processes the held frames, and all later ones at once.</summary>
    public void TakeAll()
    {
        IDisposable[] held;
        lock (_gate)
        {
            Holds = false;
            held = [.. _held];
            _held.Clear();
        }

        Array.ForEach(held, credit => credit.Dispose());
    }

    public void Take(int count)
    {
        IDisposable[] held;
        lock (_gate)
        {
            held = [.. _held.Take(count)];
            _held.RemoveRange(0, held.Length);
        }

        Array.ForEach(held, credit => credit.Dispose());
    }

    public ValueTask DisposeAsync() => Peers.DisposeAsync();

    void ITrainerPeerEvents.Received(TrainerId from, Frame frame, IDisposable credit)
    {
        bool holds;
        lock (_gate)
        {
            _received.Add((from, frame));
            _story.Add($"{from} {(frame as CatchUpFrame)?.Step}");
            holds = Holds;
            if (holds)
            {
                _held.Add(credit);
            }
        }

        if (!holds)
        {
            credit.Dispose();
        }
    }

    void ITrainerPeerEvents.Disconnected(TrainerId peer)
    {
        lock (_gate)
        {
            _disconnected.Add(peer);
            _story.Add($"{peer} ends");
        }
    }

    IDisposable? ILogger.BeginScope<TState>(TState state) => null;

    bool ILogger.IsEnabled(LogLevel logLevel) => true;

    void ILogger.Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception,
        Func<TState, Exception?, string> formatter)
    {
        lock (_gate)
        {
            _lines.Add(formatter(state, exception));
        }
    }
}

/// <summary>A peer by hand.</summary>
internal sealed class HandPeer(Socket socket, Stream stream) : IAsyncDisposable
{
    private readonly FrameCodec _codec = new(PeerNode.Limits);
    private readonly SemaphoreSlim _writing = new(1);

    public Stream Stream => stream;

    /// <summary>Connects, with the secret if there is one, without a hello.</summary>
    public static async Task<HandPeer> ConnectAsync(int port, byte[]? secret = null)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(IPAddress.Loopback, port, PeerNode.Cancellation);
        return await OverAsync(socket, secret);
    }

    /// <summary>Connects and sends a hello.</summary>
    public static async Task<(HandPeer Peer, PeerAnswer Answer)> DialAsync(
        PeerNode node, TrainerId self, long attempt = 1, byte[]? secret = null)
    {
        HandPeer peer = await ConnectAsync(node.Port, secret);
        return (peer, await peer.HelloAsync(new PeerHello(PeerNode.Stage, self, node.Id, attempt)));
    }

    /// <summary>Waits for a trainer that dials, and reads its hello; the answer is left to the caller.</summary>
    public static async Task<(HandPeer Peer, PeerHello Hello)> AcceptAsync(TcpListener listener)
    {
        Socket socket = await listener.AcceptSocketAsync(PeerNode.Cancellation);
        var peer = new HandPeer(socket, new NetworkStream(socket, ownsSocket: true));
        return (peer, (await PeerHello.ReadAsync(peer.Stream, PeerNode.Cancellation))!);
    }

    public async Task<PeerAnswer> HelloAsync(PeerHello hello)
    {
        await stream.WriteAsync(hello.Encode(), PeerNode.Cancellation);
        return (await PeerHello.ReadAnswerAsync(stream, PeerNode.Cancellation)).Answer;
    }

    public async Task SendAsync(Frame frame)
    {
        await _writing.WaitAsync(PeerNode.Cancellation);
        try
        {
            FrameEncoding encoding = _codec.Encode(frame);
            while (encoding.TryNext(out ReadOnlyMemory<byte> piece))
            {
                await stream.WriteAsync(piece, PeerNode.Cancellation);
            }
        }
        finally
        {
            _writing.Release();
        }
    }

    /// <summary>Sends heartbeats until the connection ends, and reads nothing.</summary>
    public async Task LiveAsync()
    {
        try
        {
            while (true)
            {
                await SendAsync(new HeartbeatFrame());
                await Task.Delay(50, PeerNode.Cancellation);
            }
        }
        catch (Exception error) when (error is IOException or ObjectDisposedException or OperationCanceledException)
        {
            // It ends.
        }
    }

    /// <summary>Reads until the other side closes the connection, in any way.</summary>
    public async Task EndAsync()
    {
        byte[] rest = new byte[1 << 16];
        try
        {
            while (await stream.ReadAsync(rest, PeerNode.Cancellation).AsTask().WaitAsync(
                TimeSpan.FromMinutes(1), PeerNode.Cancellation) > 0)
            {
            }
        }
        catch (Exception error) when (error is IOException or ObjectDisposedException)
        {
            // Closed.
        }
    }

    /// <summary>Closes the socket.</summary>
    public async ValueTask DisposeAsync()
    {
        socket.Dispose();
        await stream.DisposeAsync();
        _writing.Dispose();
    }

    /// <summary>A total whose header claims so many bytes of payload, with the checksum that belongs to it.</summary>
    public byte[] Claiming(long payloadBytes)
    {
        FrameEncoding encoding = _codec.Encode(
            new TotalFrame<GradientSlice>(1, 5, 1, 4, new GradientSlice(new float[100], null)));
        encoding.TryNext(out ReadOnlyMemory<byte> piece);
        byte[] header = piece.ToArray();
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(40), payloadBytes);
        uint crc = uint.MaxValue;
        foreach (byte one in header.AsSpan(0, 48))
        {
            crc = BitOperations.Crc32C(crc, one);
        }

        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(48), ~crc);
        return header;
    }

    private static async Task<HandPeer> OverAsync(Socket socket, byte[]? secret)
    {
        Stream stream = new NetworkStream(socket, ownsSocket: true);
        if (secret is not null)
        {
            var tls = new SslStream(stream);
            await tls.AuthenticateAsClientAsync(ClusterTransport.ClientOptions(secret), PeerNode.Cancellation);
            stream = tls;
        }

        return new HandPeer(socket, stream);
    }
}
