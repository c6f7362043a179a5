// The port on which autoscalers ask how many silos a pool should have. It is a port of its own because gRPC needs
// HTTP/2, and because clients do not reach it.
using System.Net;
using Atelier.Configuration;
using Atelier.ServiceDefaults;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Options;

namespace Atelier.Silo.Scaling;

/// <summary>The address at which a silo answers autoscalers: KEDA's external scaler, over gRPC without TLS.</summary>
[Section("Scaler")]
public sealed class ScalerListener
{
    /// <summary>Gets or sets the IP address.</summary>
    /// <remarks>Anyone who reaches it learns how busy the cluster is.</remarks>
    /// <value>The default is 127.0.0.1.</value>
    public string Address { get; set; } = "127.0.0.1";

    /// <summary>
    /// Gets or sets the port, which must differ from the process's other ports; 0 disables the listener.
    /// </summary>
    /// <value>The default is 0.</value>
    [Bounds(0, 65535)]
    public int Port { get; set; }

    /// <summary>Makes the web server listen at this address.</summary>
    internal void AddTo(KestrelServerOptions kestrel)
    {
        if (Port != 0)
        {
            kestrel.Listen(IPAddress.Parse(Address), Port, listen =>
            {
                listen.Protocols = HttpProtocols.Http2;
                listen.Use(next => connection =>
                {
                    connection.Features.Set(this);
                    return next(connection);
                });
            });
        }
    }

    /// <summary>Adds the service.</summary>
    internal static void AddServices(IServiceCollection services)
    {
        services.AddGrpc();
        services.AddSingleton<ExternalScalerService>();
    }

    /// <summary>Maps the service on this port, and nothing else.</summary>
    internal static void Map(WebApplication app) => app.MapWhen(
        context => context.Features.Get<ScalerListener>() is not null,
        inner =>
        {
            inner.UseRouting();
            inner.UseEndpoints(endpoints => endpoints.MapGrpcService<ExternalScalerService>());
        });
}

/// <summary>Validates the options of the scaler's listener.</summary>
internal sealed class ScalerListenerValidator(IOptions<MetricsListener> metrics) : OptionsValidator<ScalerListener>
{
    protected override IEnumerable<string> Faults(ScalerListener options)
    {
        if (!IPAddress.TryParse(options.Address, out _))
        {
            yield return $"{Key(nameof(options.Address))} is {options.Address}; it must be an IP address.";
        }

        if (options.Port != 0 && MetricsListenerValidator.Clash(
            metrics.ValueIfValid(), (Key(nameof(options.Port)), options.Port)) is { } clash)
        {
            yield return clash;
        }
    }
}
