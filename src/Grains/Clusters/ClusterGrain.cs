// A silo's view of the cluster: names and addresses from the membership, workers from the silos' metadata.
using Atelier.Contracts.Cluster;
using Atelier.Contracts.Workers;
using Orleans.Concurrency;
using Orleans.Runtime.MembershipService.SiloMetadata;

namespace Atelier.Grains.Clusters;

/// <summary>Reads the membership on any silo, so that no call waits for a silo that has just died.</summary>
[GrainType("cluster")]
[StatelessWorker]
internal sealed class ClusterGrain(
    IClusterMembershipService membership, ISiloMetadataCache metadata, IGrainFactory grains)
    : Grain, IClusterGrain
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(2);

    public Task<SiloEndpoint[]> SilosAsync() => Task.FromResult<SiloEndpoint[]>(
    [
        .. Active()
            .Select(member => (member.Name, Address: Metadata(member, IClusterGrain.AddressMetadata)))
            .Where(silo => silo.Address is not null)
            .Select(silo => new SiloEndpoint(silo.Name, silo.Address!)),
    ]);

    public async Task<WorkerStatus[]> WorkersAsync()
    {
        IEnumerable<WorkerKey> keys = Active().SelectMany(member =>
            (Metadata(member, IClusterGrain.DevicesMetadata) ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries)
                .Select(device => new WorkerKey(member.Name, device)));
        WorkerStatus?[] all = await Task.WhenAll(keys.Select(key =>
            GrainCalls.TryAsync(() => grains.Worker(key.ToString()).StatusAsync().WaitAsync(s_patience))));
        return [.. all.OfType<WorkerStatus>()];
    }

    private IEnumerable<ClusterMember> Active() => membership.CurrentSnapshot.Members.Values
        .Where(member => member.Status == SiloStatus.Active)
        .OrderBy(member => member.Name, StringComparer.Ordinal);

    private string? Metadata(ClusterMember member, string key) =>
        metadata.GetSiloMetadata(member.SiloAddress).Metadata.TryGetValue(key, out string? value) ? value : null;
}
