// Who is in the cluster, for those outside: the gateway routes by it.
namespace Atelier.Contracts;

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

    /// <summary>The workers of all active silos, as their silos describe them; those that do not answer are left out.</summary>
    [Alias("Workers")]
    Task<WorkerStatus[]> WorkersAsync();
}

/// <summary>
/// A tenant's latest requests by content, for clients that send a request again because its answer was lost; its key is
/// the tenant's.
/// </summary>
[Alias("atelier.IRecentRequestsGrain")]
public interface IRecentRequestsGrain : IGrainWithStringKey
{
    /// <summary>Requests that are remembered: with digests and ids the state stays below 64 KiB.</summary>
    const int SizeMax = 256;

    /// <summary>Begins a request, or joins the latest one of the same content.</summary>
    /// <param name="digest">SHA-256 of the request's content.</param>
    /// <param name="first">Id that the request's generations shall have if it is new.</param>
    /// <param name="seed">Seed that it shall have if it is new.</param>
    /// <param name="again">Whether the client has sent it before.</param>
    /// <returns>Id and seed to go on with: the given ones, or those of the request that is joined.</returns>
    [Alias("Begin")]
    Task<RecentRequest> BeginAsync(string digest, GenerationId first, ulong seed, bool again);
}

/// <summary>A remembered request.</summary>
/// <param name="Digest">SHA-256 of its content.</param>
/// <param name="First">Id from which those of its generations follow.</param>
/// <param name="Seed">Seed of its first generation.</param>
[GenerateSerializer, Immutable, Alias("atelier.RecentRequest")]
public sealed record RecentRequest([property: Id(0)] string Digest, [property: Id(1)] GenerationId First, [property: Id(2)] ulong Seed);
