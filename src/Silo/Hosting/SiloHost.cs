// The composition of a silo: the store, Orleans, the grains, the blobs, the device, and the HTTP API.
using System.Net;
using Atelier.Configuration;
using Atelier.Contracts.Cluster;
using Atelier.Contracts.Scaling;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Hosting;
using Atelier.Grains.Placement;
using Atelier.Grains.Ports;
using Atelier.Model.Data.Caching;
using Atelier.Model.Runtime;
using Atelier.ServiceDefaults;
using Atelier.Silo.Api;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Blobs;
using Atelier.Silo.Devices;
using Atelier.Silo.Hosting.Preemption;
using Atelier.Silo.Models;
using Atelier.Silo.Scaling;
using Atelier.Silo.Store;
using Atelier.Silo.Training;
using Atelier.Silo.Training.Data;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Options;
using OpenTelemetry.Metrics;
using Orleans.Configuration;
using Orleans.Runtime.MembershipService.SiloMetadata;
using Orleans.Storage;
using StackExchange.Redis;

namespace Atelier.Silo.Hosting;

/// <summary>The silo's process.</summary>
public static class SiloHost
{
    private const int WrongConfiguration = 2;

    // The timeout of every call between grains. After a timeout the outcome is unknown, and the caller retries.
    private static readonly TimeSpan s_callTimeout = TimeSpan.FromSeconds(4);

    // An idle grain is deactivated; its state is read again at the next call.
    private static readonly TimeSpan s_idleMax = TimeSpan.FromMinutes(5);

    /// <summary>Runs a silo until it is stopped.</summary>
    /// <param name="args">Settings on the command line.</param>
    /// <param name="configure">Changes the services after all of them are registered.</param>
    /// <param name="errors">Where the reason is written if the silo cannot start; null for standard error.</param>
    /// <returns>The process's exit code.</returns>
    public static async Task<int> RunAsync(
        string[] args, Action<IServiceCollection>? configure = null, TextWriter? errors = null)
    {
        errors ??= Console.Error;
        PrivateFiles.CloseNew();
        WebApplicationBuilder builder = WebApplication.CreateBuilder(new WebApplicationOptions
        {
            Args = args, ContentRootPath = AppContext.BaseDirectory,
        });
        StartOptions options;
        try
        {
            options = ReadOptions(builder.Configuration);
        }
        catch (InvalidConfigurationException error)
        {
            await errors.WriteLineAsync($"atelier: {error.Message}");
            return WrongConfiguration;
        }

        SiloSettings settings = options.Get<SiloSettings>();
        List<string> warnings = [.. options.Warnings];
        using IClusterStore? store = await OpenStoreAsync(options, warnings, errors);
        if (store is null)
        {
            return WrongConfiguration;
        }

        int generation = await OnceAvailableAsync(
            () => store.NextGenerationAsync(
                $"{settings.Address}:{settings.Port}", SiloAddress.AllocateNewGeneration()),
            errors);
        Configure(builder, options, store);
        builder.Services.AddSingleton<ILocalSiloDetails>(new SiloDetails(settings, generation));
        configure?.Invoke(builder.Services);
        await using WebApplication app = builder.Build();
        if (OpenFault(app.Services) is { } fault)
        {
            await errors.WriteLineAsync($"atelier: {fault}");
            return WrongConfiguration;
        }

        foreach (string warning in warnings.Concat(store.Warnings))
        {
            app.Logger.StartWarning(warning);
        }

        app.MapServiceDefaults();
        ScalerListener.Map(app);
        app.MapAtelierApi();
        await app.RunAsync();
        return 0;
    }

    /// <summary>Reads the options of the silo's services and grains.</summary>
    /// <exception cref="InvalidConfigurationException">Some options are not valid.</exception>
    internal static StartOptions ReadOptions(IConfiguration configuration) =>
        StartOptions.Read("silo", configuration, services => AddOptions(services, configuration), "Cluster:Silos");

