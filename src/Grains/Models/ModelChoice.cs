// Which models leave a worker's memory for another one: one pure decision. Which model comes, and when, the queue says.
using Atelier.Contracts;

namespace Atelier.Grains.Models;

/// <summary>A model in a worker's memory.</summary>
/// <param name="Model">Which one.</param>
/// <param name="Bytes">Memory that it takes.</param>
/// <param name="IsUsed">Whether the worker holds work of it.</param>
/// <param name="LoadedAt">When it was loaded.</param>
/// <param name="UsedAt">When its work was last taken.</param>
public readonly record struct LoadedModel(
    ModelDigest Model, long Bytes, bool IsUsed, TimeSpan LoadedAt, TimeSpan UsedAt);

/// <summary>The decision.</summary>
public static class ModelChoice
{
    /// <summary>
    /// The models to evict: first those without work, the one used longest ago at the head, then those with work, the
    /// one loaded longest ago at the head. So models that do not fit together take turns.
    /// </summary>
    /// <param name="loaded">All models in memory.</param>
    /// <param name="bytes">Memory that the new model takes.</param>
    /// <param name="memoryBytes">Memory for models.</param>
    public static IReadOnlyList<ModelDigest> Evictions(
        IReadOnlyCollection<LoadedModel> loaded, long bytes, long memoryBytes)
    {
        long free = memoryBytes - loaded.Sum(model => model.Bytes);
        var evict = new List<ModelDigest>();
        foreach (LoadedModel old in loaded
            .OrderBy(model => model.IsUsed)
            .ThenBy(model => model.IsUsed ? model.LoadedAt : model.UsedAt)
            .ThenBy(model => model.Model.Value, StringComparer.Ordinal))
        {
            if (free >= bytes)
            {
                break;
            }

            evict.Add(old.Model);
            free += old.Bytes;
        }

        return evict;
    }
}
