// All that a silo is told from outside, read once at start. Whatever is wrong is said in one go, with the name of the
// setting and what would be right.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Generations;
using Atelier.Grains.Hosting;
using Atelier.ServiceDefaults;
using Atelier.Silo.Devices;
using Atelier.Silo.Store;
using StackExchange.Redis;

namespace Atelier.Silo.Hosting;

/// <summary>What a silo does for its cluster.</summary>
[Flags]
public enum SiloRoles
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Holds sessions, generations, queues and tenants.</summary>
    Control = 1,

    /// <summary>Owns a device that draws pictures.</summary>
    Inference = 2,

    /// <summary>Lends its device to training.</summary>
    Training = 4,
}

/// <summary>A silo's settings.</summary>
public sealed record SiloSettings
{
    /// <summary>Gets the silo's name, which no other silo of the cluster has ("Silo:Name").</summary>
    /// <value>The default is the machine's name.</value>
    public string Name { get; init; } = Environment.MachineName;

    /// <summary>Gets what it does ("Silo:Roles", with commas between).</summary>
    /// <value>The default is control and inference.</value>
    public SiloRoles Roles { get; init; } = SiloRoles.Control | SiloRoles.Inference;

    /// <summary>Gets the IP address at which other silos and the gateways reach it ("Silo:Address").</summary>
    /// <value>The default is the loopback address.</value>
    public string Address { get; init; } = "127.0.0.1";

    /// <summary>Gets the port on which silos talk ("Silo:Port").</summary>
    /// <value>The default is 11111.</value>
    public int Port { get; init; } = 11111;

    /// <summary>Gets the port on which gateways talk to the cluster ("Silo:ProxyPort").</summary>
    /// <value>The default is 30000.</value>
    public int ProxyPort { get; init; } = 30000;

    /// <summary>Gets the port of the HTTP API ("Silo:HttpPort").</summary>
    /// <value>The default is 8081.</value>
    public int HttpPort { get; init; } = 8081;

    /// <summary>Gets where metrics are scraped ("Metrics:Address", "Metrics:Port").</summary>
    /// <value>The default is nowhere.</value>
    public MetricsListener Metrics { get; init; } = new();

    /// <summary>
    /// Gets the cluster's name, which separates its keys in the store from other clusters' ("Cluster:Id").
    /// </summary>
    /// <value>The default is "atelier".</value>
    public string ClusterId { get; init; } = "atelier";

    /// <summary>
    /// Gets the secret that all silos and gateways share, 32 bytes or more in base64 ("Cluster:Secret").
    /// </summary>
    public string Secret { get; init; } = "";

    /// <summary>
    /// Gets whether the ports on which silos and gateways talk are secured by TLS with keys derived from the secret
    /// ("Cluster:Tls"). All silos and gateways of a cluster have the same.
    /// </summary>
    /// <value>The default is true; it may be false on a loopback address only.</value>
    public bool Tls { get; init; } = true;

    /// <summary>
    /// Gets the Redis to use, as StackExchange.Redis writes it ("Store:Redis"); null keeps a database in a folder.
    /// </summary>
    public string? Redis { get; init; }

    /// <summary>
    /// Gets the folder of the database, where no Redis is named ("Store:Folder"). All silos of the machine share it.
    /// </summary>
    /// <value>The default is "atelier-data/store".</value>
    public string StoreFolder { get; init; } = "atelier-data/store";

    /// <summary>Gets the memory for the pages of the store on this machine ("Store:MemoryMegabytes").</summary>
    /// <value>The default is 128. It bounds memory, not what is stored.</value>
    public int StoreMegabytes { get; init; } = 128;

    /// <summary>
    /// Gets the free space of the store's disk below which new work is refused ("Store:ReserveMegabytes"); work that
    /// was accepted may use it.
    /// </summary>
    /// <value>The default is 256, or a sixteenth of a disk that is smaller than 4 GiB.</value>
    public int StoreReserveMegabytes { get; init; } = 256;

    /// <summary>
    /// Gets the folder of pictures and other blobs ("Blobs:Folder"), where no Azure account is given.
    /// </summary>
    /// <value>The default is "atelier-data/blobs".</value>
    public string BlobFolder { get; init; } = "atelier-data/blobs";

