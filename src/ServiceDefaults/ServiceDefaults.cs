// Services of every process of the cluster: logs, traces, metrics, health checks and shutdown.
using System.Diagnostics.Metrics;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Diagnostics.HealthChecks;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;

namespace Atelier.ServiceDefaults;

/// <summary>Adds the common services to a host.</summary>
public static class ServiceDefaultsExtensions
{
    /// <summary>The tag of liveness checks: the process must be restarted if one fails.</summary>
    public const string LiveTag = "live";

    // Paths of links to pictures; the token follows.
    private const string PictureLinks = "/v1/pictures";

    // Maximum number of series of an instrument; measurements of further ones are added up in a single series. The
    // memory for this number of series is allocated at once.
    private const int SeriesMax = 200;

    /// <summary>
    /// Adds telemetry and health checks. Traces, metrics and logs are sent by OTLP if OTEL_EXPORTER_OTLP_ENDPOINT is
    /// set; metrics can be scraped if the listener has a port. If neither is so, nothing is measured. Logs are written
    /// to standard output in any case, as lines of JSON on request. The process's <see cref="TimeProvider"/> never
    /// jumps. A process that was started by a supervisor shuts down when the supervisor ends.
    /// </summary>
    /// <param name="builder">The host's builder.</param>
    /// <param name="metrics">Where metrics are served.</param>
    public static IHostApplicationBuilder AddServiceDefaults(
        this IHostApplicationBuilder builder, MetricsListener metrics)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(metrics);
        builder.Services.AddSingleton(metrics);
        Supervision.AddTo(builder);
        builder.Services.AddSingleton(new SteadyClock(TimeProvider.System));
        builder.Services.AddSingleton<TimeProvider>(services => services.GetRequiredService<SteadyClock>());
        builder.Services.AddSingleton<ClockWatch>();
        builder.Services.AddHostedService(services => services.GetRequiredService<ClockWatch>());
        builder.Services.AddSingleton<StartState>();
        builder.Services.AddHealthChecks().AddCheck<ClockWatch>("clock", tags: [LiveTag]);
        builder.Logging.AddConsoleFormatter<JsonLines, ConsoleFormatterOptions>();
        builder.Services.PostConfigure<ConsoleLoggerOptions>(JsonLines.Replace);
        builder.Services.PostConfigure<LoggerFilterOptions>(GuardedCategories.Apply);
        bool isExported = builder.Configuration.ExportsTelemetry();
        if (isExported || metrics.Port != 0)
        {
            builder.Services.AddOpenTelemetry().WithMetrics(provider => AddMetrics(provider, metrics.Port != 0));
        }

        if (isExported)
        {
            builder.Services.AddOpenTelemetry()
                .WithTracing(traces => AddTraces(traces, builder.Configuration))
                .WithLogging(null, logs => logs.IncludeFormattedMessage = true)
                .UseOtlpExporter();
        }

        return builder;
    }

    // Meters whose attributes do not grow with requests, tenants or other processes.
    private static void AddMetrics(MeterProviderBuilder provider, bool isScraped)
    {
        provider.AddMeter("Atelier.*", "Microsoft.Orleans")
            .AddMeter("Microsoft.AspNetCore.Hosting", "Microsoft.AspNetCore.Server.Kestrel")
            .AddRuntimeInstrumentation()
            .AddView(ViewOf);
        if (isScraped)
        {
            provider.AddPrometheusExporter(options => options.ScopeInfoEnabled = false);
        }
    }

    // The default buckets of others' histograms are many, and end before a picture is drawn.
    private static MetricStreamConfiguration ViewOf(Instrument instrument) => instrument switch
    {
        Histogram<double> { Meter.Name: "Microsoft.AspNetCore.Hosting" } => new ExplicitBucketHistogramConfiguration
        {
            Boundaries = [0.01, 0.05, 0.25, 1, 2.5, 10, 30, 120], CardinalityLimit = SeriesMax,
        },
        Histogram<double> { Meter.Name: "Microsoft.Orleans" } => new ExplicitBucketHistogramConfiguration
        {
            Boundaries = [1, 5, 25, 100, 500, 2500], CardinalityLimit = SeriesMax, // Milliseconds.
        },
        _ => new MetricStreamConfiguration { CardinalityLimit = SeriesMax },
    };

    /// <summary>Whether traces, metrics and logs are sent by OTLP. If not, traces only have ids, for the log.</summary>
    public static bool ExportsTelemetry(this IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        return !string.IsNullOrWhiteSpace(configuration["OTEL_EXPORTER_OTLP_ENDPOINT"]);
    }

    // Requests for health and metrics are not traced, because they arrive several times a second. The token of a link
    // is left out, because it gives access to the picture.
    private static void AddTraces(TracerProviderBuilder traces, IConfiguration configuration)
    {
        traces.AddSource(
                "Atelier.*", "Microsoft.Orleans.Runtime", "Microsoft.Orleans.Application", "Yarp.ReverseProxy")
            .AddAspNetCoreInstrumentation(options =>
            {
                options.Filter = context =>
                    !context.Request.Path.StartsWithSegments("/health", StringComparison.Ordinal)
                    && !context.Request.Path.StartsWithSegments("/metrics", StringComparison.Ordinal);
                options.EnrichWithHttpRequest = (activity, request) =>
                {
                    if (request.Path.StartsWithSegments(PictureLinks, StringComparison.OrdinalIgnoreCase))
                    {
                        activity.SetTag("url.path", $"{PictureLinks}/{{token}}");
                    }
                };
            });
        if (string.IsNullOrEmpty(configuration["OTEL_TRACES_SAMPLER"]))
        {
            traces.SetSampler(new ParentBasedSampler(new RequestSampler()));
        }
    }

    internal static HealthCheckOptions Live => new() { Predicate = check => check.Tags.Contains(LiveTag) };

    // A process that has been ready once has started, whatever happens to it later.
    internal static HealthCheckOptions Started(StartState state) => new()
    {
        Predicate = _ => !state.HasStarted,
        ResponseWriter = (context, report) =>
        {
            state.HasStarted |= report.Status != HealthStatus.Unhealthy;
            return context.Response.WriteAsync(report.Status.ToString());
        },
    };

    /// <summary>
    /// Maps /health/started (the process has been ready once), /health/ready (it accepts requests) and /health/live
    /// (restart it if this fails). If the process has a <see cref="MetricsListener"/>, they are served there too, with
    /// /metrics for Prometheus. Call it before services that measure are created, because measurements begin here.
    /// </summary>
    public static WebApplication MapServiceDefaults(this WebApplication app)
    {
        ArgumentNullException.ThrowIfNull(app);
        MetricsListener.Map(app);
        app.MapHealthChecks("/health/live", Live);
        app.MapHealthChecks("/health/ready");
        app.MapHealthChecks("/health/started", Started(app.Services.GetRequiredService<StartState>()));
        return app;
    }

    /// <summary>Whether the process has been ready once.</summary>
    internal sealed class StartState
    {
        public volatile bool HasStarted;
    }
}
