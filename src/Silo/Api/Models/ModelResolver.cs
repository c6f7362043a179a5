using Atelier.Contracts.Models;
using Atelier.Grains;
using Atelier.Silo.Api.Http;

namespace Atelier.Silo.Api.Models;

/// <summary>Looks up models in the catalog.</summary>
internal sealed class ModelResolver(IGrainFactory grains, GrainCaller calls)
{
    /// <summary>All models, the default one first.</summary>
    public Task<ModelCard[]> ListAsync() => calls.CallAsync(() => grains.Catalog().ListAsync());

    /// <summary>Finds a model by name, alias or digest; null means the default model.</summary>
    /// <exception cref="ApiException">There is no such model, or no worker has registered any model yet.</exception>
    public async Task<ModelCard> FindAsync(string? name)
    {
        ModelCard? card = await calls.CallAsync(() => grains.Catalog().FindAsync(name));
        return card ?? throw new ApiException(name is null ? NoModels : ApiError.UnknownModel(name));
    }

    private static ApiError NoModels { get; } = new(
        503, ApiError.Server, "no_models", "No worker has registered a model yet; retry in a moment.")
    { RetryAfter = TimeSpan.FromSeconds(2) };
}
