// Goal: without a collector no telemetry is created, calls that no request caused do not start a trace, and no setting
// logs what clients send. Method: hosts with and without a collector's address, and with settings of the log.
using System.Diagnostics;
using Atelier.ServiceDefaults;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry.Trace;
using Xunit;

namespace Atelier.Silo.Tests.Hosting;

[Collection(nameof(Api.Images.TraceTests))] // Both listen to all activities of the process.
public sealed class TelemetryTests
{
    [Fact]
    public void WithoutACollector_ActivitiesHaveNoListener()
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.AddServiceDefaults(new MetricsListener());
        Assert.False(builder.Configuration.ExportsTelemetry());
        Assert.DoesNotContain(builder.Services, one => one.ServiceType == typeof(TracerProvider));
    }

    [Theory]
    [InlineData("Logging:LogLevel:Default")]
    [InlineData("Logging:LogLevel:Microsoft.AspNetCore.Hosting.Diagnostics")]
    [InlineData("Logging:Console:LogLevel:Default")]
    [InlineData("Logging:Console:LogLevel:Microsoft.AspNetCore.Hosting.Diagnostics")]
    [InlineData(null)]
    public void NoSetting_LogsRequestsOfClients_AndAllElseIsLogged(string? key)
    {
        HostApplicationBuilder builder = Host.CreateApplicationBuilder();
        builder.Configuration["Logging:Console:LogLevel:Atelier"] = "Trace";
        if (key is not null)
        {
            builder.Configuration[key] = "Trace";
        }

        builder.AddServiceDefaults(new MetricsListener());
        using IHost host = builder.Build();
        ILoggerFactory loggers = host.Services.GetRequiredService<ILoggerFactory>();
        ILogger requests = loggers.CreateLogger("Microsoft.AspNetCore.Hosting.Diagnostics");
        Assert.False(requests.IsEnabled(LogLevel.Information));
        Assert.True(requests.IsEnabled(LogLevel.Warning));
        Assert.False(loggers.CreateLogger("Yarp.ReverseProxy").IsEnabled(LogLevel.Information));
        Assert.True(loggers.CreateLogger("Atelier.Silo").IsEnabled(LogLevel.Trace));
    }

    [Fact]
    public void ACallWithoutARequest_StartsNoTrace_AndWorkOnAGenerationDoes()
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9";
        builder.AddServiceDefaults(new MetricsListener());
        using IHost host = builder.Build();
        _ = host.Services.GetRequiredService<TracerProvider>();
        using var source = new ActivitySource("Atelier.Test");
        using (Activity? call = source.StartActivity("turn", ActivityKind.Client))
        {
            Assert.False(call?.Recorded ?? false);
            using Activity? inner = source.StartActivity("inner");
            Assert.False(inner?.Recorded ?? false);
        }

        using Activity? work = source.StartActivity("generation.denoise");
        Assert.True(work!.Recorded);
        using Activity? report = source.StartActivity("report", ActivityKind.Client);
        Assert.True(report!.Recorded);
    }
}
