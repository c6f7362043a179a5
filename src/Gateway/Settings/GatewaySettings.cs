// All that a gateway is told from outside, read once at start. Whatever is wrong is said in one go, with the name of
// the setting and what would be right.
using System.Net;
using Atelier.Contracts.Tenants;
using Atelier.ServiceDefaults;
using StackExchange.Redis;

namespace Atelier.Gateway.Settings;

/// <summary>A gateway's settings.</summary>
public sealed record GatewaySettings
{
    /// <summary>Most characters of a key.</summary>
    public const int KeyLengthMax = 256;

    /// <summary>Most bytes of a request's body.</summary>
    public const int RequestBytesMax = 1 << 20;

    /// <summary>Fewest characters of the administrator's key.</summary>
    public const int AdminKeyLengthMin = 32;

    /// <summary>Gets the IP address at which clients reach it ("Gateway:Address").</summary>
    /// <value>The default is the loopback address.</value>
    public string Address { get; init; } = "127.0.0.1";

    /// <summary>Gets the port at which clients reach it ("Gateway:Port").</summary>
    /// <value>The default is 8080.</value>
    public int Port { get; init; } = 8080;

    /// <summary>Gets where metrics are scraped ("Metrics:Address", "Metrics:Port").</summary>
    /// <value>The default is nowhere.</value>
    public MetricsListener Metrics { get; init; } = new();

    /// <summary>
    /// Gets the administrator's key ("Gateway:AdminKey"); without one nobody administers through this gateway.
    /// </summary>
    public string? AdminKey { get; init; }

    /// <summary>
    /// Gets the requests of one tenant that this gateway lets through in a second ("Gateway:RequestsPerSecond"). It
    /// keeps one tenant from filling the gateway; what a tenant may do in all is the tenant's own setting.
    /// </summary>
    /// <value>The default is 100.</value>
    public int RequestsPerSecond { get; init; } = 100;

    /// <summary>Gets the requests that a tenant may make at once after a pause ("Gateway:RequestsBurst").</summary>
    /// <value>The default is 200.</value>
    public int RequestsBurst { get; init; } = 200;

    /// <summary>
    /// Gets the rate of unknown keys a second that are looked up ("Gateway:UnknownKeysPerSecond"), with a burst of 5
    /// seconds' worth. Beyond that, keys that this gateway has not seen are refused without a lookup.
    /// </summary>
    /// <value>The default is 20.</value>
    public int UnknownKeysPerSecond { get; init; } = 20;

    /// <summary>
    /// Gets the connections that are open at a time ("Gateway:ConnectionsMax"). One more closes the connection that has
    /// been idle for the longest time; if none is idle, the new one is closed immediately.
    /// </summary>
    /// <value>The default is 10,000.</value>
    public int ConnectionsMax { get; init; } = 10_000;

    /// <summary>
    /// Gets the most connections of one address at a time ("Gateway:ConnectionsPerAddress"); an IPv6 /64 counts as one
    /// address. Requests that need no key are bounded by address too, as a tenant's are. 0 disables both: for gateways
    /// behind a load balancer, whose address all clients then have.
    /// </summary>
    /// <value>The default is 1,000, or 0 where the gateway listens on a loopback address.</value>
    public int? ConnectionsPerAddress { get; init; }

    /// <summary>
    /// Gets how long a connection may be idle ("Gateway:IdleTimeout"). A load balancer's idle timeout must be shorter.
    /// </summary>
    /// <value>The default is 75 seconds.</value>
    public TimeSpan IdleTimeout { get; init; } = TimeSpan.FromSeconds(75);

    /// <summary>
    /// Gets the requests of one tenant that are in progress at a time ("Gateway:OpenRequestsPerTenant"): streams, and
    /// requests that wait for their answers.
    /// </summary>
    /// <value>The default is 1,000.</value>
    public int OpenRequestsPerTenant { get; init; } = 1000;

    /// <summary>
    /// Gets how long a request for OpenAI's pictures may take without a byte ("Gateway:PictureTimeout").
    /// </summary>
    /// <value>The default is 30 minutes: the clients' own patience ends sooner.</value>
    public TimeSpan PictureTimeout { get; init; } = TimeSpan.FromMinutes(30);

    /// <summary>
    /// Gets how long requests have to end when the gateway is told to stop ("Gateway:ShutdownTimeout").
    /// </summary>
    /// <value>The default is 25 seconds; a supervisor must grant a little more.</value>
    public TimeSpan ShutdownTimeout { get; init; } = TimeSpan.FromSeconds(25);

    /// <summary>Gets the cluster's name ("Cluster:Id").</summary>
    /// <value>The default is "atelier".</value>
    public string ClusterId { get; init; } = "atelier";

    /// <summary>
    /// Gets the secret that all silos and gateways share, 32 bytes or more in base64 ("Cluster:Secret").
    /// </summary>
    public string Secret { get; init; } = "";

