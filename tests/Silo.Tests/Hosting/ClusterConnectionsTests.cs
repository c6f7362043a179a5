// Goal: gateways and silos connect only to silos that know the cluster's secret: a stranger on a silo's port learns
// nothing and answers nothing. Method: a server in a silo's place that accepts every client, with several certificates.
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Atelier.ServiceDefaults;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Xunit;

namespace Atelier.Silo.Tests.Hosting;

public sealed class ClusterConnectionsTests
{
    private static readonly byte[] s_secret = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];
    private static readonly byte[] s_otherSecret = [.. Enumerable.Range(1, 32).Select(i => (byte)i)];

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    /// <summary>The credentials of a server in a silo's place.</summary>
    public enum Server
    {
        /// <summary>The cluster's secret.</summary>
        Own,

        /// <summary>Another cluster's secret.</summary>
        Other,

        /// <summary>A certificate of its own with the name of the cluster's.</summary>
        Stranger,
    }

    [Theory]
    [InlineData(false, Server.Own)]
    [InlineData(false, Server.Other)]
    [InlineData(false, Server.Stranger)]
    [InlineData(true, Server.Own)]
    [InlineData(true, Server.Other)]
    [InlineData(true, Server.Stranger)]
    public async Task AProcess_SendsItsFirstByte_ToASiloThatKnowsTheSecretAlone(bool isSilo, Server server)
    {
        using X509Certificate2 certificate = server switch
        {
            Server.Own => ClusterTransport.CertificateOf(s_secret),
            Server.Other => ClusterTransport.CertificateOf(s_otherSecret),
            _ => Stranger(),
        };
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        IHost process = Process(isSilo, (IPEndPoint)listener.LocalEndpoint);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        Task starting = process.StartAsync(stop.Token);
        int sent = await ReadAsync(listener, certificate);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<Exception>(() => starting.WaitAsync(TimeSpan.FromSeconds(60), Cancellation));
        Assert.Equal(server == Server.Own ? 1 : 0, sent);

        // A silo that has not started cannot be stopped, and the grain directory of one that is disposed without a stop
        // reads a closed stream in an endless loop, which takes a whole core from the tests that follow.
        if (!isSilo)
        {
            process.Dispose();
        }
    }

    // Bytes after the handshake; 0 if the client ends it.
    private static async Task<int> ReadAsync(TcpListener listener, X509Certificate2 certificate)
    {
        using TcpClient socket = await listener.AcceptTcpClientAsync(Cancellation);
        await using var tls = new SslStream(socket.GetStream());
        try
        {
            await tls.AuthenticateAsServerAsync(
                new SslServerAuthenticationOptions
                {
                    ServerCertificate = certificate, ClientCertificateRequired = true,
                    RemoteCertificateValidationCallback = (_, remote, _, _) => remote is not null,
                },
                Cancellation);
            return await tls.ReadAsync(new byte[1], Cancellation);
        }
        catch (Exception error) when (error is IOException or AuthenticationException)
        {
            return 0;
        }
    }

    // A gateway's client of that silo, or a silo whose cluster begins with it.
    private static IHost Process(bool isSilo, IPEndPoint first)
    {
        HostApplicationBuilder builder = Host.CreateApplicationBuilder();
        builder.Logging.ClearProviders();
        if (isSilo)
        {
            builder.UseOrleans(silo =>
            {
                silo.UseDevelopmentClustering(first);
                silo.Configure<ClusterOptions>(Name);
                silo.ConfigureEndpoints(IPAddress.Loopback, FreePort(), gatewayPort: 0);
                silo.UseClusterTransport(s_secret);
            });
        }
        else
        {
            builder.UseOrleansClient(client =>
            {
                client.UseStaticClustering(first);
                client.Configure<ClusterOptions>(Name);
                client.UseConnectionRetryFilter((_, _) => Task.FromResult(false));
                client.UseClusterTransport(s_secret);
            });
        }

        return builder.Build();

        static void Name(ClusterOptions options) => (options.ClusterId, options.ServiceId) = ("atelier", "atelier");
    }

    private static X509Certificate2 Stranger()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        return new CertificateRequest("CN=atelier", key, HashAlgorithmName.SHA256)
            .CreateSelfSigned(DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch.AddYears(1000));
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
