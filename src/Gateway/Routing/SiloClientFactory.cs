// Connections to silos. They tell two things apart that must not be mixed up: a request that never left the gateway,
// and one that a silo may have begun.
using System.Net.Sockets;
using Yarp.ReverseProxy.Forwarder;

namespace Atelier.Gateway.Routing;

/// <summary>Makes the clients that forward requests.</summary>
internal sealed class SiloClientFactory : ForwarderHttpClientFactory
{
    private static readonly TimeSpan s_connectTimeout = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_idleMax = TimeSpan.FromSeconds(60);

    /// <summary>Whether a request failed before any of it was sent.</summary>
    public static bool NeverReached(Exception? error)
    {
        while (error is not (null or SiloUnreachableException))
        {
            error = error.InnerException;
        }

        return error is not null;
    }

    /// <summary>Whether a request failed at the connection: not for what it says.</summary>
    public static bool IsConnectionFault(Exception? error)
    {
        while (error is not (null or IOException or SocketException))
        {
            error = error.InnerException;
        }

        return error is not null;
    }

    protected override void ConfigureHandler(ForwarderHttpClientContext context, SocketsHttpHandler handler)
    {
        base.ConfigureHandler(context, handler);
        handler.ConnectCallback = ConnectAsync;
        handler.PooledConnectionIdleTimeout = s_idleMax;
    }

    protected override HttpMessageHandler WrapHandler(ForwarderHttpClientContext context, HttpMessageHandler handler) =>
        new SentOnce { InnerHandler = base.WrapHandler(context, handler) };

    private static async ValueTask<Stream> ConnectAsync(
        SocketsHttpConnectionContext context, CancellationToken cancellation)
    {
        using var late = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        late.CancelAfter(s_connectTimeout);
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            // A machine that is gone without a word is noticed although an answer may be long in coming.
            socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
            socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, 5);
            socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, 2);
            socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, 3);
            await socket.ConnectAsync(context.DnsEndPoint, late.Token);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (Exception error) when (!cancellation.IsCancellationRequested)
        {
            socket.Dispose();
            throw new SiloUnreachableException(context.DnsEndPoint.ToString(), error);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    // The client under this one sends a request again by itself when a kept connection turns out to be closed, unless
    // the request has a body. What changes something is therefore given one: only the gateway decides what is sent
    // again.
    private sealed class SentOnce : DelegatingHandler
    {
        protected override Task<HttpResponseMessage> SendAsync(
            HttpRequestMessage request, CancellationToken cancellationToken)
        {
            if (request.Method != HttpMethod.Get && request.Method != HttpMethod.Head)
            {
                request.Content ??= new ByteArrayContent([]);
            }

            return base.SendAsync(request, cancellationToken);
        }
    }
}

/// <summary>No connection to a silo came about.</summary>
/// <param name="silo">Where it was looked for.</param>
/// <param name="inner">Why.</param>
internal sealed class SiloUnreachableException(string silo, Exception inner)
    : IOException($"No connection to {silo}.", inner);
