// A silo's own settings. The settings of its grains, store, device and metrics are in separate options classes.
using System.Net;
using Atelier.Configuration;
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Workers;
using Atelier.ServiceDefaults;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Atelier.Silo.Hosting;

/// <summary>Roles of a silo in its cluster.</summary>
[Flags]
public enum SiloRoles
{
    /// <summary>No role.</summary>
    None = 0,

    /// <summary>Holds sessions, generations, queues and tenants.</summary>
    Control = 1,

    /// <summary>Owns a device that draws pictures.</summary>
    Inference = 2,

    /// <summary>Lends its device to training.</summary>
    Training = 4,
}

/// <summary>A silo: its identity, its roles, and the settings that it shares with its cluster.</summary>
[Section("Silo")]
public sealed record SiloSettings
{
    /// <summary>Gets the silo's name, unique in its cluster.</summary>
    /// <value>The default is the machine's name.</value>
    public string Name { get; init; } = Environment.MachineName;

    /// <summary>
    /// Gets the silo's roles: control (holds the grains' states), inference (draws pictures), training (lends its
    /// device to training).
    /// </summary>
    /// <value>The default is control and inference.</value>
    public SiloRoles Roles { get; init; } = SiloRoles.Control | SiloRoles.Inference;

    /// <summary>Gets the pool to which the silo belongs: silos that are alike and are scaled together.</summary>
    /// <remarks>An autoscaler asks for the number of silos of a pool by this name.</remarks>
    /// <value>The default is "default".</value>
    public string Pool { get; init; } = "default";

    /// <summary>Gets the IP address at which other silos and the gateways reach the silo.</summary>
    /// <value>The default is the loopback address.</value>
    public string Address { get; init; } = "127.0.0.1";

    /// <summary>Gets the port for other silos.</summary>
    /// <value>The default is 11111.</value>
    [Bounds(1, 65535)]
    public int Port { get; init; } = 11111;

    /// <summary>Gets the port for gateways.</summary>
    /// <value>The default is 30000.</value>
    [Bounds(1, 65535)]
    public int ProxyPort { get; init; } = 30000;

    /// <summary>Gets the port of the HTTP API.</summary>
    /// <value>The default is 8081.</value>
    [Bounds(1, 65535)]
    public int HttpPort { get; init; } = 8081;

    /// <summary>Gets the maximum number of open connections to the HTTP API; further ones are closed.</summary>
    /// <remarks>
    /// Each request that a gateway forwards holds one. If the limit is below the sum of Gateway:ConnectionsMax over all
    /// gateways, a busy silo may look like a broken one.
    /// </remarks>
    /// <value>The default is 20,000, enough for two gateways.</value>
    [Bounds(1, 1_000_000)]
    public int HttpConnectionsMax { get; init; } = 20_000;

    /// <summary>Gets the time limit of a graceful shutdown.</summary>
    /// <remarks>
    /// A supervisor must allow slightly more time. The limit must be longer than
    /// <see cref="WorkerOptions.DrainTimeout"/>, in which workers return their work.
    /// </remarks>
    /// <value>The default is 25 seconds.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan ShutdownTimeout { get; init; } = TimeSpan.FromSeconds(25);

    /// <summary>Gets the cluster's name, which separates its keys in the store from those of other clusters.</summary>
    /// <remarks>States that were stored under another name are not read.</remarks>
    /// <value>The default is "atelier".</value>
    [Key("Cluster:Id"), ClusterWide]
    public string ClusterId { get; init; } = "atelier";

    /// <summary>Gets the secret that all silos and gateways share, 32 bytes or more in base64.</summary>
    /// <remarks>Anyone who knows it can administer the cluster.</remarks>
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

    /// <summary>
    /// Gets whether the ports for silos and gateways are secured by TLS, with keys derived from the secret.
    /// </summary>
    /// <remarks>
    /// Without TLS, anyone who reaches these ports can administer the cluster, so silos allow false only on a loopback
    /// address.
    /// </remarks>
    /// <value>The default is true.</value>
    [Key("Cluster:Tls"), ClusterWide]
    public bool Tls { get; init; } = true;

    /// <summary>
    /// Gets the connection string of the Redis server that stores the cluster's states, in the format of
    /// StackExchange.Redis.
    /// </summary>
    /// <remarks>
    /// Without Redis, silos store the states in a database in a folder, and gateways must be given the silos'
    /// endpoints.
    /// </remarks>
    /// <value>The default is none: a database on this machine.</value>
    [Key("Store:Redis"), ClusterWide]
    public string? Redis { get; init; }