    private static void AddOptions(IServiceCollection services, IConfiguration configuration) =>
        services
            .AddOptions<SiloSettings, SiloSettingsValidator>(configuration)
            .AddOptions<MetricsListener, MetricsListenerValidator>(configuration)
            .AddOptions<ScalerListener, ScalerListenerValidator>(configuration)
            .AddOptions<SqliteStoreOptions, SqliteStoreOptionsValidator>(configuration)
            .AddOptions<FolderBlobStoreOptions, FolderBlobStoreOptionsValidator>(configuration)
            .AddOptions<AzureBlobStoreOptions, AzureBlobStoreOptionsValidator>(configuration)
            .AddOptions<TorchDeviceOptions, TorchDeviceOptionsValidator>(configuration)
            .AddOptions<ModelCacheOptions, ModelCacheOptionsValidator>(configuration)
            .AddOptions<PeerOptions, PeerOptionsValidator>(configuration)
            .AddOptions<TrainingDataOptions, TrainingDataOptionsValidator>(configuration)
            .AddOptions<PreemptionOptions, PreemptionOptionsValidator>(configuration)
            .AddGrainOptions(configuration);

    private static async Task<IClusterStore?> OpenStoreAsync(
        StartOptions options, List<string> warnings, TextWriter errors)
    {
        (SiloSettings settings, SqliteStoreOptions local) =
            (options.Get<SiloSettings>(), options.Get<SqliteStoreOptions>());
        try
        {
            if (!options.Get<AzureBlobStoreOptions>().IsUsed)
            {
                warnings.AddRange(PrivateFiles.MakeFolder(options.Get<FolderBlobStoreOptions>().Folder));
            }

            if (settings.StoreOptions() is { } redis)
            {
                return await OnceAvailableAsync(
                    () => RedisClusterStore.OpenAsync(redis, settings.ClusterId, TimeProvider.System), errors);
            }

            warnings.AddRange(PrivateFiles.MakeFolder(local.Folder));

            // Silos that start together open or upgrade the store one after the other.
            using FileStream alone = await GarnetImport.BeAloneAsync(local.Folder);
            var store = new SqliteStore(local);
            int states = await GarnetImport.RunAsync(store, local.Folder, settings.ClusterId);
            if (states > 0)
            {
                await errors.WriteLineAsync($"atelier: imported {states} states from a store of format 0");
            }

            return store;
        }
        catch (Exception error)
            when (error is InvalidOperationException or ArgumentException or IOException
                or UnauthorizedAccessException)
        {
            await errors.WriteLineAsync($"atelier: {error.Message}");
            return null;
        }
    }

    // Opens the blob store, libtorch and the models' folders, so that a silo that lacks one of them ends before it
    // joins the cluster.
    private static string? OpenFault(IServiceProvider services)
    {
        // First, because counters are exported from 0 on only if something listens when they are created.
        _ = services.GetService<MeterProvider>();
        try
        {
            _ = services.GetRequiredService<IBlobStore>();
            _ = services.GetServices<IDeviceHost>().Count();
            return null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or LibtorchException)
        {
            return error.Message;
        }
    }

    // The silo waits for a store that is full, down or not started yet; if it exited instead, it would restart in a
    // loop with growing pauses.
    private static async Task<T> OnceAvailableAsync<T>(Func<Task<T>> ask, TextWriter errors)
    {
        for (bool said = false; ; said = true)
        {
            try
            {
                return await ask();
            }
            catch (Exception error)
                when (error is StoreUnavailableException or RedisConnectionException or RedisTimeoutException)
            {
                if (!said)
                {
                    await errors.WriteLineAsync($"atelier: waiting for the store: {error.Message}");
                }

                await Task.Delay(TimeSpan.FromSeconds(1));
            }
        }
    }

