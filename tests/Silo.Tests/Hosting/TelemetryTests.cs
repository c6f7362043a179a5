// Goal: without a collector no telemetry is created, and calls that no request caused do not start a trace. Method:
// hosts with and without a collector's address.
using System.Diagnostics;
using Atelier.ServiceDefaults;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
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
        builder.AddServiceDefaults();
        Assert.False(builder.Configuration.ExportsTelemetry());
        Assert.DoesNotContain(builder.Services, one => one.ServiceType == typeof(TracerProvider));
    }

    [Fact]
    public void ACallWithoutARequest_StartsNoTrace_AndWorkOnAGenerationDoes()
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9";
        builder.AddServiceDefaults();
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
