// The members of the cluster, for clients outside it: the gateway routes by this list.
using Atelier.Contracts.Workers;

namespace Atelier.Contracts.Cluster;

/// <summary>A live silo.</summary>
/// <param name="Name">The silo's name.</param>
/// <param name="Address">URL of the silo's HTTP API.</param>
[GenerateSerializer, Immutable, Alias("atelier.SiloEndpoint")]
public sealed record SiloEndpoint([property: Id(0)] string Name, [property: Id(1)] string Address);

/// <summary>The cluster as seen by the silo that runs this grain; the grain's key is 0.</summary>
[Alias("atelier.IClusterGrain")]
public interface IClusterGrain : IGrainWithIntegerKey
{
    /// <summary>The metadata key of the URL of a silo's HTTP API.</summary>
    const string AddressMetadata = "http";

    /// <summary>The metadata key of a silo's devices, separated by commas.</summary>
    const string DevicesMetadata = "devices";

    /// <summary>Silos that are active and serve the HTTP API, ordered by name.</summary>
    [Alias("Silos")]
    Task<SiloEndpoint[]> SilosAsync();

    /// <summary>The status of the workers of all active silos; workers that do not answer are omitted.</summary>
    [Alias("Workers")]
    Task<WorkerStatus[]> WorkersAsync();
}