    /// <summary>
    /// Gets the connection string of Azure Blob Storage ("Blobs:Azure"); none keeps blobs in a folder.
    /// </summary>
    public string? Azure { get; init; }

    /// <summary>Gets the container there ("Blobs:Container").</summary>
    /// <value>The default is "atelier".</value>
    public string AzureContainer { get; init; } = "atelier";

    /// <summary>
    /// Gets the folders of the models that the device can load ("Models:Folders:0" ...); the first is the default.
    /// </summary>
    public IReadOnlyList<string> ModelFolders { get; init; } = [];

    /// <summary>Gets other names of the default model ("Models:Aliases:0" ...).</summary>
    /// <value>The defaults are "gpt-image-1" and "dall-e-3".</value>
    public IReadOnlyList<string> ModelAliases { get; init; } = ["gpt-image-1", "dall-e-3"];

    /// <summary>
    /// Gets how long an ended generation and its picture are kept, in time in which the cluster runs
    /// ("Retention:Generations").
    /// </summary>
    /// <value>The default is 7 days. All silos of a cluster have the same.</value>
    public TimeSpan GenerationRetention { get; init; } = new GenerationOptions().Retention;

    /// <summary>
    /// Gets how long an unused session is kept, in time in which the cluster runs ("Retention:Sessions").
    /// </summary>
    /// <value>The default is 30 days. All silos of a cluster have the same.</value>
    public TimeSpan SessionRetention { get; init; } = new GrainsOptions().SessionRetention;

    /// <summary>
    /// Gets the number of partitions of the open set ("OpenSet:Partitions"). Each has room for 480 generations that
    /// were accepted and have not ended; together they should have room for all that tenants may have open.
    /// </summary>
    /// <value>
    /// The default is 256. All silos of a cluster have the same; it may change from one start to the next.
    /// </value>
    public int OpenSetPartitions { get; init; } = new GrainsOptions().OpenSetPartitions;

    /// <summary>Gets how its device is used ("Device:Threads", "Device:Slots", "Device:Work", ...).</summary>
    public TorchDeviceOptions Device { get; init; } = new();

    /// <summary>Gets how long it may take to leave ("Silo:ShutdownTimeout").</summary>
    /// <value>The default is 25 seconds; a supervisor must grant a little more.</value>
    public TimeSpan ShutdownTimeout { get; init; } = TimeSpan.FromSeconds(25);

    /// <summary>Reads settings.</summary>
    /// <exception cref="ArgumentException">
    /// Some are wrong; the message names each and says what would be right.
    /// </exception>
    public static SiloSettings Read(IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        var faults = new List<string>();
        var reader = new SettingsReader(configuration, faults);
        var standard = new SiloSettings();
        var settings = new SiloSettings
        {
            Name = reader.Text("Silo:Name", standard.Name),
            Roles = reader.Flags("Silo:Roles", standard.Roles),
            Address = reader.Text("Silo:Address", standard.Address),
            Port = reader.Number("Silo:Port", standard.Port, 1, 65535),
            ProxyPort = reader.Number("Silo:ProxyPort", standard.ProxyPort, 1, 65535),
            HttpPort = reader.Number("Silo:HttpPort", standard.HttpPort, 1, 65535),
            Metrics = MetricsListener.Read(reader),
            ShutdownTimeout = reader.Time("Silo:ShutdownTimeout", standard.ShutdownTimeout),
            ClusterId = reader.Text("Cluster:Id", standard.ClusterId),
            Secret = reader.Text("Cluster:Secret", ""),
            Tls = reader.Flag("Cluster:Tls", standard.Tls),
            Redis = reader.Optional("Store:Redis"),
            StoreFolder = reader.Text("Store:Folder", standard.StoreFolder),
            StoreMegabytes = reader.Number("Store:MemoryMegabytes", standard.StoreMegabytes, 1, 1 << 20),
            StoreReserveMegabytes = reader.Number("Store:ReserveMegabytes", standard.StoreReserveMegabytes, 0, 1 << 20),
            BlobFolder = reader.Text("Blobs:Folder", standard.BlobFolder),
            Azure = reader.Optional("Blobs:Azure"),
            AzureContainer = reader.Text("Blobs:Container", standard.AzureContainer),
            ModelFolders = reader.List("Models:Folders", standard.ModelFolders),
            ModelAliases = reader.List("Models:Aliases", standard.ModelAliases),
            GenerationRetention = reader.Time("Retention:Generations", standard.GenerationRetention),
            SessionRetention = reader.Time("Retention:Sessions", standard.SessionRetention),
            OpenSetPartitions = reader.Number(
                "OpenSet:Partitions", standard.OpenSetPartitions, 1, GrainsOptions.OpenSetPartitionsMax),
            Device = new TorchDeviceOptions
            {
                Name = reader.Text("Device:Name", standard.Device.Name),
                Roles = reader.Flags("Device:Work", standard.Device.Roles),
                Slots = reader.Number("Device:Slots", standard.Device.Slots, 1, WorkerTurn.SlotsMax),
                Rows = reader.Number("Device:Rows", standard.Device.Rows, 1, 1024),
                Threads = reader.Number("Device:Threads", standard.Device.Threads, 1, 1024),
                MemoryBytes = (long)reader
                    .Number("Device:MemoryMegabytes", (int)(standard.Device.MemoryBytes >> 20), 1, int.MaxValue) << 20,
                WorkTimeout = reader.Time("Device:WorkTimeout", standard.Device.WorkTimeout),
                LoadTimeout = reader.Time("Device:LoadTimeout", standard.Device.LoadTimeout),
            },
        };
        faults.AddRange(settings.Faults());
        return faults.Count == 0
            ? settings
            : throw new ArgumentException(
                "This silo cannot start as it is configured:\n  " + string.Join("\n  ", faults));
    }

