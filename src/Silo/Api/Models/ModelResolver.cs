using Atelier.Contracts.Models;
using Atelier.Grains;
using Atelier.Silo.Api.Http;

namespace Atelier.Silo.Api.Models;

/// <summary>Asks the catalogue.</summary>
internal sealed class ModelResolver(IGrainFactory grains, GrainCaller calls)
{
    /// <summary>All models, the default one first.</summary>
    public Task<ModelCard[]> ListAsync() => calls.CallAsync(() => grains.Catalog().ListAsync());

    /// <summary>The model of a name, an alias or a digest; without a name the default one.</summary>
    /// <exception cref="ApiException">There is none.</exception>
    public async Task<ModelCard> FindAsync(string? name)
    {
        ModelCard? card = await calls.CallAsync(() => grains.Catalog().FindAsync(name));
        return card ?? throw new ApiException(name is null ? NoModels : ApiError.UnknownModel(name));
    }

    private static ApiError NoModels { get; } = new(
        503, ApiError.Server, "no_models", "No worker has brought a model yet; come back in a moment.")
    { RetryAfter = TimeSpan.FromSeconds(2) };
}
