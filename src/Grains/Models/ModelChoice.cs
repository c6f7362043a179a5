// Which model a worker holds: one pure decision, from what waits where and what fits into memory.
using Atelier.Contracts;

namespace Atelier.Grains.Models;

/// <summary>A model that a worker may hold, and what waits for it.</summary>
/// <param name="Model">Which one.</param>
/// <param name="Bytes">Memory that it takes.</param>
/// <param name="Waiting">Predicted operations of the work that waits for it.</param>
/// <param name="Supply">Workers that hold it and are alive, this one included if it does.</param>
/// <param name="LoadedAt">When this worker last used it; none if it does not hold it.</param>
public readonly record struct ModelDemand(ModelDigest Model, long Bytes, double Waiting, int Supply, DateTimeOffset? LoadedAt);

/// <summary>What to do before taking more work.</summary>
/// <param name="Serve">The model to take work of; none if nothing waits.</param>
/// <param name="Load">Whether it must be loaded first.</param>
/// <param name="Evict">Models to evict before that.</param>
public sealed record ModelPlan(ModelDigest? Serve, bool Load, IReadOnlyList<ModelDigest> Evict);

/// <summary>The decision.</summary>
public static class ModelChoice
{
    /// <summary>
    /// A model with work that the worker holds is served before one that must be loaded, unless that one's work waits
    /// with nobody to do it or is <paramref name="switchFactor"/> times as much for each worker that holds it. What is
    /// evicted is what was used longest ago.
    /// </summary>
    /// <param name="models">All models that the worker may hold.</param>
    /// <param name="memoryBytes">Memory for models.</param>
    /// <param name="switchFactor">How much more work is worth a change.</param>
    public static ModelPlan Decide(IReadOnlyList<ModelDemand> models, long memoryBytes, double switchFactor = 4)
    {
        ModelDemand[] wanted = [.. models.Where(m => m.Waiting > 0 && m.Bytes <= memoryBytes).OrderByDescending(Pressure).ThenBy(Name)];
        ModelDemand? held = wanted.Where(m => m.LoadedAt is not null).Select(m => (ModelDemand?)m).FirstOrDefault();
        ModelDemand? other = wanted.Where(m => m.LoadedAt is null).Select(m => (ModelDemand?)m).FirstOrDefault();
        bool change = other is { } o && (held is not { } h || (o.Supply == 0 && h.Supply > 1) || Pressure(o) > switchFactor * Pressure(h));
        if (!change)
        {
            return new ModelPlan(held?.Model, false, []);
        }

        long free = memoryBytes - models.Where(m => m.LoadedAt is not null).Sum(m => m.Bytes);
        var evict = new List<ModelDigest>();
        foreach (ModelDemand old in models.Where(m => m.LoadedAt is not null).OrderBy(m => m.LoadedAt).ThenBy(Name))
        {
            if (free >= other!.Value.Bytes)
            {
                break;
            }

            evict.Add(old.Model);
            free += old.Bytes;
        }

        return new ModelPlan(other!.Value.Model, true, evict);
    }

    // Work for each worker that does it; work that nobody does presses as much as if one did.
    private static double Pressure(ModelDemand model) => model.Waiting / Math.Max(1, model.Supply);

    private static string Name(ModelDemand model) => model.Model.Value;
}
