using System.Diagnostics.Metrics;
using Atelier.Grains.Generations;
using Atelier.Grains.OpenSets;
using Atelier.Grains.Queueing;
using Atelier.Grains.Sessions;
using Atelier.Grains.Tenants;
using Atelier.Grains.Training;
using Atelier.Grains.Workers;
using Microsoft.Extensions.DependencyInjection;

namespace Atelier.Grains.Tests.Telemetry;

/// <summary>Instruments for grains and loops outside a silo, one set per process.</summary>
internal static class TestInstruments
{
    public static IMeterFactory Meters { get; } =
        new ServiceCollection().AddMetrics().BuildServiceProvider().GetRequiredService<IMeterFactory>();

    public static WorkerInstruments Workers { get; } = new(Meters);

    public static TrainingInstruments Training { get; } = new(Meters);

    public static object[] All { get; } =
    [
        Workers, Training, new GenerationInstruments(Meters), new QueueInstruments(Meters),
        new OpenSetInstruments(Meters), new SessionInstruments(Meters), new TenantInstruments(Meters),
    ];
}
