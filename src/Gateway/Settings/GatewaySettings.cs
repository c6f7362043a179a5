// A gateway's own settings. The settings of its metrics are in a separate options class.
using System.Net;
using Atelier.Configuration;
using Atelier.Contracts.Tenants;
using Atelier.ServiceDefaults;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Atelier.Gateway.Settings;

/// <summary>A gateway: its address, its limits, and its connection to the cluster.</summary>
[Section("Gateway")]
public sealed record GatewaySettings
{
    /// <summary>Maximum length of an API key, in characters.</summary>
    public const int KeyLengthMax = 256;

    /// <summary>Maximum size of a request's body, in bytes.</summary>
    public const int RequestBytesMax = 1 << 20;

    /// <summary>Maximum size of a body with training data, in bytes.</summary>
    public const int DataBytesMax = 16 << 20;

    /// <summary>Minimum length of the administrator's key, in characters.</summary>
    public const int AdminKeyLengthMin = 32;

    /// <summary>Gets the IP address at which clients reach the gateway.</summary>
    /// <value>The default is the loopback address.</value>
    public string Address { get; init; } = "127.0.0.1";

    /// <summary>Gets the port at which clients reach the gateway.</summary>
    /// <value>The default is 8080.</value>
    [Bounds(1, 65535)]
    public int Port { get; init; } = 8080;

    /// <summary>Gets the administrator's key, of 32 to 256 characters.</summary>
    /// <remarks>Anyone who has it can administer all tenants.</remarks>
    /// <value>The default is none: the gateway refuses administrative requests.</value>
    public string? AdminKey { get; init; }

    /// <summary>
    /// Gets the maximum number of requests of one tenant per second through this gateway. The limit keeps one tenant
    /// from overloading the gateway; limits across the cluster are among the tenant's own settings.
    /// </summary>
    /// <value>The default is 100.</value>
    [Bounds(1, 1_000_000)]
    public int RequestsPerSecond { get; init; } = 100;

    /// <summary>Gets the maximum number of requests of one tenant in a burst.</summary>
    /// <value>The default is 200.</value>
    [Bounds(1, 1_000_000)]
    public int RequestsBurst { get; init; } = 200;

    /// <summary>
    /// Gets the maximum number of unknown keys that are looked up per second; a burst may be 5 times as large.
    /// </summary>
    /// <remarks>Beyond that, keys that the gateway has not seen before are refused without a lookup.</remarks>
    /// <value>The default is 20.</value>
    [Bounds(1, 1_000_000)]
    public int UnknownKeysPerSecond { get; init; } = 20;

    /// <summary>Gets the maximum number of open connections.</summary>
    /// <remarks>
    /// At the limit, the connection that has been idle longest is closed for each new one; if none is idle, the new one
    /// is closed immediately. Requests without a key (links to pictures, the API reference) may hold at most a tenth of
    /// the connections. If connections per address are limited, one address may hold at most a quarter of that tenth.
    /// </remarks>
    /// <value>The default is 10,000.</value>
    [Bounds(1, 1_000_000)]
    public int ConnectionsMax { get; init; } = 10_000;

    /// <summary>
    /// Gets the maximum number of open connections from one address; an IPv6 /64 counts as one address. Requests
    /// without a key are also limited by address, at the rate of a tenant. 0 disables both limits; then
    /// <see cref="KeylessPerSecond"/> applies.
    /// </summary>
    /// <remarks>
    /// It must be 0 behind a load balancer, because all clients then have the load balancer's address.
    /// </remarks>
    /// <value>The default is 1,000, or 0 if the gateway listens on a loopback address.</value>
    [Bounds(0, 1_000_000)]
    public int? ConnectionsPerAddress { get; init; }

    /// <summary>
    /// Gets the maximum number of requests without a key per second, from all clients together; a burst may be twice as
    /// large.
    /// </summary>
    /// <remarks>It applies only if <see cref="ConnectionsPerAddress"/> is 0.</remarks>
    /// <value>The default is 1,000.</value>
    [Bounds(1, 1_000_000)]
    public int KeylessPerSecond { get; init; } = 1000;

    /// <summary>Gets how long a connection may be idle.</summary>
    /// <remarks>A load balancer's idle timeout must be shorter.</remarks>
    /// <value>The default is 75 seconds.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan IdleTimeout { get; init; } = TimeSpan.FromSeconds(75);

    /// <summary>
    /// Gets the maximum number of requests that one tenant may have in progress: streams, and requests that are waiting
    /// for their responses.
    /// </summary>
    /// <remarks>Each of them holds a connection.</remarks>
    /// <value>The default is 1,000, or a tenth of the connections if that is less.</value>
    [Bounds(1, 1_000_000)]
    public int? OpenRequestsPerTenant { get; init; }

    /// <summary>Gets how long a request to OpenAI's images route may continue without transferring a byte.</summary>
    /// <value>The default is 30 minutes, which is longer than the clients' own timeouts.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan PictureTimeout { get; init; } = TimeSpan.FromMinutes(30);

    /// <summary>Gets how long requests in progress may take to finish when the gateway stops.</summary>
    /// <remarks>A supervisor must allow slightly more time.</remarks>
    /// <value>The default is 25 seconds.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan ShutdownTimeout { get; init; } = TimeSpan.FromSeconds(25);

    /// <summary>Gets the cluster's name.</summary>
    /// <value>The default is "atelier".</value>
    [Key("Cluster:Id"), ClusterWide]
    public string ClusterId { get; init; } = "atelier";

