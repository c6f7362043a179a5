// The port for operators. Metrics show what a process does and how busy it is, so they are served on a separate port
// that clients do not reach. Health is served there too, so that load on the public port cannot block health checks.
using System.Net;
using Atelier.Configuration;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;

namespace Atelier.ServiceDefaults;

/// <summary>
/// The address at which a process serves its metrics and health to operators, and which clients do not reach.
/// </summary>
[Section("Metrics")]
public sealed class MetricsListener
{
    /// <summary>Gets or sets the IP address.</summary>
    /// <value>The default is 127.0.0.1.</value>
    public string Address { get; set; } = "127.0.0.1";

    /// <summary>
    /// Gets or sets the port, which must differ from the process's other ports; 0 disables the listener.
    /// </summary>
    /// <value>The default is 0.</value>
    [Bounds(0, 65535)]
    public int Port { get; set; }

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

    /// <summary>Maps /metrics and the health checks on this port, and nothing else.</summary>
    internal static void Map(WebApplication app)
    {
        if (app.Services.GetRequiredService<MetricsListener>().Port == 0)
        {
            return;
        }

        app.MapWhen(
            context => context.Features.Get<MetricsListener>() is not null,
            inner =>
            {
                inner.UseHealthChecks("/health/live", ServiceDefaultsExtensions.Live);
                inner.UseHealthChecks("/health/ready");
                inner.UseHealthChecks(
                    "/health/started",
                    ServiceDefaultsExtensions.Started(
                        app.Services.GetRequiredService<ServiceDefaultsExtensions.StartState>()));
                inner.UseOpenTelemetryPrometheusScrapingEndpoint("/metrics");
                inner.Run(context =>
                {
                    context.Response.StatusCode = StatusCodes.Status404NotFound;
                    return Task.CompletedTask;
                });
            });
    }
}

/// <summary>Validates the options of the metrics listener.</summary>
public sealed class MetricsListenerValidator : OptionsValidator<MetricsListener>
{
    /// <summary>A message about a clash with another port of the process; null if there is no clash.</summary>
    /// <param name="metrics">The options of the metrics listener; null if they are not valid.</param>
    /// <param name="others">The process's other ports, by their keys.</param>
    public static string? Clash(MetricsListener? metrics, params ReadOnlySpan<(string Key, int Port)> others)
    {
        foreach ((string key, int port) in others)
        {
            if (metrics is { Port: > 0 } && metrics.Port == port)
            {
                return $"{Key(nameof(metrics.Port))} is {port}; it must be a port other than that of {key}, or 0 to "
                    + "serve no metrics.";
            }
        }

        return null;
    }

    /// <inheritdoc/>
    protected override IEnumerable<string> Faults(MetricsListener options)
    {
        if (!IPAddress.TryParse(options.Address, out _))
        {
            yield return $"{Key(nameof(options.Address))} is {options.Address}; it must be an IP address.";
        }
    }
}
