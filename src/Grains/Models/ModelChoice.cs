// The eviction of models from a worker's memory as a pure decision. The queue decides which model is loaded, and when.
using Atelier.Contracts;

namespace Atelier.Grains.Models;

/// <summary>A model in a worker's memory.</summary>
/// <param name="Model">Digest of the model.</param>
/// <param name="Bytes">Bytes of memory that the model takes.</param>
/// <param name="IsUsed">Whether the worker holds work for the model.</param>
/// <param name="LoadedAt">When the model was loaded.</param>
/// <param name="UsedAt">When work for the model was last leased.</param>
public readonly record struct LoadedModel(
    ModelDigest Model, long Bytes, bool IsUsed, TimeSpan LoadedAt, TimeSpan UsedAt);

/// <summary>Chooses the models to evict.</summary>
public static class ModelChoice
{
    /// <summary>
    /// The models to evict, in this order: those without work, least recently used first, then those with work, least
    /// recently loaded first. So models that do not fit together take turns.
    /// </summary>
    /// <param name="loaded">All models in memory.</param>
    /// <param name="bytes">Bytes of memory that the new model takes.</param>
    /// <param name="memoryBytes">Bytes of memory for all models.</param>
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