    /// <summary>
    /// Gets whether it talks to silos over TLS with keys derived from the secret ("Cluster:Tls"). All silos and
    /// gateways of a cluster have the same.
    /// </summary>
    /// <value>The default is true; silos allow false on a loopback address only.</value>
    public bool Tls { get; init; } = true;

    /// <summary>
    /// Gets the store that holds the cluster's membership, as StackExchange.Redis writes it ("Store:Redis"); null where
    /// <see cref="Silos"/> names the silos.
    /// </summary>
    public string? Redis { get; init; }

    /// <summary>
    /// Gets where the silos of a cluster without a Redis listen for gateways, as addresses with ports
    /// ("Cluster:Silos:0" ...).
    /// </summary>
    public IReadOnlyList<string> Silos { get; init; } = [];

    /// <summary>Reads settings.</summary>
    /// <exception cref="ArgumentException">
    /// Some are wrong; the message names each and says what would be right.
    /// </exception>
    public static GatewaySettings Read(IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        var faults = new List<string>();
        var reader = new SettingsReader(configuration, faults);
        var standard = new GatewaySettings();
        var settings = new GatewaySettings
        {
            Address = reader.Text("Gateway:Address", standard.Address),
            Port = reader.Number("Gateway:Port", standard.Port, 1, 65535),
            Metrics = MetricsListener.Read(reader),
            AdminKey = reader.Optional("Gateway:AdminKey"),
            RequestsPerSecond = reader.Number("Gateway:RequestsPerSecond", standard.RequestsPerSecond, 1, 1_000_000),
            RequestsBurst = reader.Number("Gateway:RequestsBurst", standard.RequestsBurst, 1, 1_000_000),
            UnknownKeysPerSecond = reader.Number(
                "Gateway:UnknownKeysPerSecond", standard.UnknownKeysPerSecond, 1, 1_000_000),
            ConnectionsMax = reader.Number("Gateway:ConnectionsMax", standard.ConnectionsMax, 1, 1_000_000),
            ConnectionsPerAddress = reader.Optional("Gateway:ConnectionsPerAddress") is null
                ? null : reader.Number("Gateway:ConnectionsPerAddress", 0, 0, 1_000_000),
            IdleTimeout = reader.Time("Gateway:IdleTimeout", standard.IdleTimeout),
            OpenRequestsPerTenant = reader.Number(
                "Gateway:OpenRequestsPerTenant", standard.OpenRequestsPerTenant, 1, 1_000_000),
            PictureTimeout = reader.Time("Gateway:PictureTimeout", standard.PictureTimeout),
            ShutdownTimeout = reader.Time("Gateway:ShutdownTimeout", standard.ShutdownTimeout),
            ClusterId = reader.Text("Cluster:Id", standard.ClusterId),
            Secret = reader.Text("Cluster:Secret", ""),
            Tls = reader.Flag("Cluster:Tls", standard.Tls),
            Redis = reader.Optional("Store:Redis"),
            Silos = reader.List("Cluster:Silos", standard.Silos),
        };
        faults.AddRange(settings.Faults());
        return faults.Count == 0
            ? settings
            : throw new ArgumentException(
                "This gateway cannot start as it is configured:\n  " + string.Join("\n  ", faults));
    }

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

    private IEnumerable<string> Faults()
    {
        if (!IPAddress.TryParse(Address, out _))
        {
            yield return $"Gateway:Address must be an IP address, not '{Address}'.";
        }

        if (Metrics.Fault(Port) is { } fault)
        {
            yield return fault;
        }

        // A secret is not repeated: what is wrong with it ends in logs.
        if (AdminKey is { Length: < AdminKeyLengthMin } or { Length: > KeyLengthMax }
            || AdminKey?.Any(char.IsWhiteSpace) == true)
        {
            yield return
                $"Gateway:AdminKey must have {AdminKeyLengthMin} to {KeyLengthMax} characters and no white space.";
        }

        if (!IsSecret(Secret))
        {
            yield return
                $"Cluster:Secret must be {Tickets.SecretBytesMin} bytes or more in base64, the same for all silos and "
                + "gateways.";
        }

        if ((Redis is null) == (Silos.Count == 0))
        {
            yield return "Store:Redis must say where the cluster's store is, for example 127.0.0.1:6379; or "
                + "Cluster:Silos:0 and so on where its silos listen for gateways, for example 127.0.0.1:30000; "
                + "one of the two.";
        }

        if (Redis is not null && !IsStore(Redis))
        {
            yield return
                "Store:Redis must be written as StackExchange.Redis does, for example 127.0.0.1:6379,password=...";
        }

        foreach (string silo in Silos.Where(
            silo => !IPEndPoint.TryParse(silo, out IPEndPoint? address) || address.Port == 0))
        {
            yield return $"Cluster:Silos must be IP addresses with ports, for example 127.0.0.1:30000, not '{silo}'.";
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