    private static void Configure(WebApplicationBuilder builder, StartOptions options, IClusterStore store)
    {
        SiloSettings settings = options.Get<SiloSettings>();
        builder.AddServiceDefaults(options.Get<MetricsListener>());
        builder.Logging.AddFilter("Orleans", LogLevel.Warning).AddFilter("Microsoft", LogLevel.Warning)
            .AddFilter("Polly", LogLevel.Warning).AddFilter("Grpc", LogLevel.Warning);
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            Limit(kestrel.Limits, settings);
            kestrel.Listen(IPAddress.Parse(settings.Address), settings.HttpPort);
            options.Get<MetricsListener>().AddTo(kestrel);
            options.Get<ScalerListener>().AddTo(kestrel);
        });
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = settings.ShutdownTimeout);
        AddOptions(builder.Services, builder.Configuration);
        builder.Services.AddPreemption(options.Get<PreemptionOptions>());
        builder.Services.AddSingleton(settings);
        builder.Services.AddSingleton(store);
        builder.Services.AddSingleton<StoreWatch>();
        builder.Services.AddHostedService(services => services.GetRequiredService<StoreWatch>());
        builder.Services.AddHealthChecks()
            .AddCheck<MemberCheck>("member")
            .AddCheck<StoreWatch>("store")
            .AddCheck<StoreLiveCheck>("store-live", tags: [ServiceDefaultsExtensions.LiveTag]);
        builder.Services.AddSingleton(_ => new Tickets(
            settings.SecretBytes(), TimeProvider.System, settings.AcceptedSecretBytes()));
        AddBlobs(builder.Services);
        builder.Services.AddPublishing(settings.ModelFolders);
        builder.Services.AddAtelierApi();
        ScalerListener.AddServices(builder.Services);
        builder.Services.AddHostedService<MembershipLog>();
        if (settings.Roles.HasFlag(SiloRoles.Inference) || settings.Roles.HasFlag(SiloRoles.Training))
        {
            builder.Services.AddSingleton<DeviceInstruments>();
            builder.Services.AddSingleton(provider => DeviceLane.Of(
                provider.GetRequiredService<IOptions<TorchDeviceOptions>>().Value,
                provider.GetRequiredService<TimeProvider>(), provider.GetRequiredService<DeviceInstruments>()));
            builder.Services.AddSingleton<DeviceWatch>();
            builder.Services.AddHostedService(services => services.GetRequiredService<DeviceWatch>());
            builder.Services.AddHealthChecks().AddCheck<DeviceWatch>("device");
        }

        if (settings.Roles.HasFlag(SiloRoles.Training))
        {
            builder.Services.AddSingleton<IDataSets>(provider => new SiloDataSets(
                settings.Name, provider.GetRequiredService<IOptions<TrainingDataOptions>>().Value,
                provider.GetRequiredService<IBlobStore>(), provider.GetRequiredService<TimeProvider>()));
            builder.Services.AddSingleton<ITrainingWork>(provider => new TorchTraining(
                provider.GetRequiredService<DeviceLane>(),
                provider.GetRequiredService<IOptions<TorchDeviceOptions>>().Value,
                provider.GetRequiredService<IDataSets>()));
            builder.Services.AddSingleton<ITrainerNetwork>(provider => new TcpTrainerNetwork(
                IPAddress.Parse(settings.Address),
                new PeerSecurity(settings.Tls ? settings.SecretBytes() : null, settings.AcceptedSecretBytes()),
                provider.GetRequiredService<IOptions<PeerOptions>>().Value,
                provider.GetRequiredService<TimeProvider>(), provider.GetRequiredService<ILoggerFactory>()));
        }

        if (settings.Roles.HasFlag(SiloRoles.Inference))
        {
            AddDevice(builder.Services, settings);
            builder.Services.AddModelFollower();
        }

        bool isTraced = builder.Configuration.ExportsTelemetry();
        builder.UseOrleans(silo =>
        {
            ConfigureSilo(silo, options, store);
            if (isTraced)
            {
                silo.AddActivityPropagation();
            }
        });
    }

    /// <summary>Sets the limits of the HTTP API's connections and requests.</summary>
    internal static void Limit(KestrelServerLimits limits, SiloSettings settings)
    {
        limits.MaxConcurrentConnections = settings.HttpConnectionsMax;
        limits.MaxRequestBodySize = RequestBody.BytesMax;
        limits.RequestHeadersTimeout = TimeSpan.FromSeconds(10);
        limits.MinRequestBodyDataRate = new(bytesPerSecond: 240, gracePeriod: TimeSpan.FromSeconds(5));

        // A gateway adds headers and may escape a target: a silo must accept every request that a gateway accepts.
        limits.MaxRequestHeaderCount *= 2;
        limits.MaxRequestHeadersTotalSize *= 2;
        limits.MaxRequestLineSize *= 4;
    }

    private static void AddBlobs(IServiceCollection services)
    {
        services.AddSingleton<StoreInstruments>();
        services.AddSingleton<IBlobStore>(provider => new MeasuredBlobStore(
            provider.GetRequiredService<IOptions<AzureBlobStoreOptions>>().Value is { IsUsed: true } azure
                ? new AzureBlobStore(azure)
                : new FolderBlobStore(
                    provider.GetRequiredService<IOptions<FolderBlobStoreOptions>>().Value,
                    provider.GetRequiredService<TimeProvider>()),
            provider.GetRequiredService<StoreInstruments>(), provider.GetRequiredService<TimeProvider>()));
    }

    private static void AddDevice(IServiceCollection services, SiloSettings settings)
    {
        services.AddSingleton<IDeviceHost>(provider =>
        {
            Libtorch.Load();
            DeviceModel[] models =
            [
                .. settings.ModelFolders.Select((folder, i) =>
                    DeviceModel.Open(folder, isDefault: i == 0, i == 0 ? [.. settings.ModelAliases] : [])),
            ];
            return new TorchDeviceHost(
                models, provider.GetRequiredService<IOptions<TorchDeviceOptions>>().Value,
                provider.GetRequiredService<DeviceLane>(), provider.GetRequiredService<DeviceInstruments>());
        });
    }

    private static void ConfigureSilo(ISiloBuilder silo, StartOptions read, IClusterStore store)
    {
        SiloSettings settings = read.Get<SiloSettings>();
        string device = settings.Roles.HasFlag(SiloRoles.Inference) ? read.Get<TorchDeviceOptions>().Name : "";
        silo.Configure<SiloOptions>(options => options.SiloName = settings.Name);
        silo.Configure<ClusterOptions>(
            options => (options.ClusterId, options.ServiceId) = (settings.ClusterId, settings.ClusterId));
        silo.ConfigureEndpoints(
            IPAddress.Parse(settings.Address), settings.Port, settings.ProxyPort, listenOnAnyHostAddress: false);
        if (settings.Tls)
        {
            silo.UseClusterTransport(settings.SecretBytes(), settings.AcceptedSecretBytes());
        }

        silo.Services.AddSingleton<OrleansGrainStorageSerializer>();
        store.AddTo(silo);
        SkewTolerantMembershipTable.AddTo(silo.Services);
        silo.Configure<GrainCollectionOptions>(options => options.CollectionAge = s_idleMax);
        silo.Configure<SiloMessagingOptions>(options => options.ResponseTimeout = s_callTimeout);

        // A dead silo is detected after about three seconds; see docs/guarantees.md.
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
            [IClusterGrain.DevicesMetadata] = device,
            [IPoolGrain.Metadata] = settings.Pool,
            [ControlSiloAttribute.Metadata] = settings.Roles.HasFlag(SiloRoles.Control) ? "true" : "false",
        });
        silo.AddAtelierGrains();
    }
}
