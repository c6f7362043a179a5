// The port for operators. Metrics show what a process does and how busy it is, so they are on a port that clients do
// not reach. Health is served there too, so that load on the public port cannot hide it.
using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Prometheus;

namespace Atelier.ServiceDefaults;

/// <summary>The address at which a process's metrics are scraped.</summary>
/// <param name="Address">The IP address ("Metrics:Address").</param>
/// <param name="Port">The port ("Metrics:Port"); 0 has none.</param>
public sealed record MetricsListener(string Address = "127.0.0.1", int Port = 0)
{
    /// <summary>Reads the settings.</summary>
    public static MetricsListener Read(SettingsReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        var standard = new MetricsListener();
        return new MetricsListener(
            reader.Text("Metrics:Address", standard.Address), reader.Number("Metrics:Port", standard.Port, 0, 65535));
    }

    /// <summary>What is wrong with the settings, as a sentence; null if nothing is.</summary>
    /// <param name="others">Ports of the process that are taken.</param>
    public string? Fault(params ReadOnlySpan<int> others) =>
        !IPAddress.TryParse(Address, out _) ? $"Metrics:Address must be an IP address, not '{Address}'."
        : Port != 0 && others.Contains(Port) ? $"Metrics:Port must be a port of its own, not {Port}, or 0 for none."
        : null;

    /// <summary>Makes the web server listen at this address.</summary>
    public void AddTo(KestrelServerOptions kestrel)
    {
        ArgumentNullException.ThrowIfNull(kestrel);
        if (Port != 0)
        {
            kestrel.Listen(IPAddress.Parse(Address), Port, listen => listen.Use(next => connection =>
            {
                connection.Features.Set(this);
                return next(connection);
            }));
        }
    }

    /// <summary>Maps /metrics, /health/live and /health/ready on this port, and nothing else.</summary>
    internal static void Map(WebApplication app) => app.MapWhen(
        context => context.Features.Get<MetricsListener>() is not null,
        inner =>
        {
            inner.UseHealthChecks("/health/live", ServiceDefaultsExtensions.Live);
            inner.UseHealthChecks("/health/ready");
            inner.UseMetricServer("/metrics");
            inner.Run(context =>
            {
                context.Response.StatusCode = StatusCodes.Status404NotFound;
                return Task.CompletedTask;
            });
        });
}
