// Goal: without a collector no telemetry is created, calls that no request caused do not start a trace, no trace has
// the token of a link, and no setting logs what clients send. Method: hosts with and without a collector's address, and
// with settings of the log.
using System.Collections.Concurrent;
using System.Diagnostics;
using Atelier.Grains.Tests;
using Atelier.ServiceDefaults;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
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
    public async Task TheTokenOfALink_IsInNoTrace()
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Configuration["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9";
        builder.AddServiceDefaults(new MetricsListener());
        var ended = new ConcurrentQueue<Activity>();
        var trace = ActivityTraceId.CreateRandom();
        await using WebApplication app = builder.Build();
        app.MapGet("/v1/pictures/{token}", () => "picture");
        app.MapGet("/v1/other/{token}", () => "other");
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == "Microsoft.AspNetCore",
            ActivityStopped = activity =>
            {
                if (activity.TraceId == trace)
                {
                    ended.Enqueue(activity);
                }
            },
        };
        ActivitySource.AddActivityListener(listener);
        await app.StartAsync(TestContext.Current.CancellationToken);
        using var client = new HttpClient { BaseAddress = new Uri(app.Urls.Single()) };
        client.DefaultRequestHeaders.Add("traceparent", $"00-{trace}-{ActivitySpanId.CreateRandom()}-01");
        foreach (string path in (string[])["/v1/pictures/secret", "/V1/Pictures/secret", "/v1/other/public"])
        {
            _ = await client.GetStringAsync(path, TestContext.Current.CancellationToken);
        }

        await Eventually.TrueAsync(() => ended.Count == 3);
        Assert.Equal(
            ["/v1/pictures/{token}", "/v1/pictures/{token}", "/v1/other/public"],
            ended.Select(one => one.GetTagItem("url.path")));
        Assert.DoesNotContain(
            ended.SelectMany(one => one.TagObjects.Append(new("name", one.DisplayName))),
            tag => $"{tag.Value}".Contains("secret", StringComparison.Ordinal));
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
