// The registration of the grains with a silo. The silo provides the ports: a device if it has one, a blob store,
// storage and reminders.
using Atelier.Configuration;
using Atelier.Contracts.Diagnostics;
using Atelier.Grains.Generations;
using Atelier.Grains.Models;
using Atelier.Grains.OpenSets;
using Atelier.Grains.Placement;
using Atelier.Grains.Pools;
using Atelier.Grains.Queueing;
using Atelier.Grains.Scaling;
using Atelier.Grains.Sessions;
using Atelier.Grains.Tenants;
using Atelier.Grains.Training;
using Atelier.Grains.Workers;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;
using Orleans.Placement;

namespace Atelier.Grains.Hosting;

/// <summary>Adds the grains to a silo.</summary>
public static class GrainsHosting
{
    /// <summary>
    /// Adds the services of the grains, with options from the silo's configuration. The silo runs a worker for each
    /// registered <see cref="Ports.IDeviceHost"/> and a trainer for each registered <see cref="Ports.ITrainingWork"/>,
    /// which needs an <see cref="Ports.ITrainerNetwork"/>; an <see cref="Ports.IBlobStore"/> must be registered in any
    /// case.
    /// </summary>
    /// <param name="silo">The silo.</param>
    public static ISiloBuilder AddAtelierGrains(this ISiloBuilder silo)
    {
        silo.Services.AddGrainOptions(silo.Configuration);

        // Reminders drive the walks. Orleans' minimum reminder period is lowered if the walks need a shorter one.
        silo.Services.AddOptions<ReminderOptions>().Configure<IOptions<OpenSetOptions>>((reminders, openSet) =>
            reminders.MinimumReminderPeriod = TimeSpan.FromTicks(
                Math.Min(reminders.MinimumReminderPeriod.Ticks, openSet.Value.WalkPeriod.Ticks)));
        silo.Services.TryAddSingleton(TimeProvider.System);
        silo.Services.TryAddSingleton<Ports.IStateMeter, Ports.UnmeteredStates>();
        silo.Services.AddMetrics();
        silo.Services.AddSingleton<LogLimits>();
        AddInstruments<GenerationInstruments>(silo);
        AddInstruments<OpenSetInstruments>(silo);
        AddInstruments<PoolInstruments>(silo);
        AddInstruments<QueueInstruments>(silo);
        AddInstruments<SessionInstruments>(silo);
        AddInstruments<TenantInstruments>(silo);
        AddInstruments<WorkerInstruments>(silo);
        AddInstruments<TrainingInstruments>(silo);
        silo.Services.AddSingleton<OpenSetMap>();
        silo.Services.AddSingleton<DeviceShares>();
        silo.Services.AddSingleton<WorkerService>();
        silo.Services.AddSingleton<ILifecycleParticipant<ISiloLifecycle>>(
            services => services.GetRequiredService<WorkerService>());
        silo.Services.AddSingleton<Ports.IDeviceDrain>(services => services.GetRequiredService<WorkerService>());
        silo.Services.AddSingleton<TrainerService>();
        silo.Services.AddSingleton<ILifecycleParticipant<ISiloLifecycle>>(
            services => services.GetRequiredService<TrainerService>());
        silo.Services.AddSingleton<Ports.IDeviceDrain>(services => services.GetRequiredService<TrainerService>());
        silo.AddOutgoingGrainCallFilter<EarlierSilos>();
        silo.Services.AddPlacementFilter<ControlSiloFilterStrategy, ControlSiloFilterDirector>(
            ServiceLifetime.Transient);
        silo.Services.AddPlacementFilter<OwnSiloFilterStrategy, OwnSiloFilterDirector>(ServiceLifetime.Transient);
        return silo;
    }

    /// <summary>Adds the options of the grains.</summary>
    /// <param name="services">The services.</param>
    /// <param name="configuration">The configuration that sets them.</param>
    public static IServiceCollection AddGrainOptions(this IServiceCollection services, IConfiguration configuration) =>
        services
            .AddOptions<WorkQueueOptions, WorkQueueOptionsValidator>(configuration)
            .AddOptions<GenerationOptions, GenerationOptionsValidator>(configuration)
            .AddOptions<OpenSetOptions, OpenSetOptionsValidator>(configuration)
            .AddOptions<RetentionOptions, RetentionOptionsValidator>(configuration)
            .AddOptions<ModelOptions, ModelOptionsValidator>(configuration)
            .AddOptions<WorkerOptions, WorkerOptionsValidator>(configuration)
            .AddOptions<TrainerOptions, TrainerOptionsValidator>(configuration)
            .AddOptions<PoolOptions, PoolOptionsValidator>(configuration);

    // Instruments are created with the silo, so that their counters are exported before they count.
    private static void AddInstruments<T>(ISiloBuilder silo)
        where T : class
    {
        silo.Services.AddSingleton<T>();
        silo.AddStartupTask((services, _) =>
        {
            services.GetRequiredService<T>();
            return Task.CompletedTask;
        });
    }
}
