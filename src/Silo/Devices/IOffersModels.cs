namespace Atelier.Silo.Devices;

/// <summary>A device whose models change while it is in use.</summary>
public interface IOffersModels
{
    /// <summary>
    /// Replaces the models that the device can load besides those that it was created with. A model that is loaded
    /// stays in memory until it is evicted.
    /// </summary>
    /// <param name="models">The models, in the order in which they are listed after those of the device itself.</param>
    void Offer(IReadOnlyList<DeviceModel> models);
}
