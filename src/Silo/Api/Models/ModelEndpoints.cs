// Routes that list and describe the models, and withdraw published ones.
using Atelier.Contracts.Models;
using Atelier.Grains;
using Atelier.Silo.Api.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Atelier.Silo.Api.Models;

/// <summary>GET /v1/models, and GET and DELETE /v1/models/{id}.</summary>
internal sealed class ModelEndpoints(ModelResolver models, IGrainFactory grains, GrainCaller calls)
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
        routes.MapDelete(
            "/models/{**id}",
            (HttpContext context, string id, ModelEndpoints endpoints) => endpoints.WithdrawAsync(context))
            .WithTags("Models").For(Audience.Administrators)
            .WithName("withdrawModel")
            .WithSummary("Withdraws a published model, by its name: it takes no new requests; accepted ones are drawn.")
            .Produces(204).Refuses(404);
    }

    private async Task<IResult> ListAsync() => TypedResults.Ok(new ModelListResponse(
        "list", await Task.WhenAll((await models.ListAsync()).Select(DescribeAsync))));

    private async Task<IResult> GetAsync(HttpContext context) =>
        TypedResults.Ok(await DescribeAsync(await models.FindAsync(IdOf(context))));

    private async Task<ModelResponse> DescribeAsync(ModelCard card) =>
        ModelResponse.Of(card, await models.IsSupersededAsync(card.Origin));

    private async Task<IResult> WithdrawAsync(HttpContext context)
    {
        string name = IdOf(context);
        return await calls.CallAsync(() => grains.PublishedModels().WithdrawAsync(name))
            ? TypedResults.NoContent()
            : new ApiError(
                404, ApiError.InvalidRequest, "model_not_found",
                "No model is published under this name. Models from folders are removed by changing Models:Folders.");
    }

    // Model names are free text. In a decoded path %2F and %252F look alike, so the id is read from the raw request
    // target. The route before the id is never shorter there than in the decoded path.
    private static string IdOf(HttpContext context)
    {
        string target = context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
        return Uri.UnescapeDataString(target.Split('?')[0][Route.Length..]);
    }
}
