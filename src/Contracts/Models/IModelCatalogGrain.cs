using Orleans.CodeGeneration;
using Orleans.Concurrency;

namespace Atelier.Contracts.Models;

/// <summary>The catalog of a cluster's models; the grain's key is 0.</summary>
[Alias("atelier.IModelCatalogueGrain"), Version(1)]
public interface IModelCatalogGrain : IGrainWithIntegerKey
{
    /// <summary>Maximum number of models in a catalog.</summary>
    const int SizeMax = 64;

    /// <summary>
    /// Registers a model that a worker can load; the worker repeats the call periodically. Returns false if the catalog
    /// is full.
    /// </summary>
    /// <exception cref="ArgumentException">The card is not valid; see <see cref="ModelCard.Fault"/>.</exception>
    [Alias("Register")]
    Task<bool> RegisterAsync(ModelCard card);

    /// <summary>
    /// Removes a published model that was withdrawn. A worker that still holds the model registers it again.
    /// </summary>
    [Alias("Remove")]
    Task RemoveAsync(ModelDigest model);

    /// <summary>All models that are not retired, the default one first.</summary>
    [Alias("List"), AlwaysInterleave]
    Task<ModelCard[]> ListAsync();

    /// <summary>
    /// Finds a model by digest, name or alias, or the default model if the name is null. If several models have the
    /// name, the method returns the newest of those that a live worker holds. Returns null if no model matches.
    /// </summary>
    [Alias("Find"), AlwaysInterleave]
    Task<ModelCard?> FindAsync(string? name);
}
