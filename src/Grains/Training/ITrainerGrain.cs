using Orleans.Concurrency;

namespace Atelier.Grains.Training;

/// <summary>A device that is lent to training; its key is a worker's.</summary>
[Alias("atelier.ITrainerGrain")]
public interface ITrainerGrain : IGrainWithStringKey
{
    /// <summary>The manager has something to tell: the trainer reports at once.</summary>
    [Alias("Wake"), OneWay]
    Task WakeAsync();

    /// <summary>The stage that it trains; null if it has none.</summary>
    [Alias("Stage")]
    Task<string?> StageAsync();
}
