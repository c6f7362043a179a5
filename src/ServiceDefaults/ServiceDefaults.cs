// What every process of the cluster has: traces and metrics, health, and a word about how it ends.
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Diagnostics.HealthChecks;
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
    /// Adds telemetry and health checks. Traces and metrics go out by OTLP where OTEL_EXPORTER_OTLP_ENDPOINT is set;
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
        OpenTelemetryBuilder telemetry = builder.Services.AddOpenTelemetry()
            .WithMetrics(
                metrics => metrics.AddMeter("Microsoft.Orleans", "Atelier.*").AddAspNetCoreInstrumentation()
                    .AddRuntimeInstrumentation())
            .WithTracing(traces => traces
                .AddSource("Microsoft.Orleans.Runtime", "Microsoft.Orleans.Application", "Atelier.*")
                .AddAspNetCoreInstrumentation());
        if (!string.IsNullOrWhiteSpace(builder.Configuration["OTEL_EXPORTER_OTLP_ENDPOINT"]))
        {
            telemetry.UseOtlpExporter();
        }

        return builder;
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
