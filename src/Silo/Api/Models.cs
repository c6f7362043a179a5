// The models, by the names that requests use.
using Atelier.Contracts;
using Atelier.Grains;
using Microsoft.AspNetCore.Http.Features;

namespace Atelier.Silo.Api;

/// <summary>Asks the catalogue.</summary>
internal sealed class Models(IGrainFactory grains, GrainCaller calls)
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

/// <summary>GET /v1/models and GET /v1/models/{id}.</summary>
internal sealed class ModelEndpoints(Models models)
{
    private const string Route = "/v1/models/";

    public static void Map(IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder group = routes.MapGroup("/models").WithTags("Models").For(Audience.Everybody);
        group.MapGet("", (ModelEndpoints endpoints) => endpoints.ListAsync())
            .WithSummary("Lists the models, the default one first.")
            .Produces<ModelsShape>();
        group.MapGet(
            "{**id}", (HttpContext context, string id, ModelEndpoints endpoints) => endpoints.GetAsync(context))
            .WithSummary("Describes a model, by its name, an alias or its digest.")
            .Produces<ModelShape>().Produces<ErrorBody>(404);
    }

    private async Task<IResult> ListAsync() =>
        TypedResults.Ok(new ModelsShape("list", [.. (await models.ListAsync()).Select(ModelShape.Of)]));

    private async Task<IResult> GetAsync(HttpContext context) =>
        TypedResults.Ok(ModelShape.Of(await models.FindAsync(IdOf(context))));

    // Names of models are free text. In a decoded path %2F and %252F look alike, so the id is read from the target as
    // it came; what is in front of it is never shorter there.
    private static string IdOf(HttpContext context)
    {
        string target = context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
        return Uri.UnescapeDataString(target.Split('?')[0][Route.Length..]);
    }
}
