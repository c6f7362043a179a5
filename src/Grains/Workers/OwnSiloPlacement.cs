// The placement of a worker's grain on the silo in its key and nowhere else: once that silo has left the cluster, calls
// fail instead of activating a grain without a device.
using Atelier.Contracts.Workers;
using Orleans.Placement;
using Orleans.Runtime.Placement;

namespace Atelier.Grains.Workers;

/// <summary>Places a grain on the silo in its key.</summary>
[AttributeUsage(AttributeTargets.Class)]
internal sealed class OwnSiloAttribute() : PlacementFilterAttribute(new OwnSiloFilterStrategy());

/// <summary>The placement strategy, without settings.</summary>
internal sealed class OwnSiloFilterStrategy : PlacementFilterStrategy
{
    public OwnSiloFilterStrategy()
        : base(0)
    {
    }
}

/// <summary>Keeps only the silo in a grain's key.</summary>
internal sealed class OwnSiloFilterDirector(IClusterMembershipService membership) : IPlacementFilterDirector
{
    public IEnumerable<SiloAddress> Filter(
        PlacementFilterStrategy filterStrategy, PlacementTarget target, IEnumerable<SiloAddress> silos)
    {
        string? name = WorkerKey.TryParse(target.GrainIdentity.Key.ToString(), out WorkerKey key) ? key.Silo : null;
        return silos.Where(
            silo =>
                membership.CurrentSnapshot.Members.TryGetValue(silo, out ClusterMember? member) && member.Name == name);
    }
}
