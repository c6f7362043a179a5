// The transport security of the connections between trainers, which is the same as that of the silos' ports. Without a
// secret, connections are not secured and are allowed on the loopback interface only.
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using Atelier.ServiceDefaults;

namespace Atelier.Silo.Training;

/// <summary>Secures sockets with the cluster's secret.</summary>
/// <param name="secret">The cluster's secret; null for connections without TLS.</param>
/// <param name="accepted">Another secret that trainers may have; null if there is none.</param>
public sealed class PeerSecurity(byte[]? secret, byte[]? accepted = null)
{
    private readonly SslServerAuthenticationOptions? _server = secret is null
        ? null : ClusterTransport.ServerOptions(secret, accepted);

    private readonly SslClientAuthenticationOptions? _client = secret is null
        ? null : ClusterTransport.ClientOptions(secret, accepted);

    /// <summary>Whether trainers may connect to an address.</summary>
    public bool Allows(IPAddress address) => secret is not null || IPAddress.IsLoopback(address);

    /// <summary>Returns the stream to a dialer once the dialer has proven that it knows the secret.</summary>
    public Task<Stream> AcceptAsync(Socket socket, CancellationToken cancellation) => SecureAsync(
        socket, _server is null ? null : tls => tls.AuthenticateAsServerAsync(_server, cancellation));

    /// <summary>Returns the stream to a listener once the listener has proven that it knows the secret.</summary>
    public Task<Stream> DialAsync(Socket socket, CancellationToken cancellation) => SecureAsync(
        socket, _client is null ? null : tls => tls.AuthenticateAsClientAsync(_client, cancellation));

    private static async Task<Stream> SecureAsync(Socket socket, Func<SslStream, Task>? authenticate)
    {
        var plain = new NetworkStream(socket, ownsSocket: true);
        if (authenticate is null)
        {
            return plain;
        }

        var tls = new SslStream(plain);
        try
        {
            await authenticate(tls);
            return tls;
        }
        catch
        {
            await tls.DisposeAsync();
            throw;
        }
    }
}