    /// <summary>Gets the folders of the models that the device can load; the first is the default model.</summary>
    /// <value>The default is an empty list; a silo with the inference role needs at least one folder.</value>
    [Key("Models:Folders")]
    public IReadOnlyList<string> ModelFolders { get; init; } = [];

    /// <summary>Gets other names of the default model.</summary>
    /// <value>The defaults are "gpt-image-1" and "dall-e-3".</value>
    [Key("Models:Aliases")]
    public IReadOnlyList<string> ModelAliases { get; init; } = ["gpt-image-1", "dall-e-3"];

    /// <summary>The cluster's secret as bytes.</summary>
    public byte[] SecretBytes() => Convert.FromBase64String(Secret);

    /// <summary>The other secret that is accepted, as bytes; null if there is none.</summary>
    public byte[]? AcceptedSecretBytes() => AcceptedSecret is null ? null : Convert.FromBase64String(AcceptedSecret);

    /// <summary>Connection options of Redis; null if the store is a database on this machine.</summary>
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

/// <summary>Validates a silo's settings, also in relation to the settings of its metrics and its workers.</summary>
internal sealed class SiloSettingsValidator(IOptions<MetricsListener> metrics, IOptions<WorkerOptions> worker)
    : OptionsValidator<SiloSettings>
{
    public override IEnumerable<string> Warnings(SiloSettings options)
    {
        if (worker.ValueIfValid() is { } drain
            && options.ShutdownTimeout <= drain.DrainTimeout + (2 * drain.IdlePeriod))
        {
            yield return $"{Key(nameof(options.ShutdownTimeout))} is {options.ShutdownTimeout}: it ends a silo before "
                + "its workers have drained, which takes up to "
                + $"{OptionKey.PathOf<WorkerOptions>(nameof(WorkerOptions.DrainTimeout))} ({drain.DrainTimeout}) plus "
                + $"twice {OptionKey.PathOf<WorkerOptions>(nameof(WorkerOptions.IdlePeriod))}.";
        }

        if (ClusterSecrets.Warning(Key(nameof(options.AcceptedSecret)), options.AcceptedSecret) is { } open)
        {
            yield return open;
        }
    }

    protected override IEnumerable<string> Faults(SiloSettings options)
    {
        if (!Names.AreValid(options.Name))
        {
            yield return $"{Key(nameof(options.Name))} is {options.Name}; it must have {Names.Rule}.";
        }

        if (!Names.AreValid(options.Pool))
        {
            yield return $"{Key(nameof(options.Pool))} is {options.Pool}; it must have {Names.Rule}.";
        }

        if (options.Roles == SiloRoles.None)
        {
            yield return
                $"{Key(nameof(options.Roles))} must be one or more of control, inference and training, "
                + "separated by commas.";
        }

        if (!IPAddress.TryParse(options.Address, out IPAddress? address))
        {
            yield return $"{Key(nameof(options.Address))} is {options.Address}; it must be an IP address.";
        }
        else if (!options.Tls && !IPAddress.IsLoopback(address))
        {
            yield return $"{Key(nameof(options.Tls))} must not be false while {Key(nameof(options.Address))} is "
                + $"{address}: anyone who reaches ports {options.Port} and {options.ProxyPort} there could "
                + "administer the cluster. Remove the setting, on silos and gateways alike.";
        }

        if (MetricsListenerValidator.Clash(
            metrics.ValueIfValid(), (Key(nameof(options.Port)), options.Port),
            (Key(nameof(options.ProxyPort)), options.ProxyPort), (Key(nameof(options.HttpPort)), options.HttpPort))
            is { } clash)
        {
            yield return clash;
        }

        foreach (string fault in ClusterSecrets.Faults(
            Key(nameof(options.Secret)), options.Secret, Key(nameof(options.AcceptedSecret)), options.AcceptedSecret))
        {
            yield return fault;
        }

        // The message does not repeat the text, because the text may contain a password.
        if (options.Redis is not null && !IsRedis(options.Redis))
        {
            yield return $"{Key(nameof(options.Redis))} must be a StackExchange.Redis configuration string, for "
                + "example 127.0.0.1:6379,password=...";
        }

        if (options.Roles.HasFlag(SiloRoles.Inference) && options.ModelFolders.Count == 0)
        {
            yield return $"{Key(nameof(options.ModelFolders))}:0 must be a model's folder, because this silo has the "
                + "inference role.";
        }
    }

    private static bool IsRedis(string text)
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
