// The placement of grains on silos with the control role. A silo that only draws may be removed at any moment, so it
// hosts no grain whose state matters.
using Microsoft.Extensions.DependencyInjection;
using Orleans.Placement;
using Orleans.Runtime.MembershipService.SiloMetadata;
using Orleans.Runtime.Placement;

namespace Atelier.Grains.Placement;

/// <summary>Places a grain on silos with the control role, which is the default role of a silo.</summary>
[AttributeUsage(AttributeTargets.Class)]
public sealed class ControlSiloAttribute() : PlacementFilterAttribute(new ControlSiloFilterStrategy())
{
    /// <summary>The key in a silo's metadata, with the value "true" or "false".</summary>
    public const string Metadata = "control";
}

/// <summary>The placement strategy, without settings.</summary>
internal sealed class ControlSiloFilterStrategy : PlacementFilterStrategy
{
    public ControlSiloFilterStrategy()
        : base(0)
    {
    }
}

/// <summary>Keeps the silos whose metadata does not deny the control role.</summary>
internal sealed class ControlSiloFilterDirector(IServiceProvider services) : IPlacementFilterDirector
{
    public IEnumerable<SiloAddress> Filter(
        PlacementFilterStrategy filterStrategy, PlacementTarget target, IEnumerable<SiloAddress> silos)
    {
        ISiloMetadataCache? metadata = services.GetService<ISiloMetadataCache>();
        return silos.Where(silo =>
            metadata?.GetSiloMetadata(silo).Metadata
                .TryGetValue(ControlSiloAttribute.Metadata, out string? value) != true
                || value != "false");
    }
}
