// The port to the usage of the store of grain states. It is checked before new work is accepted, so that accepted work
// has room to finish.
using Atelier.Contracts;

namespace Atelier.Grains.Ports;

/// <summary>Usage of the store of grain states.</summary>
public interface IStateMeter
{
    /// <summary>Gets whether there is room for new work. Accepted work may also use the reserve.</summary>
    bool HasRoom { get; }

    /// <summary>Bytes of a tenant's states, including their keys; null if the store does not count them.</summary>
    ValueTask<long?> BytesOfAsync(TenantId tenant);
}

/// <summary>The meter of a store that does not report its usage.</summary>
internal sealed class UnmeteredStates : IStateMeter
{
    /// <inheritdoc/>
    public bool HasRoom => true;

    /// <inheritdoc/>
    public ValueTask<long?> BytesOfAsync(TenantId tenant) => new((long?)null);
}
