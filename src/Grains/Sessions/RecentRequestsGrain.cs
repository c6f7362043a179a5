// A tenant's recent requests, among which a retry finds the request that it joins.
using Atelier.Contracts;
using Atelier.Contracts.Sessions;
using Atelier.Grains.Placement;

namespace Atelier.Grains.Sessions;

/// <summary>The stored state of a tenant's recent requests.</summary>
[GenerateSerializer, Alias("atelier.state.RecentRequests")]
internal sealed class RecentRequestsState
{
    /// <summary>The requests, oldest first.</summary>
    [Id(0)]
    public List<RecentRequest> Requests { get; set; } = [];
}

/// <summary>Remembers a tenant's latest requests by the digest of their bodies.</summary>
[GrainType("recentrequests")]
[ControlSilo]
internal sealed class RecentRequestsGrain([PersistentState("requests")] IPersistentState<RecentRequestsState> state)
    : Grain, IRecentRequestsGrain
{
    public async Task<RecentRequest> BeginAsync(string digest, GenerationId first, ulong seed, bool again)
    {
        if (!Digests.AreValid(digest) || !Names.AreValid(first.Value))
        {
            throw new ArgumentException("A request is identified by a SHA-256 and a valid id.", nameof(digest));
        }

        List<RecentRequest> requests = state.State.Requests;
        if (again && requests.FindLast(request => request.Digest == digest) is { } known)
        {
            return known;
        }

        var request = new RecentRequest(digest, first, seed);
        requests.RemoveAll(one => one.Digest == digest);
        if (requests.Count >= IRecentRequestsGrain.SizeMax)
        {
            requests.RemoveAt(0);
        }

        requests.Add(request);
        await state.WriteOrDeactivateAsync(this);

        return request;
    }
}
