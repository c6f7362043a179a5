namespace Atelier.Grains.Ports;

/// <summary>The work on a silo's devices, which can be handed over while the silo still serves requests.</summary>
public interface IDeviceDrain
{
    /// <summary>
    /// Hands over all work; nothing is begun afterwards. Completes once nothing is held, within the limits of the
    /// silo's options.
    /// </summary>
    Task DrainAsync();
}
