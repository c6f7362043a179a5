// Routes that list and describe the models.
using Atelier.Silo.Api.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Atelier.Silo.Api.Models;

/// <summary>GET /v1/models and GET /v1/models/{id}.</summary>
internal sealed class ModelEndpoints(ModelResolver models)
{
    private const string Route = "/v1/models/";

    public static void Map(IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder group = routes.MapGroup("/models").WithTags("Models").For(Audience.Everybody);
        group.MapGet("", (ModelEndpoints endpoints) => endpoints.ListAsync())
            .WithName("listModels")
            .WithSummary("Lists the models, the default one first.")
            .Produces<ModelListResponse>();
        group.MapGet(
            "{**id}", (HttpContext context, string id, ModelEndpoints endpoints) => endpoints.GetAsync(context))
            .WithName("retrieveModel")
            .WithSummary("Describes a model, by its name, an alias or its digest.")
            .Produces<ModelResponse>().Refuses(404);
    }

    private async Task<IResult> ListAsync() =>
        TypedResults.Ok(new ModelListResponse("list", [.. (await models.ListAsync()).Select(ModelResponse.Of)]));

    private async Task<IResult> GetAsync(HttpContext context) =>
        TypedResults.Ok(ModelResponse.Of(await models.FindAsync(IdOf(context))));

    // Model names are free text. In a decoded path %2F and %252F look alike, so the id is read from the raw request
    // target. The route before the id is never shorter there than in the decoded path.
    private static string IdOf(HttpContext context)
    {
        string target = context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
        return Uri.UnescapeDataString(target.Split('?')[0][Route.Length..]);
    }
}
