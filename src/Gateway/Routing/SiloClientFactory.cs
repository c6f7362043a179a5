// Connections to silos. Their errors distinguish a request that never left the gateway, which may be retried, from one
// that a silo may have begun to process.
using System.Net.Sockets;
using Yarp.ReverseProxy.Forwarder;

namespace Atelier.Gateway.Routing;

/// <summary>Creates the HTTP clients that forward requests.</summary>
internal sealed class SiloClientFactory : ForwarderHttpClientFactory
{
    private static readonly TimeSpan s_connectTimeout = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_idleMax = TimeSpan.FromSeconds(60);

    /// <summary>Whether a request failed before any part of it was sent.</summary>
    public static bool NeverReached(Exception? error)
    {
        while (error is not (null or SiloUnreachableException))
        {
            error = error.InnerException;
        }

        return error is not null;
    }

    /// <summary>Whether a request failed because of its connection, not because of its content.</summary>
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
            // Detects a machine that vanished without closing the connection, even during a response that takes a long
            // time.
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

    // The inner handler retries a request by itself when a pooled connection turns out to be closed, unless the request
    // has a body. Requests that change something therefore get an empty body, so that only the gateway decides on
    // retries.
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

/// <summary>Thrown when a connection to a silo could not be made.</summary>
/// <param name="silo">Address of the silo.</param>
/// <param name="inner">The cause.</param>
internal sealed class SiloUnreachableException(string silo, Exception inner)
    : IOException($"Could not connect to {silo}.", inner);
