// Who is in the cluster, for those outside: the gateway routes by it.
using Atelier.Contracts.Workers;

namespace Atelier.Contracts.Cluster;

/// <summary>A live silo.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Address">Where its HTTP API listens, as a URL.</param>
[GenerateSerializer, Immutable, Alias("atelier.SiloEndpoint")]
public sealed record SiloEndpoint([property: Id(0)] string Name, [property: Id(1)] string Address);

/// <summary>The cluster as the silo sees it on which this grain happens to be; its key is 0.</summary>
[Alias("atelier.IClusterGrain")]
public interface IClusterGrain : IGrainWithIntegerKey
{
    /// <summary>The key under which a silo's metadata hold the URL of its HTTP API.</summary>
    const string AddressMetadata = "http";

    /// <summary>The key under which a silo's metadata list the devices it has, with commas between.</summary>
    const string DevicesMetadata = "devices";

    /// <summary>Silos that are active and serve the HTTP API, ordered by name.</summary>
    [Alias("Silos")]
    Task<SiloEndpoint[]> SilosAsync();

    /// <summary>
    /// The workers of all active silos, as their silos describe them; those that do not answer are left out.
    /// </summary>
    [Alias("Workers")]
    Task<WorkerStatus[]> WorkersAsync();
}