    /// <summary>Gets the secret that all silos and gateways share, 32 bytes or more in base64.</summary>
    /// <value>Required.</value>
    [Key("Cluster:Secret"), ClusterWide]
    public string Secret { get; init; } = "";

    /// <summary>
    /// Gets another secret, also 32 bytes or more in base64, that is accepted beside <see cref="Secret"/>, so that the
    /// secret can be rotated without downtime.
    /// </summary>
    /// <remarks>Anyone who knows it can administer the cluster. Remove it when the rotation is over.</remarks>
    /// <value>The default is none.</value>
    [Key("Cluster:AcceptedSecret")]
    public string? AcceptedSecret { get; init; }

    /// <summary>Gets whether connections to silos use TLS, with keys derived from the secret.</summary>
    /// <remarks>Silos allow false only on a loopback address.</remarks>
    /// <value>The default is true.</value>
    [Key("Cluster:Tls"), ClusterWide]
    public bool Tls { get; init; } = true;

    /// <summary>
    /// Gets the connection string of the Redis server that stores the cluster's membership, in the format of
    /// StackExchange.Redis; null if <see cref="Silos"/> lists the silos.
    /// </summary>
    /// <value>The default is none: <see cref="Silos"/> lists the silos.</value>
    [Key("Store:Redis"), ClusterWide]
    public string? Redis { get; init; }

    /// <summary>
    /// Gets the endpoints at which silos accept gateways, as addresses with ports. They are needed in a cluster without
    /// Redis.
    /// </summary>
    /// <value>The default is none: the gateway reads the endpoints from Redis.</value>
    [Key("Cluster:Silos")]
    public IReadOnlyList<string> Silos { get; init; } = [];

    /// <summary>Gets the effective value of <see cref="ConnectionsPerAddress"/>.</summary>
    public int AddressBound => ConnectionsPerAddress ?? (IPAddress.IsLoopback(IPAddress.Parse(Address)) ? 0 : 1000);

    /// <summary>Gets the effective value of <see cref="OpenRequestsPerTenant"/>.</summary>
    public int TenantRequestBound => OpenRequestsPerTenant ?? Math.Clamp(ConnectionsMax / 10, 1, 1000);

    /// <summary>Gets the maximum number of requests without a key that may be in progress.</summary>
    public int KeylessRequestBound => Math.Max(1, ConnectionsMax / 10);

    /// <summary>The cluster's secret as bytes.</summary>
    public byte[] SecretBytes() => Convert.FromBase64String(Secret);

    /// <summary>The other secret that is accepted, as bytes; null if there is none.</summary>
    public byte[]? AcceptedSecretBytes() => AcceptedSecret is null ? null : Convert.FromBase64String(AcceptedSecret);

    /// <summary>The endpoints at which silos accept gateways, from <see cref="Silos"/>.</summary>
    public IPEndPoint[] SiloEndpoints() => [.. Silos.Select(IPEndPoint.Parse)];

    /// <summary>Connection options of Redis; null if the cluster does not use it.</summary>
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
                + $"{Key(nameof(options.RequestsPerSecond))} ({options.RequestsPerSecond}): if a tenant sends the "
                + "requests of a whole second at once, some of them are refused.";
        }

        if (options.TenantRequestBound >= options.ConnectionsMax)
        {
            yield return $"{Key(nameof(options.OpenRequestsPerTenant))} is {options.TenantRequestBound}, not less than "
                + $"{Key(nameof(options.ConnectionsMax))} ({options.ConnectionsMax}): one tenant's streams can take "
                + "all connections.";
        }

        if (ClusterSecrets.Warning(Key(nameof(options.AcceptedSecret)), options.AcceptedSecret) is { } open)
        {
            yield return open;
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

        // The message does not repeat the key, because it ends up in logs.
        if (options.AdminKey is { Length: < GatewaySettings.AdminKeyLengthMin or > GatewaySettings.KeyLengthMax }
            || options.AdminKey?.Any(char.IsWhiteSpace) == true)
        {
            yield return $"{Key(nameof(options.AdminKey))} must have {GatewaySettings.AdminKeyLengthMin} to "
                + $"{GatewaySettings.KeyLengthMax} characters and no white space.";
        }

        foreach (string fault in ClusterSecrets.Faults(
            Key(nameof(options.Secret)), options.Secret, Key(nameof(options.AcceptedSecret)), options.AcceptedSecret))
        {
            yield return fault;
        }

        string redis = Key(nameof(options.Redis)), silos = Key(nameof(options.Silos));
        if ((options.Redis is null) == (options.Silos.Count == 0))
        {
            yield return $"Either {redis} must be the address of the cluster's store, for example 127.0.0.1:6379, or "
                + $"{silos}:0 and so on must be the endpoints at which silos accept gateways, for example "
                + "127.0.0.1:30000.";
        }

        if (options.Redis is not null && !IsStore(options.Redis))
        {
            yield return
                $"{redis} must be a StackExchange.Redis configuration string, for example "
                + "127.0.0.1:6379,password=...";
        }

        foreach (string silo in options.Silos.Where(
            silo => !IPEndPoint.TryParse(silo, out IPEndPoint? address) || address.Port == 0))
        {
            yield return $"{silos} has {silo}; each entry must be an IP address with a port, such as 127.0.0.1:30000.";
        }
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
