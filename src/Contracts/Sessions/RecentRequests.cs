namespace Atelier.Contracts.Sessions;

/// <summary>
/// A tenant's latest requests, found by content, for clients that retry a request because its answer was lost. The
/// grain's key is the tenant's id.
/// </summary>
[Alias("atelier.IRecentRequestsGrain")]
public interface IRecentRequestsGrain : IGrainWithStringKey
{
    /// <summary>Number of requests remembered, so that the state stays below 64 KiB.</summary>
    const int SizeMax = 256;

    /// <summary>Begins a request, or joins the latest one with the same content.</summary>
    /// <param name="digest">SHA-256 of the request's content.</param>
    /// <param name="first">First id of the request's generations, if the request is new.</param>
    /// <param name="seed">The seed, if the request is new.</param>
    /// <param name="again">Whether this is a retry by the client.</param>
    /// <returns>Id and seed to continue with: the given ones, or those of the request that is joined.</returns>
    [Alias("Begin")]
    Task<RecentRequest> BeginAsync(string digest, GenerationId first, ulong seed, bool again);
}

/// <summary>A remembered request.</summary>
/// <param name="Digest">SHA-256 of its content.</param>
/// <param name="First">Id of its first generation, from which the other ids are derived.</param>
/// <param name="Seed">Seed of its first generation.</param>
[GenerateSerializer, Immutable, Alias("atelier.RecentRequest")]
public sealed record RecentRequest(
    [property: Id(0)] string Digest, [property: Id(1)] GenerationId First, [property: Id(2)] ulong Seed);
