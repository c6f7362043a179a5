// The models, by the names that requests use.
using Atelier.Contracts;
using Atelier.Grains;

namespace Atelier.Silo.Api;

/// <summary>Asks the catalogue.</summary>
internal sealed class Models(IGrainFactory grains, GrainCaller calls)
{
    /// <summary>All models, the default one first.</summary>
    public Task<ModelCard[]> ListAsync() => calls.CallAsync(() => grains.Catalogue().ListAsync());

    /// <summary>The model of a name, an alias or a digest; without a name the default one.</summary>
    /// <exception cref="ApiException">There is none.</exception>
    public async Task<ModelCard> FindAsync(string? name)
    {
        ModelCard? card = await calls.CallAsync(() => grains.Catalogue().FindAsync(name));
        return card ?? throw new ApiException(name is null ? NoModels : ApiError.UnknownModel(name));
    }

    private static ApiError NoModels { get; } = new(
        503, ApiError.Server, "no_models", "No worker has brought a model yet; come back in a moment.")
    { RetryAfter = TimeSpan.FromSeconds(2) };
}

/// <summary>GET /v1/models and GET /v1/models/{id}.</summary>
internal sealed class ModelEndpoints(Models models)
{
    public static void Map(IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder group = routes.MapGroup("/models").WithTags("Models").For(Audience.Everybody);
        group.MapGet("", (ModelEndpoints endpoints) => endpoints.ListAsync())
            .WithSummary("Lists the models, the default one first.")
            .Produces<ModelsShape>();
        group.MapGet("{id}", (string id, ModelEndpoints endpoints) => endpoints.GetAsync(id))
            .WithSummary("Describes a model, by its name, an alias or its digest.")
            .Produces<ModelShape>().Produces<ErrorBody>(404);
    }

    private async Task<IResult> ListAsync() =>
        TypedResults.Ok(new ModelsShape("list", [.. (await models.ListAsync()).Select(ModelShape.Of)]));

    private async Task<IResult> GetAsync(string id) => TypedResults.Ok(ModelShape.Of(await models.FindAsync(id)));
}
