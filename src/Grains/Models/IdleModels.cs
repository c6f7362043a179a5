// Which models no work needs. A queue that has just started does not know all work yet, so it must have no work for a
// model at two attempts, some time apart.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;

namespace Atelier.Grains.Models;

/// <summary>Asks the queue whether models are needed.</summary>
/// <param name="grains">Finds the queue.</param>
/// <param name="apart">Minimum time between the two attempts.</param>
internal sealed class IdleModels(IGrainFactory grains, TimeSpan apart)
{
    private readonly Dictionary<ModelDigest, TimeSpan> _idleSince = [];

    /// <summary>
    /// Whether the queue has no work for a model, now and at an earlier attempt. Then the model is forgotten here.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="now">The time, on the caller's clock.</param>
    public async Task<bool> IsIdleAsync(ModelDigest model, TimeSpan now)
    {
        QueueStatus? status = await GrainCalls.TryAsync(() => grains.WorkQueue().StatusOfAsync(model));
        if (status is not { Waiting: 0, Leased: 0 })
        {
            _idleSince.Remove(model);
            return false;
        }

        return !_idleSince.TryAdd(model, now) && now - _idleSince[model] >= apart && _idleSince.Remove(model);
    }
}
