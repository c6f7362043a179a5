// Puts a silo together: the store, Orleans, the grains, the blobs, the device, and the HTTP API.
using System.Net;
using Atelier.Contracts;
using Atelier.Grains.Hosting;
using Atelier.Grains.Ports;
using Atelier.Model.Runtime;
using Atelier.ServiceDefaults;
using Atelier.Silo.Api;
using Atelier.Silo.Blobs;
using Atelier.Silo.Devices;
using Orleans.Configuration;
using Orleans.Runtime.MembershipService.SiloMetadata;
using Orleans.Storage;
using StackExchange.Redis;

namespace Atelier.Silo.Hosting;

/// <summary>The silo's process.</summary>
public static partial class SiloHost
{
    private const int WrongConfiguration = 2;

    // What goes for every call between grains: an answer comes soon, or its outcome is unknown and is asked about.
    private static readonly TimeSpan s_callTimeout = TimeSpan.FromSeconds(4);

    /// <summary>Runs a silo until it is told to stop.</summary>
    /// <param name="args">Settings on the command line.</param>
    /// <param name="configure">Changes the services once all are there.</param>
    /// <returns>The process's exit code.</returns>
    public static async Task<int> RunAsync(string[] args, Action<IServiceCollection>? configure = null)
    {
        WebApplicationBuilder builder = WebApplication.CreateBuilder(new WebApplicationOptions
        {
            Args = args, ContentRootPath = AppContext.BaseDirectory,
        });
        SiloSettings settings;
        try
        {
            settings = SiloSettings.Read(builder.Configuration);
        }
        catch (ArgumentException error)
        {
            await Console.Error.WriteLineAsync($"atelier: {error.Message}");
            return WrongConfiguration;
        }

        using EmbeddedStore? store = settings.Redis is null ? new EmbeddedStore(settings) : null;
        ConfigurationOptions storeOptions = settings.StoreOptions(store?.Password ?? "");
        IReadOnlyList<string> warnings = [];
        try
        {
            warnings = store is null ? await StoreChecks.RunAsync(storeOptions) : [];
        }
        catch (Exception error) when (error is InvalidOperationException or RedisConnectionException)
        {
            await Console.Error.WriteLineAsync($"atelier: {error.Message}");
            return WrongConfiguration;
        }

        Configure(builder, settings, storeOptions);
        configure?.Invoke(builder.Services);
        await using WebApplication app = builder.Build();
        foreach (string warning in warnings)
        {
            LogStoreWarning(app.Logger, warning);
        }

        app.MapServiceDefaults();
        app.MapAtelierApi();
        await app.RunAsync();
        return 0;
    }

    private static void Configure(WebApplicationBuilder builder, SiloSettings settings, ConfigurationOptions store)
    {
        builder.AddServiceDefaults();
        builder.Logging.AddFilter("Orleans", LogLevel.Warning).AddFilter("Microsoft", LogLevel.Warning);
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.MaxRequestBodySize = RequestBody.BytesMax;
            kestrel.Limits.MinRequestBodyDataRate = new(bytesPerSecond: 240, gracePeriod: TimeSpan.FromSeconds(5));
            kestrel.Listen(IPAddress.Parse(settings.Address), settings.HttpPort);
        });
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = settings.ShutdownTimeout);
        builder.Services.AddSingleton(settings);
        builder.Services.AddSingleton(TimeProvider.System);
        builder.Services.AddSingleton(services => new Tickets(settings.SecretBytes(), services.GetRequiredService<TimeProvider>()));
        AddBlobs(builder.Services, settings);
        builder.Services.AddAtelierApi();
        if (settings.Roles.HasFlag(SiloRoles.Inference))
        {
            AddDevice(builder.Services, settings);
        }

        builder.UseOrleans(silo => ConfigureSilo(silo, settings, store));
    }

    private static void AddBlobs(IServiceCollection services, SiloSettings settings) =>
        services.AddSingleton<IBlobStore>(provider => settings.Azure is { } connection
            ? new AzureBlobStore(new AzureBlobStoreOptions { Connection = connection, Container = settings.AzureContainer })
            : new FolderBlobStore(new FolderBlobStoreOptions { Folder = settings.BlobFolder }, provider.GetRequiredService<TimeProvider>()));

    private static void AddDevice(IServiceCollection services, SiloSettings settings) => services.AddSingleton<IDeviceHost>(provider =>
    {
        Libtorch.Load();
        DeviceModel[] models =
        [
            .. settings.ModelFolders.Select((folder, i) =>
                DeviceModel.Open(folder, isDefault: i == 0, i == 0 ? [.. settings.ModelAliases] : [])),
        ];
        return new TorchDeviceHost(models, settings.Device, provider.GetRequiredService<TimeProvider>());
    });

    private static void ConfigureSilo(ISiloBuilder silo, SiloSettings settings, ConfigurationOptions store)
    {
        silo.Configure<SiloOptions>(options => options.SiloName = settings.Name);
        silo.Configure<ClusterOptions>(options => (options.ClusterId, options.ServiceId) = (settings.ClusterId, settings.ClusterId));
        silo.ConfigureEndpoints(IPAddress.Parse(settings.Address), settings.Port, settings.ProxyPort, listenOnAnyHostAddress: false);
        silo.UseRedisClustering(options => options.ConfigurationOptions = store);
        silo.Services.AddSingleton<OrleansGrainStorageSerializer>();
        silo.AddRedisGrainStorageAsDefault((Microsoft.Extensions.Options.OptionsBuilder<Orleans.Persistence.RedisStorageOptions> options) =>
            options.Configure<OrleansGrainStorageSerializer>((redis, serializer) =>
            {
                redis.ConfigurationOptions = store;
                redis.GrainStorageSerializer = serializer;
                redis.DeleteStateOnClear = true;
            }));
        silo.UseRedisReminderService(options => options.ConfigurationOptions = store);
        silo.Configure<SiloMessagingOptions>(options => options.ResponseTimeout = s_callTimeout);

        // A dead silo is known after about three seconds; see docs/guarantees.md.
        silo.Configure<ClusterMembershipOptions>(options =>
        {
            options.ProbeTimeout = TimeSpan.FromSeconds(1);
            options.NumMissedProbesLimit = 2;
            options.NumVotesForDeathDeclaration = 2;
            options.TableRefreshTimeout = TimeSpan.FromSeconds(5);
            options.IAmAliveTablePublishTimeout = TimeSpan.FromSeconds(5);
            options.DefunctSiloExpiration = TimeSpan.FromHours(1);
            options.DefunctSiloCleanupPeriod = TimeSpan.FromMinutes(10);
        });
        silo.UseSiloMetadata(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            [IClusterGrain.AddressMetadata] = $"http://{settings.Address}:{settings.HttpPort}",
            [IClusterGrain.DevicesMetadata] = settings.Roles.HasFlag(SiloRoles.Inference) ? settings.Device.Name : "",
            [ControlSiloAttribute.Metadata] = settings.Roles.HasFlag(SiloRoles.Control) ? "true" : "false",
        });
        silo.AddAtelierGrains();
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Warning}")]
    private static partial void LogStoreWarning(ILogger logger, string warning);
}
