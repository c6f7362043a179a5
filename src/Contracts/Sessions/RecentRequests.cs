namespace Atelier.Contracts.Sessions;

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
public sealed record RecentRequest(
    [property: Id(0)] string Digest, [property: Id(1)] GenerationId First, [property: Id(2)] ulong Seed);