    /// <summary>The cluster's secret.</summary>
    public byte[] SecretBytes() => Convert.FromBase64String(Secret);

    /// <summary>How the Redis is reached; null if the store is a database on this machine.</summary>
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

    /// <summary>The database on this machine.</summary>
    internal SqliteStoreOptions LocalStore() => new()
    {
        Folder = StoreFolder, ClusterId = ClusterId, MemoryBytes = (long)StoreMegabytes << 20,
        ReserveBytes = (long)StoreReserveMegabytes << 20,
    };

    /// <summary>Copies the settings that concern grains.</summary>
    internal void Apply(GrainsOptions grains) =>
        (grains.Generation.Retention, grains.SessionRetention, grains.OpenSetPartitions) =
        (GenerationRetention, SessionRetention, OpenSetPartitions);

    private IEnumerable<string> Faults()
    {
        if (!Names.AreValid(Name))
        {
            yield return $"Silo:Name must have {Names.Rule}; '{Name}' does not.";
        }

        if (Roles == SiloRoles.None)
        {
            yield return "Silo:Roles must name one or more of control, inference and training.";
        }

        if (!System.Net.IPAddress.TryParse(Address, out System.Net.IPAddress? address))
        {
            yield return $"Silo:Address must be an IP address, not '{Address}'.";
        }
        else if (!Tls && !System.Net.IPAddress.IsLoopback(address))
        {
            yield return $"Cluster:Tls must not be false while Silo:Address is {Address}: everybody who reaches ports "
                + $"{Port} and {ProxyPort} there could administer the cluster. Leave Cluster:Tls out, for silos and "
                + "gateways alike.";
        }

        if (Metrics.Fault(Port, ProxyPort, HttpPort) is { } wrong)
        {
            yield return wrong;
        }

        Span<byte> secret = stackalloc byte[1024];
        if (!Convert.TryFromBase64String(Secret, secret, out int bytes) || bytes < Tickets.SecretBytesMin)
        {
            yield return
                $"Cluster:Secret must be {Tickets.SecretBytesMin} bytes or more in base64, the same for all silos and "
                + "gateways.";
        }

        if (Roles.HasFlag(SiloRoles.Inference) && ModelFolders.Count == 0)
        {
            yield return "Models:Folders must name a model's folder, since this silo has the inference role.";
        }

        if (GenerationRetention < GenerationOptions.RetentionMin)
        {
            yield return $"Retention:Generations must be at least {GenerationOptions.RetentionMin}, "
                + $"not {GenerationRetention}.";
        }

        if (SessionRetention < GrainsOptions.SessionRetentionMin)
        {
            yield return $"Retention:Sessions must be at least {GrainsOptions.SessionRetentionMin}, "
                + $"not {SessionRetention}.";
        }

        if (Device.Fault() is { } fault)
        {
            yield return $"Device: {fault}";
        }
    }
}
