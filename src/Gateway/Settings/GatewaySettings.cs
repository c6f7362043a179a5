// A gateway's own settings. Where its metrics are scraped is in an options class of its own.
using System.Net;
using Atelier.Configuration;
using Atelier.Contracts.Tenants;
using Atelier.ServiceDefaults;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Atelier.Gateway.Settings;

/// <summary>A gateway: where clients reach it, what it lets through, and how it finds the cluster.</summary>
[Section("Gateway")]
public sealed record GatewaySettings
{
    /// <summary>Most characters of a key.</summary>
    public const int KeyLengthMax = 256;

    /// <summary>Most bytes of a request's body.</summary>
    public const int RequestBytesMax = 1 << 20;

    /// <summary>Fewest characters of the administrator's key.</summary>
    public const int AdminKeyLengthMin = 32;

    /// <summary>Gets the IP address at which clients reach it.</summary>
    /// <value>The default is the loopback address.</value>
    public string Address { get; init; } = "127.0.0.1";

    /// <summary>Gets the port at which clients reach it.</summary>
    /// <value>The default is 8080.</value>
    [Bounds(1, 65535)]
    public int Port { get; init; } = 8080;

    /// <summary>Gets the administrator's key, of 32 to 256 characters.</summary>
    /// <remarks>Who has it can administer all tenants.</remarks>
    /// <value>The default is none: nobody administers through this gateway.</value>
    public string? AdminKey { get; init; }

    /// <summary>
    /// Gets the requests of one tenant that this gateway lets through in a second. It keeps one tenant from filling the
    /// gateway; what a tenant may do in all is the tenant's own setting.
    /// </summary>
    /// <value>The default is 100.</value>
    [Bounds(1, 1_000_000)]
    public int RequestsPerSecond { get; init; } = 100;

    /// <summary>Gets the requests that a tenant may make at once after a pause.</summary>
    /// <value>The default is 200.</value>
    [Bounds(1, 1_000_000)]
    public int RequestsBurst { get; init; } = 200;

    /// <summary>
    /// Gets the rate of unknown keys a second that are looked up, with a burst of 5 seconds' worth.
    /// </summary>
    /// <remarks>Beyond that, keys that this gateway has not seen are refused without a lookup.</remarks>
    /// <value>The default is 20.</value>
    [Bounds(1, 1_000_000)]
    public int UnknownKeysPerSecond { get; init; } = 20;

    /// <summary>Gets the most connections at a time.</summary>
    /// <remarks>
    /// One more closes the connection that has been idle for the longest time; if none is idle, the new one is closed
    /// immediately.
    /// </remarks>
    /// <value>The default is 10,000.</value>
    [Bounds(1, 1_000_000)]
    public int ConnectionsMax { get; init; } = 10_000;

    /// <summary>
    /// Gets the most connections of one address at a time; an IPv6 /64 counts as one address. Requests that need no key
    /// are bounded by address too, as a tenant's are. 0 disables both.
    /// </summary>
    /// <remarks>Behind a load balancer, whose address all clients then have, it must be 0.</remarks>
    /// <value>The default is 1,000, or 0 where the gateway listens on a loopback address.</value>
    [Bounds(0, 1_000_000)]
    public int? ConnectionsPerAddress { get; init; }

    /// <summary>Gets how long a connection may be idle.</summary>
    /// <remarks>A load balancer's idle timeout must be shorter.</remarks>
    /// <value>The default is 75 seconds.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan IdleTimeout { get; init; } = TimeSpan.FromSeconds(75);

    /// <summary>
    /// Gets the requests of one tenant that are in progress at a time: streams, and requests that wait for their
    /// answers.
    /// </summary>
    /// <value>The default is 1,000.</value>
    [Bounds(1, 1_000_000)]
    public int OpenRequestsPerTenant { get; init; } = 1000;

    /// <summary>Gets how long a request for OpenAI's pictures may take without a byte.</summary>
    /// <value>The default is 30 minutes: the clients' own patience ends sooner.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan PictureTimeout { get; init; } = TimeSpan.FromMinutes(30);

    /// <summary>Gets how long requests have to end when the gateway is told to stop.</summary>
    /// <remarks>A supervisor must grant a little more.</remarks>
    /// <value>The default is 25 seconds.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan ShutdownTimeout { get; init; } = TimeSpan.FromSeconds(25);

    /// <summary>Gets the cluster's name.</summary>
    /// <value>The default is "atelier".</value>
    [Key("Cluster:Id"), ClusterWide]
    public string ClusterId { get; init; } = "atelier";

    /// <summary>Gets the secret that all silos and gateways share, 32 bytes or more in base64.</summary>
    [Key("Cluster:Secret"), ClusterWide]
    public string Secret { get; init; } = "";

