// How connections between trainers are opened and closed.
using System.Net;
using System.Net.Sockets;
using Atelier.Training.Worlds;

namespace Atelier.Silo.Training;

/// <content>How connections are opened and closed.</content>
public sealed partial class TcpPeers
{
    // Called when a dialer has proven that it knows the secret and has identified itself. Returns whether the
    // connection is kept.
    private async Task<bool> WelcomeAsync(
        Socket socket, Stream stream, PeerHello? hello, CancellationToken cancellation)
    {
        (PeerAnswer answer, PeerConnection? connection, long attempt) =
            await InstallAsync(hello?.From ?? default, socket, stream, hello, cancellation);
        try
        {
            await stream.WriteAsync(PeerHello.EncodeAnswer(answer, attempt), cancellation);
        }
        catch (Exception error) when (connection is not null)
        {
            connection.Break(error.Message);
        }

        connection?.Start();
        return connection is not null || answer == PeerAnswer.Crossed ? connection is not null
            : throw new InvalidDataException($"The dialer was refused: {PeerHello.Explain(answer)}.");
    }

    // Makes a stream the one connection to a peer, after the connections that it replaces have ended. Without a hello,
    // this trainer has dialed.
    private async Task<(PeerAnswer Answer, PeerConnection? Connection, long Attempt)> InstallAsync(
        TrainerId id, Socket socket, Stream stream, PeerHello? hello, CancellationToken cancellation)
    {
        bool isDialed = hello is null && id != default;
        while (true)
        {
            Task ends;
            lock (_gate)
            {
                PeerAnswer answer = isDialed ? PeerAnswer.Accepted : _table.Judge(hello, _stage);
                if (answer != PeerAnswer.Accepted)
                {
                    return (answer, null, 0);
                }

                if (_stop.IsCancellationRequested || (isDialed && _table.Find(id)?.Dialing is null))
                {
                    throw new OperationCanceledException("The peer is no longer a member, or this trainer is closing.");
                }

                PeerConnection[] replaced = _table.ReplacedBy(id);
                Peer peer = _table.Get(id);
                if (replaced.Length == 0 && peer.LastEnd.IsCompleted)
                {
                    SendQueue queue = peer.Waiting ?? new SendQueue(_sendQueueBytes);
                    peer.Waiting = null;
                    peer.Connection = new PeerConnection(id, isDialed, socket, stream, queue, _context, Ended);
                    return (PeerAnswer.Accepted, peer.Connection, peer.SentAttempt);
                }

                Array.ForEach(replaced, old => old.Break("a newer connection replaces it"));
                ends = Task.WhenAll([peer.LastEnd, .. replaced.Select(old => old.Completion)]);
            }

            await ends.WaitAsync(cancellation);
        }
    }

    private void Ended(PeerConnection connection)
    {
        Peer peer;
        lock (_gate)
        {
            // From here on, frames wait for the next connection, which begins after the disconnection event.
            peer = _table.Get(connection.Peer);
            (peer.Connection, peer.LastEnd) = (null, connection.Completion);
            peer.DownSince = _clock.GetTimestamp();
        }

        _log.Ended(connection.Peer, connection.Reason ?? "");
        _events.Disconnected(connection.Peer);
        Track(async () =>
        {
            await connection.Completion.WaitAsync(CancellationToken.None);
            lock (_gate)
            {
                _table.Tidy(peer);
            }
        });
    }

    private async Task DialAsync(Peer peer, CancellationToken cancellation)
    {
        TimeSpan backoff = _options.BackoffMin;
        try
        {
            while (true)
            {
                PeerConnection? connection = ConnectionOf(peer) ?? await TryDialAsync(peer, cancellation);
                if (connection is not null)
                {
                    long since = _clock.GetTimestamp();
                    await connection.Completion.WaitAsync(cancellation);
                    backoff = _clock.GetElapsedTime(since) > _options.BackoffMax ? _options.BackoffMin : backoff;
                }

                await Task.Delay(backoff, _clock, cancellation);
                backoff = backoff * 2 < _options.BackoffMax ? backoff * 2 : _options.BackoffMax;
            }
        }
        catch (OperationCanceledException)
        {
            // The peer is no longer a member, or dials this trainer itself.
        }
    }

    private PeerConnection? ConnectionOf(Peer peer)
    {
        lock (_gate)
        {
            return peer.Connection;
        }
    }

    // Returns null if the peer cannot be reached.
    private async Task<PeerConnection?> TryDialAsync(Peer peer, CancellationToken cancellation)
    {
        string address = peer.Address ?? "";
        Socket? socket = null;
        Stream? stream = null;
        PeerConnection? connection = null;
        using var late = new CancellationTokenSource(_options.HandshakeTimeout, _clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, cancellation);
        try
        {
            IPEndPoint to = EndPointOf(address);
            socket = new Socket(to.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            await socket.ConnectAsync(to, either.Token);
            stream = await _security.DialAsync(socket, either.Token);
            connection = await IntroduceAsync(peer, socket, stream, either.Token);
        }
        catch (Exception error)
        {
            if (!cancellation.IsCancellationRequested)
            {
                _log.Unreached(
                    peer.Id, address,
                    late.IsCancellationRequested ? $"no answer within {_options.HandshakeTimeout}" : error.Message);
            }
        }
        finally
        {
            if (connection is null)
            {
                await (stream?.DisposeAsync() ?? ValueTask.CompletedTask);
                socket?.Dispose();
            }
        }

        return connection;
    }

    private IPEndPoint EndPointOf(string address) =>
        !IPEndPoint.TryParse(address, out IPEndPoint? to) || to.Port == 0
            ? throw new InvalidDataException("the address is not \"ip:port\"")
        : !_security.Allows(to.Address)
            ? throw new InvalidDataException("without Cluster:Secret, trainers connect on loopback only")
        : to;

    // Returns null if the peer has dialed in the meantime.
    private async Task<PeerConnection?> IntroduceAsync(
        Peer peer, Socket socket, Stream stream, CancellationToken cancellation)
    {
        long attempt;
        lock (_gate)
        {
            if (peer.Connection is not null)
            {
                return null;
            }

            attempt = ++_attempts;
            (peer.SentAttempt, peer.HelloOut) = (attempt, attempt);
        }

        try
        {
            await stream.WriteAsync(new PeerHello(_stage, _self, peer.Id, attempt).Encode(), cancellation);
            (PeerAnswer answer, long last) = await PeerHello.ReadAnswerAsync(stream, cancellation);
            if (answer is not (PeerAnswer.Accepted or PeerAnswer.Crossed))
            {
                throw new InvalidDataException(PeerHello.Explain(answer));
            }

            if (answer == PeerAnswer.Crossed)
            {
                return null;
            }

            lock (_gate)
            {
                peer.VoidAttempt = Math.Max(peer.VoidAttempt, last);
            }

            PeerConnection? connection =
                (await InstallAsync(peer.Id, socket, stream, hello: null, cancellation)).Connection;
            connection?.Start();
            return connection;
        }
        finally
        {
            lock (_gate)
            {
                peer.HelloOut = peer.HelloOut == attempt ? 0 : peer.HelloOut;
                _table.Tidy(peer);
            }
        }
    }
}
