// The port on which a trainer listens. A process that connects has a short time to prove that it knows the secret, and
// to identify itself.
using System.Net;
using System.Net.Sockets;

namespace Atelier.Silo.Training;

/// <summary>Accepts connections.</summary>
/// <param name="listen">Address and port on which to listen.</param>
/// <param name="options">Timeouts and limits.</param>
/// <param name="security">Secures sockets.</param>
/// <param name="clock">Measures timeouts.</param>
/// <param name="log">The log.</param>
/// <param name="welcome">
/// Called with a dialer that has proven that it knows the secret, and with its hello, which is null if it has another
/// version. If the call returns false or throws, the connection is closed.
/// </param>
internal sealed class PeerListener(
    IPEndPoint listen, PeerOptions options, PeerSecurity security, TimeProvider clock, PeerLog log,
    Func<Socket, Stream, PeerHello?, CancellationToken, Task<bool>> welcome) : IDisposable
{
    private const int Backlog = 512;

    // The pause after an error of the listener itself, for example too many open files.
    private static readonly TimeSpan s_pause = TimeSpan.FromSeconds(0.1);

    private readonly Lock _gate = new();
    private readonly LinkedList<Socket> _unproven = [];
    private Socket? _listener;

    /// <summary>Address on which the trainer listens, as "ip:port".</summary>
    public string Address => _listener?.LocalEndPoint?.ToString()
        ?? throw new InvalidOperationException("The trainer is not listening yet.");

    /// <summary>Starts listening.</summary>
    /// <exception cref="IOException">The address is in use, or does not belong to this machine.</exception>
    public void Listen()
    {
        var listener = new Socket(listen.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            listener.Bind(listen);
            listener.Listen(Backlog);
            _listener = listener;
        }
        catch (SocketException error)
        {
            listener.Dispose();
            throw new IOException(
                error.SocketErrorCode == SocketError.AddressAlreadyInUse
                    ? $"The trainer cannot listen at {listen}: another process uses the port. End that process, or "
                        + "set TrainerPeers:Port to another port; 0 chooses a free one."
                    : $"The trainer cannot listen at {listen}: {error.Message}. Choose an address of this machine.",
                error);
        }
    }

    /// <summary>Accepts connections until the token is canceled.</summary>
    public async Task RunAsync(CancellationToken cancellation)
    {
        var handshakes = new HashSet<Task>();
        while (!cancellation.IsCancellationRequested)
        {
            try
            {
                Socket socket = await _listener!.AcceptAsync(cancellation);
                handshakes.RemoveWhere(task => task.IsCompleted);

                // The socket is added here and not in its task, because tasks do not start in order.
                LinkedListNode<Socket> entry = Add(socket);
                handshakes.Add(Task.Run(() => GreetAsync(entry, cancellation), CancellationToken.None));
            }
            catch (Exception error) when (error is SocketException or ObjectDisposedException)
            {
                if (!cancellation.IsCancellationRequested)
                {
                    log.NotAccepted(error.Message);
                }

                await Task.Delay(s_pause, clock, cancellation).ContinueWith(
                    _ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
            }
            catch (OperationCanceledException)
            {
                break;
            }
        }

        await Task.WhenAll(handshakes);
    }

    /// <inheritdoc/>
    public void Dispose() => _listener?.Dispose();

    private async Task GreetAsync(LinkedListNode<Socket> entry, CancellationToken cancellation)
    {
        Socket socket = entry.Value;
        using var late = new CancellationTokenSource(options.HandshakeTimeout, clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, cancellation);
        EndPoint? peer = null;
        Stream? stream = null;
        bool isKept = false;
        try
        {
            peer = socket.RemoteEndPoint;
            socket.NoDelay = true;
            stream = await security.AcceptAsync(socket, either.Token);
            PeerHello? hello = await PeerHello.ReadAsync(stream, either.Token);
            Remove(entry);
            isKept = await welcome(socket, stream, hello, either.Token);
        }
        catch (Exception error)
        {
            if (!cancellation.IsCancellationRequested)
            {
                log.Refused(
                    peer,
                    late.IsCancellationRequested
                        ? $"The peer did not complete the handshake within {options.HandshakeTimeout}."
                        : error.Message);
            }
        }
        finally
        {
            Remove(entry);
            if (!isKept)
            {
                await (stream?.DisposeAsync() ?? ValueTask.CompletedTask);
                socket.Dispose();
            }
        }
    }

    // If there are too many sockets, the oldest is closed: a peer that knows the secret needs only milliseconds.
    private LinkedListNode<Socket> Add(Socket socket)
    {
        Socket? oldest = null;
        LinkedListNode<Socket> entry;
        lock (_gate)
        {
            entry = _unproven.AddLast(socket);
            if (_unproven.Count > options.Unproven)
            {
                oldest = _unproven.First!.Value;
                _unproven.RemoveFirst();
            }
        }

        oldest?.Dispose();
        return entry;
    }

    private void Remove(LinkedListNode<Socket> entry)
    {
        lock (_gate)
        {
            if (entry.List is not null)
            {
                _unproven.Remove(entry);
            }
        }
    }
}
