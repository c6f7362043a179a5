// How full the store of grain states is: asked before anything new is accepted, so that what was accepted has room to
// end.
using Atelier.Contracts;

namespace Atelier.Grains.Ports;

/// <summary>How much the store of grain states holds.</summary>
public interface IStateMeter
{
    /// <summary>
    /// Gets whether there is room for new work. Work that was accepted may use what is kept back for it.
    /// </summary>
    bool HasRoom { get; }

    /// <summary>
    /// Bytes of the states that a tenant keeps, with their keys; null where the store does not count them.
    /// </summary>
    ValueTask<long?> BytesOfAsync(TenantId tenant);
}

/// <summary>Of a store that says nothing of its room.</summary>
internal sealed class UnmeteredStates : IStateMeter
{
    /// <inheritdoc/>
    public bool HasRoom => true;

    /// <inheritdoc/>
    public ValueTask<long?> BytesOfAsync(TenantId tenant) => new((long?)null);
}
