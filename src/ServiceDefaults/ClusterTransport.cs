// Mutual TLS on the cluster's Orleans ports. A process that can call grains has full control of the cluster, so both
// ports of a silo, the one for silos and the one for gateways, accept only processes that know the cluster's secret.
// Each such process derives the same key from the secret and makes its own certificate with it: there is no file to
// distribute, nothing expires, and no clock is read. A peer is accepted if its certificate has exactly that key, or,
// while the secret is rotated, that of another accepted secret.
using System.Net.Security;
using System.Numerics;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Orleans.Connections.Security;

namespace Atelier.ServiceDefaults;

/// <summary>Secures the connections between silos, and between gateways and silos.</summary>
public static class ClusterTransport
{
    /// <summary>
    /// Maximum number of connections of a silo whose peers have not yet proven that they know the secret.
    /// </summary>
    public const int HandshakesMax = 512;

    // Must change whenever the derivation changes, so that processes with different derivations refuse each other.
    private static readonly byte[] s_purpose = "atelier cluster transport 1"u8.ToArray();

    private const int ScalarBytes = 32;
    private const string Name = "atelier";

    // The order of the curve P-256.
    private static readonly BigInteger s_order = BigInteger.Parse(
        "0ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
        System.Globalization.NumberStyles.HexNumber);

    // The date has no effect, because only the certificate's key matters.
    private static readonly DateTimeOffset s_notAfter = new(9999, 12, 31, 23, 59, 59, TimeSpan.Zero);

    /// <summary>Gets the time within which a peer must prove that it knows the secret.</summary>
    public static TimeSpan HandshakeTimeout { get; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Accepts connections only from processes that know the secret, and connects only to silos that know it.
    /// </summary>
    /// <param name="silo">The silo.</param>
    /// <param name="secret">The cluster's secret, whose key this process has.</param>
    /// <param name="accepted">Another secret whose key peers may have; null if there is none.</param>
    public static void UseClusterTransport(this ISiloBuilder silo, byte[] secret, byte[]? accepted = null)
    {
        TlsOptions tls = OptionsOf(secret, accepted);
        silo.Services.AddSingleton<UnprovenConnections>();
        silo.Services.AddOptions<SiloConnectionOptions>().Configure<UnprovenConnections>((options, unproven) =>
        {
            options.ConfigureSiloInboundConnection(connection => unproven.AddTo(connection, tls));
            options.ConfigureGatewayInboundConnection(connection => unproven.AddTo(connection, tls));
            options.ConfigureSiloOutboundConnection(connection => connection.UseClientTls(tls));
        });

        // This middleware logs every connection that fails; UnprovenConnections logs one line for many.
        silo.Services.AddLogging(logging =>
            logging.AddFilter("Orleans.Connections.Security.TlsServerConnectionMiddleware", LogLevel.None));
    }

    /// <summary>Connects to silos that know the secret, and to no others.</summary>
    /// <param name="client">The client.</param>
    /// <param name="secret">The cluster's secret, whose key this process has.</param>
    /// <param name="accepted">Another secret whose key silos may have; null if there is none.</param>
    public static void UseClusterTransport(this IClientBuilder client, byte[] secret, byte[]? accepted = null)
    {
        TlsOptions tls = OptionsOf(secret, accepted);
        client.Configure<ClientConnectionOptions>(options =>
            options.ConfigureConnection(connection => connection.UseClientTls(tls)));
    }

    /// <summary>Options with which a TLS server on plain sockets accepts only processes that know the secret.</summary>
    /// <param name="secret">The cluster's secret, whose key this process has.</param>
    /// <param name="accepted">Another secret whose key the peer may have; null if there is none.</param>
    public static SslServerAuthenticationOptions ServerOptions(byte[] secret, byte[]? accepted = null)
    {
        X509Certificate2 own = CertificateOf(secret);
        byte[][] keys = KeysOf(own, accepted);
        return new SslServerAuthenticationOptions
        {
            ServerCertificate = own, ClientCertificateRequired = true, EnabledSslProtocols = SslProtocols.Tls13,
            RemoteCertificateValidationCallback =
                (_, remote, _, _) => remote is X509Certificate2 certificate && HasKey(certificate, keys),
            AllowTlsResume = false, AllowRenegotiation = false, CertificateChainPolicy = NoChain(own),
        };
    }

    /// <summary>Options with which a TLS client connects only to servers that know the secret.</summary>
    /// <param name="secret">The cluster's secret, whose key this process has.</param>
    /// <param name="accepted">Another secret whose key the peer may have; null if there is none.</param>
    public static SslClientAuthenticationOptions ClientOptions(byte[] secret, byte[]? accepted = null)
    {
        X509Certificate2 own = CertificateOf(secret);
        byte[][] keys = KeysOf(own, accepted);
        return new SslClientAuthenticationOptions
        {
            ClientCertificates = [own], TargetHost = Name, EnabledSslProtocols = SslProtocols.Tls13,
            RemoteCertificateValidationCallback =
                (_, remote, _, _) => remote is X509Certificate2 certificate && HasKey(certificate, keys),
            AllowTlsResume = false, AllowRenegotiation = false, CertificateChainPolicy = NoChain(own),
        };
    }

    /// <summary>The certificate of a cluster's processes; its key is a function of the secret.</summary>
    /// <param name="secret">The cluster's secret.</param>
    public static X509Certificate2 CertificateOf(byte[] secret)
    {
        using ECDsa key = KeyOf(secret);
        var request = new CertificateRequest($"CN={Name}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(
            new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, critical: true));
        return request.CreateSelfSigned(DateTimeOffset.UnixEpoch, s_notAfter);
    }