    /// <summary>Gets whether it talks to silos over TLS with keys derived from the secret.</summary>
    /// <remarks>Silos allow false on a loopback address only.</remarks>
    /// <value>The default is true.</value>
    [Key("Cluster:Tls"), ClusterWide]
    public bool Tls { get; init; } = true;

    /// <summary>
    /// Gets the store that holds the cluster's membership, as StackExchange.Redis writes it; null where
    /// <see cref="Silos"/> names the silos.
    /// </summary>
    [Key("Store:Redis"), ClusterWide]
    public string? Redis { get; init; }

    /// <summary>
    /// Gets where the silos of a cluster without a Redis listen for gateways, as addresses with ports.
    /// </summary>
    /// <value>The default is a Redis, which says where they are.</value>
    [Key("Cluster:Silos")]
    public IReadOnlyList<string> Silos { get; init; } = [];

    /// <summary>Gets what <see cref="ConnectionsPerAddress"/> comes to.</summary>
    public int AddressBound => ConnectionsPerAddress ?? (IPAddress.IsLoopback(IPAddress.Parse(Address)) ? 0 : 1000);

    /// <summary>The cluster's secret.</summary>
    public byte[] SecretBytes() => Convert.FromBase64String(Secret);

    /// <summary>Where silos listen for gateways, where no store says it.</summary>
    public IPEndPoint[] SiloEndpoints() => [.. Silos.Select(IPEndPoint.Parse)];

    /// <summary>How the store is reached; null if there is none.</summary>
    public ConfigurationOptions? StoreOptions()
    {
        if (Redis is null)
        {
            return null;
        }

        var options = ConfigurationOptions.Parse(Redis);
        options.AbortOnConnectFail = false;
        options.ConnectTimeout = 5000;
        options.AsyncTimeout = 5000;
        return options;
    }
}

/// <summary>Checks a gateway's settings.</summary>
internal sealed class GatewaySettingsValidator(IOptions<MetricsListener> metrics) : OptionsValidator<GatewaySettings>
{
    public override IEnumerable<string> Warnings(GatewaySettings options)
    {
        if (options.RequestsBurst < options.RequestsPerSecond)
        {
            yield return $"{Key(nameof(options.RequestsBurst))} is {options.RequestsBurst}, less than "
                + $"{Key(nameof(options.RequestsPerSecond))} ({options.RequestsPerSecond}): a tenant that sends a "
                + "second's requests at once is refused some of them.";
        }
    }

    protected override IEnumerable<string> Faults(GatewaySettings options)
    {
        if (!IPAddress.TryParse(options.Address, out _))
        {
            yield return $"{Key(nameof(options.Address))} is {options.Address}; it must be an IP address.";
        }

        if (MetricsListenerValidator.Clash(metrics.ValueIfValid(), (Key(nameof(options.Port)), options.Port))
            is { } clash)
        {
            yield return clash;
        }

        // A secret is not repeated: messages are in logs.
        if (options.AdminKey is { Length: < GatewaySettings.AdminKeyLengthMin or > GatewaySettings.KeyLengthMax }
            || options.AdminKey?.Any(char.IsWhiteSpace) == true)
        {
            yield return $"{Key(nameof(options.AdminKey))} must have {GatewaySettings.AdminKeyLengthMin} to "
                + $"{GatewaySettings.KeyLengthMax} characters and no white space.";
        }

        if (!IsSecret(options.Secret))
        {
            yield return $"{Key(nameof(options.Secret))} must be {Tickets.SecretBytesMin} bytes or more in base64, the "
                + "same for all silos and gateways.";
        }

        string redis = Key(nameof(options.Redis)), silos = Key(nameof(options.Silos));
        if ((options.Redis is null) == (options.Silos.Count == 0))
        {
            yield return $"{redis} must say where the cluster's store is, for example 127.0.0.1:6379; or {silos}:0 and "
                + "so on where its silos listen for gateways, for example 127.0.0.1:30000; one of the two.";
        }

        if (options.Redis is not null && !IsStore(options.Redis))
        {
            yield return
                $"{redis} must be written as StackExchange.Redis does, for example 127.0.0.1:6379,password=...";
        }

        foreach (string silo in options.Silos.Where(
            silo => !IPEndPoint.TryParse(silo, out IPEndPoint? address) || address.Port == 0))
        {
            yield return $"{silos} has {silo}; each must be an IP address with a port, for example 127.0.0.1:30000.";
        }
    }

    private static bool IsSecret(string text)
    {
        Span<byte> secret = stackalloc byte[1024];
        return Convert.TryFromBase64String(text, secret, out int bytes) && bytes >= Tickets.SecretBytesMin;
    }

    private static bool IsStore(string text)
    {
        try
        {
            return ConfigurationOptions.Parse(text).EndPoints.Count > 0;
        }
        catch (Exception error) when (error is ArgumentException or FormatException)
        {
            return false;
        }
    }
}
