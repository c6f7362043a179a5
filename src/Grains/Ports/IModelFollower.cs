// The port to the part of a silo that offers the cluster's published models to the silo's device.
namespace Atelier.Grains.Ports;

/// <summary>Follows the cluster's list of published models.</summary>
public interface IModelFollower
{
    /// <summary>Notifies it that the list has changed; otherwise it looks periodically.</summary>
    void Wake();
}
