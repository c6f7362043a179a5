// Grain storage in memory that passes states through production's serializer, so that a state that it cannot store
// makes a test fail.
using Microsoft.Extensions.DependencyInjection;
using Orleans.Storage;

namespace Atelier.Silo.Tests;

/// <summary>Storage of the clusters that run in a test's process.</summary>
internal static class MemoryStorage
{
    /// <summary>Adds the default storage.</summary>
    public static void AddMemoryStorage(this ISiloBuilder silo)
    {
        silo.Services.AddSingleton<OrleansGrainStorageSerializer>();
        silo.AddMemoryGrainStorageAsDefault(options =>
            options.Configure<OrleansGrainStorageSerializer>((storage, serializer) =>
                storage.GrainStorageSerializer = serializer));
    }
}
