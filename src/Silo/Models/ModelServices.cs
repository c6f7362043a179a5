// The registration of publishing and following models with a silo.
using Atelier.Grains.Ports;

namespace Atelier.Silo.Models;

/// <summary>Adds the services of published models.</summary>
internal static class ModelServices
{
    /// <summary>Adds what publishes checkpoints. Any silo can do that if it has the base model's folder.</summary>
    /// <param name="services">The services.</param>
    /// <param name="folders">Folders of this silo's models.</param>
    public static IServiceCollection AddPublishing(this IServiceCollection services, IReadOnlyList<string> folders) =>
        services.AddSingleton<ModelDisk>().AddSingleton<ModelPublisher>().AddSingleton(_ => new BaseModels(folders))
            .AddSingleton<IPanelWork, CheckpointPanels>();

    /// <summary>Adds what offers the published models to the silo's <see cref="IDeviceHost"/>.</summary>
    public static IServiceCollection AddModelFollower(this IServiceCollection services) => services
        .AddSingleton<ModelCache>()
        .AddSingleton<ModelFollower>()
        .AddSingleton<IModelFollower>(provider => provider.GetRequiredService<ModelFollower>())
        .AddSingleton<ILifecycleParticipant<ISiloLifecycle>>(
            provider => provider.GetRequiredService<ModelFollower>());
}
