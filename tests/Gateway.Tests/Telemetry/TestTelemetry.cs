using System.Diagnostics.Metrics;
using Atelier.Contracts.Diagnostics;
using Atelier.Gateway.Telemetry;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;

namespace Atelier.Gateway.Tests.Telemetry;

/// <summary>Instruments for parts outside a gateway, one set per process.</summary>
internal static class TestTelemetry
{
    public static GatewayInstruments Instruments { get; } = new(
        new ServiceCollection().AddMetrics().BuildServiceProvider().GetRequiredService<IMeterFactory>());

    public static RefusalRecord Refusals { get; } =
        new(Instruments, new LogLimits(TimeProvider.System), NullLogger<RefusalRecord>.Instance);
}
