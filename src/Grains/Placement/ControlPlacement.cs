// Decisions live on silos with the control role: a node that only draws, and may be taken away at any moment, holds
// none.
using Microsoft.Extensions.DependencyInjection;
using Orleans.Placement;
using Orleans.Runtime.MembershipService.SiloMetadata;
using Orleans.Runtime.Placement;

namespace Atelier.Grains.Placement;

/// <summary>Places a grain on silos with the control role. A silo that says nothing of its roles has it.</summary>
[AttributeUsage(AttributeTargets.Class)]
public sealed class ControlSiloAttribute() : PlacementFilterAttribute(new ControlSiloFilterStrategy())
{
    /// <summary>The key under which a silo's metadata say "true" or "false".</summary>
    public const string Metadata = "control";
}

/// <summary>The strategy, which has no settings.</summary>
internal sealed class ControlSiloFilterStrategy : PlacementFilterStrategy
{
    public ControlSiloFilterStrategy()
        : base(0)
    {
    }
}

/// <summary>Keeps the silos that do not say that they lack the role.</summary>
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