    // The scalar is reduced from a number with 128 extra bits, so that its distribution is nearly uniform (FIPS 186-5,
    // A.2.1).
    private static ECDsa KeyOf(byte[] secret)
    {
        byte[] bits = HKDF.DeriveKey(HashAlgorithmName.SHA256, secret, ScalarBytes + 16, info: s_purpose);
        BigInteger scalar = (new BigInteger(bits, isUnsigned: true, isBigEndian: true) % (s_order - 1)) + 1;
        byte[] digits = scalar.ToByteArray(isUnsigned: true, isBigEndian: true), padded = new byte[ScalarBytes];
        digits.CopyTo(padded, ScalarBytes - digits.Length);
        return ECDsa.Create(new ECParameters { Curve = ECCurve.NamedCurves.nistP256, D = padded });
    }

    private static TlsOptions OptionsOf(byte[] secret, byte[]? accepted)
    {
        X509Certificate2 own = CertificateOf(secret);
        byte[][] keys = KeysOf(own, accepted);
        return new TlsOptions
        {
            LocalCertificate = own,
            RemoteCertificateMode = RemoteCertificateMode.RequireCertificate,
            ClientCertificateMode = RemoteCertificateMode.RequireCertificate,
            RemoteCertificateValidation = (remote, _, _) => HasKey(remote, keys),
            SslProtocols = SslProtocols.Tls13,
            HandshakeTimeout = HandshakeTimeout,
            OnAuthenticateAsServer = (_, options) =>
            {
                var tls = (SslServerAuthenticationOptions)options.SslServerAuthenticationOptions;
                (tls.AllowTlsResume, tls.AllowRenegotiation, tls.CertificateChainPolicy) = (false, false, NoChain(own));
            },
            OnAuthenticateAsClient = (_, options) =>
            {
                var tls = (SslClientAuthenticationOptions)options.SslClientAuthenticationOptions;
                (tls.AllowTlsResume, tls.AllowRenegotiation, tls.CertificateChainPolicy) = (false, false, NoChain(own));
                tls.TargetHost = Name;
            },
        };
    }

    // Only the key counts: nothing in an unknown peer's certificate causes a lookup, and no clock is read.
    private static X509ChainPolicy NoChain(X509Certificate2 own) => new()
    {
        TrustMode = X509ChainTrustMode.CustomRootTrust, CustomTrustStore = { own }, DisableCertificateDownloads = true,
        RevocationMode = X509RevocationMode.NoCheck, VerificationTimeIgnored = false,
        VerificationTime = DateTimeOffset.UnixEpoch.UtcDateTime.AddYears(1),
    };

    // The public keys that a peer's certificate may have.
    private static byte[][] KeysOf(X509Certificate2 own, byte[]? accepted)
    {
        byte[] key = own.PublicKey.ExportSubjectPublicKeyInfo();
        if (accepted is null)
        {
            return [key];
        }

        using X509Certificate2 other = CertificateOf(accepted);
        return [key, other.PublicKey.ExportSubjectPublicKeyInfo()];
    }

    private static bool HasKey(X509Certificate2 remote, byte[][] keys)
    {
        try
        {
            byte[] key = remote.PublicKey.ExportSubjectPublicKeyInfo();
            return keys.Any(one => one.AsSpan().SequenceEqual(key));
        }
        catch (CryptographicException)
        {
            return false;
        }
    }
}
