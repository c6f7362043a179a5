using Orleans.Concurrency;

namespace Atelier.Grains.Training;

/// <summary>
/// A trainer: a device that its silo lends to training. The grain's key is the key of the device's worker.
/// </summary>
[Alias("atelier.ITrainerGrain")]
public interface ITrainerGrain : IGrainWithStringKey
{
    /// <summary>Asks the trainer to report to the manager of its stage at once.</summary>
    [Alias("Wake"), OneWay]
    Task WakeAsync();

    /// <summary>Key of the stage that the trainer is training; null if there is none.</summary>
    [Alias("Stage")]
    Task<string?> StageAsync();
}
