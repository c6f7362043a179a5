// Puts the grains into a silo. The silo brings the ports: a device if it has one, a blob store, storage and reminders.
using Atelier.Contracts.Diagnostics;
using Atelier.Grains.Workers;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Orleans.Placement;

namespace Atelier.Grains.Hosting;

/// <summary>Registration with a silo.</summary>
public static class GrainsHosting
{
    /// <summary>
    /// Adds what the grains need. For each <see cref="Ports.IDeviceHost"/> that is registered the silo runs a worker;
    /// an
    /// <see cref="Ports.IBlobStore"/> must be registered in any case.
    /// </summary>
    /// <param name="silo">The silo.</param>
    /// <param name="configure">Changes the options; they are checked here.</param>
    public static ISiloBuilder AddAtelierGrains(this ISiloBuilder silo, Action<GrainsOptions>? configure = null)
    {
        var options = new GrainsOptions();
        configure?.Invoke(options);
        silo.Services.AddSingleton(options.Checked());
        silo.Services.TryAddSingleton(TimeProvider.System);
        silo.Services.TryAddSingleton<Ports.IStateMeter, Ports.UnmeteredStates>();
        silo.Services.AddMetrics();
        silo.Services.AddSingleton<LogLimits>();
        silo.Services.AddSingleton<Generations.GenerationInstruments>();
        silo.Services.AddSingleton<OpenSets.OpenSetInstruments>();
        silo.Services.AddSingleton<Queueing.QueueInstruments>();
        silo.Services.AddSingleton<WorkerInstruments>();
        silo.Services.AddSingleton<OpenSets.OpenSetMap>();
        silo.Services.AddSingleton<WorkerService>();
        silo.Services.AddSingleton<ILifecycleParticipant<ISiloLifecycle>>(
            services => services.GetRequiredService<WorkerService>());
        silo.Services.AddPlacementFilter<ControlSiloFilterStrategy, ControlSiloFilterDirector>(
            ServiceLifetime.Transient);
        silo.Services.AddPlacementFilter<OwnSiloFilterStrategy, OwnSiloFilterDirector>(ServiceLifetime.Transient);
        return silo;
    }
}
