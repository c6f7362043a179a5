// The native routes for generations: submit, read, follow, cancel, delete. A generation continues when its client
// disconnects.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Grains;
using Atelier.Silo.Api.Http;

namespace Atelier.Silo.Api.Generations;

/// <summary>Handlers of /v1/generations.</summary>
internal sealed class GenerationEndpoints(
    IGrainFactory grains, GrainCaller calls, Submissions submissions, GenerationWatch watch, PlacesInQueue places,
    AbandonedGenerations abandoned, ServerSentEvents sse)
{
    private const string LastEventId = "Last-Event-ID";

    public static void Map(IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder group = routes.MapGroup("/generations").WithTags("Generations").For(Audience.Tenants);
        group.MapPost("", (HttpContext context, GenerationEndpoints endpoints) => endpoints.SubmitAsync(context))
            .WithName("createGeneration")
            .WithSummary("Submits a generation. Sending the same id and request again returns the same generation.")
            .Accepts<CreateGenerationRequest>("application/json")
            .Produces<GenerationResponse>(202).Refuses(400, 409, 410, 429, 503);
        group.MapGet(
            "{id}", (HttpContext context, string id, GenerationEndpoints endpoints) => endpoints.GetAsync(context, id))
            .WithName("retrieveGeneration")
            .WithSummary("Returns the current state of a generation.")
            .Produces<GenerationResponse>().Refuses(404);
        group.MapGet(
            "{id}/events", (HttpContext context, string id, string? on_disconnect, GenerationEndpoints endpoints) =>
                endpoints.FollowAsync(context, id, on_disconnect))
            .WithName("streamGenerationEvents")
            .WithSummary("Streams the events of a generation as server-sent events, up to the last one.")
            .WithDescription(
                "An event's name is its phase, and its id is its number. While the generation waits, its place in the "
                + "queue is sent when it has changed, at most once a second, in an event without an id. With the "
                + "header Last-Event-ID the stream resumes after that event; the response is 204 if it was the last "
                + "one. With on_disconnect=cancel the generation is cancelled when this client disconnects and no "
                + "other client follows it.")
            .Produces<GenerationEventResponse>(200, "text/event-stream").Produces(204).Refuses(404);
        group.MapPost(
            "{id}/cancel", (HttpContext context, string id, GenerationEndpoints endpoints) =>
                endpoints.CancelAsync(context, id))
            .WithName("cancelGeneration")
            .WithSummary("Cancels a generation unless it has ended; returns its state.")
            .Produces<GenerationResponse>().Refuses(404);
        group.MapDelete(
            "{id}", (HttpContext context, string id, GenerationEndpoints endpoints) =>
                endpoints.DeleteAsync(context, id))
            .WithName("deleteGeneration")
            .WithSummary("Deletes a generation and its pictures; an open one is cancelled.")
            .Produces(204).Refuses(404);
    }

    private Task<IResult> SubmitAsync(HttpContext context) => submissions.SubmitAsync(context, session: null);

    private async Task<IResult> GetAsync(HttpContext context, string id) => ResultOf(await ViewAsync(context, id));

    private async Task<IResult> CancelAsync(HttpContext context, string idText) => ResultOf(
        GenerationId.TryParse(idText, out GenerationId id)
            ? await calls.CallAsync(() => Generation(context, id).CancelAsync())
            : null);

    private async Task<IResult> DeleteAsync(HttpContext context, string id)
    {
        if (await ViewAsync(context, id) is not { } view)
        {
            return ApiError.NotFound("generation");
        }

        await calls.CallAsync(() => Generation(context, view.Key.Id).DeleteAsync());
        return TypedResults.NoContent();
    }

    private async Task<IResult> FollowAsync(HttpContext context, string idText, string? onDisconnect)
    {
        string? last = context.Request.Headers[LastEventId];
        EventNumber after = EventNumber.Before;
        if (!string.IsNullOrEmpty(last) && !EventNumber.TryParse(last, out after))
        {
            return ApiError.Invalid(
                LastEventId, "invalid_value", "'Last-Event-ID' must be the id of an event, such as 3.7.");
        }

        if (onDisconnect is not (null or "cancel" or "keep"))
        {
            return ApiError.Invalid("on_disconnect", "invalid_value", "'on_disconnect' must be cancel or keep.");
        }

        if (await ViewAsync(context, idText) is not { } view)
        {
            return ApiError.NotFound("generation");
        }

        // 204 makes an EventSource stop reconnecting.
        if (after >= EventNumber.Of(GenerationPhase.Done))
        {
            return TypedResults.NoContent();
        }

        StreamEnd end = await sse.WriteAsync(context, cancellation => places.AddAsync(
            view, watch.WatchAsync(view.Key, after, cancellation), cancellation));
        if (end == StreamEnd.Disconnected && onDisconnect == "cancel")
        {
            await abandoned.CancelAsync([view.Key]);
        }

        return TypedResults.Empty;
    }

    private async Task<GenerationView?> ViewAsync(HttpContext context, string idText) =>
        GenerationId.TryParse(idText, out GenerationId id)
            ? await calls.CallAsync(() => Generation(context, id).ViewAsync())
            : null;

    private IGenerationGrain Generation(HttpContext context, GenerationId id) =>
        grains.Generation(new GenerationKey(context.Tenant(), id));

    private static IResult ResultOf(GenerationView? view) =>
        view is null ? ApiError.NotFound("generation") : TypedResults.Ok(GenerationResponse.Of(view));
}
