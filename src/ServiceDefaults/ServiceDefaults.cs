// What every process of the cluster has: traces and metrics, health, and a word about how it ends.
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Diagnostics.HealthChecks;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;

namespace Atelier.ServiceDefaults;

/// <summary>Registration with a host.</summary>
public static class ServiceDefaultsExtensions
{
    /// <summary>The tag of health checks that say whether the process is to be restarted.</summary>
    public const string LiveTag = "live";

    /// <summary>
    /// Adds telemetry and health checks. Traces and metrics go out by OTLP if OTEL_EXPORTER_OTLP_ENDPOINT is set;
    /// metrics can be scraped in any case. The process's <see cref="TimeProvider"/> never jumps. A process that was
    /// started by a supervisor ends with it.
    /// </summary>
    public static IHostApplicationBuilder AddServiceDefaults(this IHostApplicationBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        Supervision.AddTo(builder);
        builder.Services.AddSingleton(new SteadyClock(TimeProvider.System));
        builder.Services.AddSingleton<TimeProvider>(services => services.GetRequiredService<SteadyClock>());
        builder.Services.AddSingleton<ClockWatch>();
        builder.Services.AddHostedService(services => services.GetRequiredService<ClockWatch>());
        builder.Services.AddHealthChecks().AddCheck<ClockWatch>("clock", tags: [LiveTag]);
        if (builder.Configuration.ExportsTelemetry())
        {
            builder.Services.AddOpenTelemetry()
                .WithMetrics(metrics => metrics.AddMeter("Microsoft.Orleans", "Atelier.*")
                    .AddAspNetCoreInstrumentation().AddRuntimeInstrumentation())
                .WithTracing(traces => AddTraces(traces, builder.Configuration))
                .UseOtlpExporter();
        }

        return builder;
    }

    /// <summary>Whether traces and metrics go out by OTLP. Where they do not, no activity is made.</summary>
    public static bool ExportsTelemetry(this IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        return !string.IsNullOrWhiteSpace(configuration["OTEL_EXPORTER_OTLP_ENDPOINT"]);
    }

    // Health and metrics are asked for several times a second.
    private static void AddTraces(TracerProviderBuilder traces, IConfiguration configuration)
    {
        traces.AddSource(
                "Atelier.*", "Microsoft.Orleans.Runtime", "Microsoft.Orleans.Application", "Yarp.ReverseProxy")
            .AddAspNetCoreInstrumentation(options => options.Filter = context =>
                !context.Request.Path.StartsWithSegments("/health", StringComparison.Ordinal)
                && !context.Request.Path.StartsWithSegments("/metrics", StringComparison.Ordinal));
        if (string.IsNullOrEmpty(configuration["OTEL_TRACES_SAMPLER"]))
        {
            traces.SetSampler(new ParentBasedSampler(new RequestSampler()));
        }
    }

    internal static HealthCheckOptions Live => new() { Predicate = check => check.Tags.Contains(LiveTag) };

    /// <summary>
    /// Maps /health/live (restart me if this fails) and /health/ready (send me work); where the process has a
    /// <see cref="MetricsListener"/>, the same and /metrics (Prometheus) there.
    /// </summary>
    public static WebApplication MapServiceDefaults(this WebApplication app)
    {
        ArgumentNullException.ThrowIfNull(app);
        MetricsListener.Map(app);
        app.MapHealthChecks("/health/live", Live);
        app.MapHealthChecks("/health/ready");
        return app;
    }
}
