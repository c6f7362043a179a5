// The composition of a gateway: the page, the proxy with its checks, and the connection to the cluster.
using System.Net;
using Atelier.Configuration;
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.Tenants;
using Atelier.Gateway.Answers;
using Atelier.Gateway.Cluster;
using Atelier.Gateway.Keys;
using Atelier.Gateway.Limits;
using Atelier.Gateway.Page;
using Atelier.Gateway.Routing;
using Atelier.Gateway.Settings;
using Atelier.Gateway.Telemetry;
using Atelier.ServiceDefaults;
using Yarp.ReverseProxy.Configuration;
using Yarp.ReverseProxy.Forwarder;
using Yarp.ReverseProxy.Health;

namespace Atelier.Gateway.Hosting;

/// <summary>The gateway's process.</summary>
public static class GatewayHost
{
    private const int WrongConfiguration = 2;

    /// <summary>Runs a gateway until it is stopped.</summary>
    /// <returns>The process's exit code.</returns>
    public static async Task<int> RunAsync(string[] args)
    {
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
            await Console.Error.WriteLineAsync($"atelier: {error.Message}");
            return WrongConfiguration;
        }

        AddOptions(builder.Services, builder.Configuration);
        Configure(builder, options.Get<GatewaySettings>(), options.Get<MetricsListener>());
        builder.Services.AddSingleton<OrleansClusterView>();
        builder.Services.AddSingleton<IClusterView>(services => services.GetRequiredService<OrleansClusterView>());
        builder.Services.AddHostedService(services => services.GetRequiredService<OrleansClusterView>());
        await using WebApplication app = builder.Build();
        foreach (string warning in options.Warnings)
        {
            app.Logger.StartWarning(warning);
        }

        Map(app);
        await app.RunAsync();
        return 0;
    }

    /// <summary>Reads the gateway's options. The configuration may also contain settings of silos.</summary>
    /// <exception cref="InvalidConfigurationException">Some options are not valid.</exception>
    internal static StartOptions ReadOptions(IConfiguration configuration) => StartOptions.Read(
        "gateway", configuration, services => AddOptions(services, configuration), "Store");

    private static void AddOptions(IServiceCollection services, IConfiguration configuration) =>
        services
            .AddOptions<GatewaySettings, GatewaySettingsValidator>(configuration)
            .AddOptions<MetricsListener, MetricsListenerValidator>(configuration);

    /// <summary>Adds all services except the <see cref="IClusterView"/>.</summary>
    internal static void Configure(
        WebApplicationBuilder builder, GatewaySettings settings, MetricsListener metrics)
    {
        builder.AddServiceDefaults(metrics);
        builder.Logging.AddFilter("Orleans", LogLevel.Warning).AddFilter("Microsoft", LogLevel.Warning)
            .AddFilter("Yarp", LogLevel.Warning).AddFilter("Polly", LogLevel.Warning);
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = GatewaySettings.RequestBytesMax;
            kestrel.Limits.MinRequestBodyDataRate = new(bytesPerSecond: 240, gracePeriod: TimeSpan.FromSeconds(5));
            kestrel.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(10);
            kestrel.Limits.KeepAliveTimeout = settings.IdleTimeout;
            Connections connections = kestrel.ApplicationServices.GetRequiredService<Connections>();
            kestrel.Listen(IPAddress.Parse(settings.Address), settings.Port, listen =>
            {
                listen.Use(next => connection => connections.ServeAsync(connection, next));
                listen.Use(next => connection => Refusals.ServeAsync(connection, next));
            });
            metrics.AddTo(kestrel);
        });
        IServiceCollection services = builder.Services;
        services.Configure<HostOptions>(host => host.ShutdownTimeout = settings.ShutdownTimeout);
        services.AddSingleton(settings);
        services.AddSingleton(_ => new Tickets(settings.SecretBytes(), TimeProvider.System));
        services.AddSingleton<LogLimits>();
        services.AddSingleton<GatewayInstruments>();
        services.AddSingleton<RefusalRecord>();
        services.AddSingleton<KnownKeys>();
        services.AddSingleton<KeyCheck>();
        services.AddSingleton<RequestRates>();
        services.AddSingleton<OpenRequests>();
        services.AddSingleton<Connections>();
        services.AddSingleton<Routes>();
        services.AddSingleton<SiloClocks>();
        services.AddSingleton<RouteUpdater>();
        services.AddHostedService(provider => provider.GetRequiredService<RouteUpdater>());
        services.AddHealthChecks().AddCheck<SilosHealthCheck>("silos");
        services.AddSingleton<IForwarderHttpClientFactory, SiloClientFactory>();
        services.AddSingleton<IPassiveHealthCheckPolicy, FirstFailurePolicy>();
        services.AddSingleton<InMemoryConfigProvider>(provider =>
            new InMemoryConfigProvider(Routes.All, provider.GetRequiredService<Routes>().Clusters([])));
        services.AddSingleton<IProxyConfigProvider>(provider => provider.GetRequiredService<InMemoryConfigProvider>());
        services.AddReverseProxy().AddTransforms<SiloTransforms>();
    }

    /// <summary>Maps the page, the proxy, health and metrics.</summary>
    internal static void Map(WebApplication app)
    {
        app.MapServiceDefaults();
        IDisposable refusals = Refusals.Watch(app.Services);
        app.Lifetime.ApplicationStopped.Register(refusals.Dispose);
        Connections connections = app.Services.GetRequiredService<Connections>();
        app.Use(connections.TouchAsync);
        app.UseMiddleware<AnswersMiddleware>();
        app.MapPage();
        KeyCheck keys = app.Services.GetRequiredService<KeyCheck>();
        RequestRates rates = app.Services.GetRequiredService<RequestRates>();
        OpenRequests open = app.Services.GetRequiredService<OpenRequests>();
        app.MapReverseProxy(proxy =>
        {
            proxy.Use((context, next) => PlainPaths.CheckAsync(context, next));
            proxy.Use((context, next) => ClientOrigin.CheckAsync(context, next));
            proxy.Use((context, next) => keys.CheckAsync(context, next));
            proxy.Use((context, next) => rates.CheckAsync(context, next));
            proxy.Use((context, next) => open.CheckAsync(context, next));
            proxy.Use((context, next) => connections.MarkAsync(context, next));
            proxy.Use((context, next) => BufferedBody.ReadAsync(context, next));
            proxy.Use((context, next) => Delivery.AnswerFailuresAsync(context, next));
            proxy.Use((context, next) => Delivery.EndStreamsAsync(context, next));
            proxy.Use((context, next) => Delivery.TryEachAsync(context, next));
            proxy.UseLoadBalancing();
            proxy.UsePassiveHealthChecks();
        });
        app.MapFallback("{**path}", context => GatewayError.UnknownUrl.WriteAsync(context));
    }
}
