// The native routes for sessions: open, read, delete, list the history, submit and vary.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Sessions;
using Atelier.Grains;
using Atelier.Silo.Api.Generations;
using Atelier.Silo.Api.Http;

namespace Atelier.Silo.Api.Sessions;

/// <summary>Handlers of /v1/sessions.</summary>
internal sealed class SessionEndpoints(IGrainFactory grains, GrainCaller calls, Submissions submissions)
{
    private const int CountMax = 100;
    private const int CountStandard = 20;

    public static void Map(IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder group = routes.MapGroup("/sessions").WithTags("Sessions").For(Audience.Tenants);
        group.MapPost("", (HttpContext context, SessionEndpoints endpoints) => endpoints.OpenAsync(context))
            .WithName("openSession")
            .WithSummary("Opens a session; returns the existing one if the id is known.")
            .Accepts<OpenSessionRequest>(isOptional: true, "application/json")
            .Produces<SessionResponse>(201).Refuses(400, 410, 429);
        group.MapGet(
            "{id}", (HttpContext context, string id, SessionEndpoints endpoints) => endpoints.GetAsync(context, id))
            .WithName("retrieveSession")
            .WithSummary("Returns a session.")
            .Produces<SessionResponse>().Refuses(404);
        group.MapDelete(
            "{id}", (HttpContext context, string id, SessionEndpoints endpoints) => endpoints.DeleteAsync(context, id))
            .WithName("deleteSession")
            .WithSummary("Deletes a session with its generations and their pictures.")
            .Produces(204).Refuses(404);
        group.MapGet("{id}/generations",
                (HttpContext context, string id, string? start, string? count, SessionEndpoints endpoints) =>
                    endpoints.HistoryAsync(context, id, start, count))
            .WithName("listSessionGenerations")
            .WithSummary("Lists a session's generations, oldest first, starting at an index, 1 to 100 at a time.")
            .Produces<HistoryResponse>().Refuses(400, 404);
        group.MapPost(
            "{id}/generations", (HttpContext context, string id, SessionEndpoints endpoints) =>
                endpoints.SubmitAsync(context, id))
            .WithName("createSessionGeneration")
            .WithSummary("Submits a generation in a session.")
            .Accepts<CreateGenerationRequest>("application/json")
            .Produces<GenerationResponse>(202).Refuses(400, 404, 409, 410, 429, 503);
        group.MapPost("{id}/generations/{generation}/variations",
                (HttpContext context, string id, string generation, SessionEndpoints endpoints) =>
                    endpoints.VaryAsync(context, id, generation))
            .WithName("createVariation")
            .WithSummary("Submits a variation: the same prompt and settings with the next seed, or a given one.")
            .Accepts<CreateVariationRequest>(isOptional: true, "application/json")
            .Produces<GenerationResponse>(202).Refuses(400, 404, 409, 410, 429, 503);
    }

    private async Task<IResult> OpenAsync(HttpContext context)
    {
        JsonFields fields = await RequestBody.FieldsAsync<OpenSessionRequest>(context.Request);
        SessionId id = fields.Name("id") is { } chosen ? new SessionId(chosen) : NewIds.Session();
        ISessionGrain session = grains.Session(new SessionKey(context.Tenant(), id));
        SessionAnswer answer = await calls.CallAsync(() => session.BeginAsync());
        return answer.View is { } view
            ? TypedResults.Created($"/v1/sessions/{id}", SessionResponse.Of(view))
            : ApiError.Of(answer.Refusal!)!;
    }

    private async Task<IResult> GetAsync(HttpContext context, string id) =>
        TypedResults.Ok(SessionResponse.Of(await FindAsync(context, id)));

    private async Task<IResult> DeleteAsync(HttpContext context, string idText)
    {
        if (!SessionId.TryParse(idText, out SessionId id))
        {
            return ApiError.NotFound("session");
        }

        // A deletion that was interrupted must be resumed even though the session is already hidden.
        ISessionGrain session = grains.Session(new SessionKey(context.Tenant(), id));
        bool known = await calls.CallAsync(() => session.ViewAsync()) is not null;
        while (!await calls.CallAsync(() => session.DeleteAsync()))
        {
            known = true;
        }

        return known ? TypedResults.NoContent() : ApiError.NotFound("session");
    }

    private async Task<IResult> HistoryAsync(HttpContext context, string id, string? startText, string? countText)
    {
        int start = Whole("start", startText, 0, 0, ISessionGrain.GenerationsMax);
        int count = Whole("count", countText, CountStandard, 1, CountMax);
        ISessionGrain session = grains.Session((await FindAsync(context, id)).Key);
        HistoryPage page = await calls.CallAsync(() => session.HistoryAsync(start, count));
        return TypedResults.Ok(new HistoryResponse([.. page.Items.Select(GenerationResponse.Of)], page.Next));
    }

    private async Task<IResult> SubmitAsync(HttpContext context, string id) =>
        await submissions.SubmitAsync(context, (await FindAsync(context, id)).Key.Id);

    private async Task<IResult> VaryAsync(HttpContext context, string idText, string ofText)
    {
        JsonFields fields = await RequestBody.FieldsAsync<CreateVariationRequest>(context.Request);
        GenerationId id = fields.Name("id") is { } chosen ? new GenerationId(chosen) : NewIds.Generation();
        ulong? seed = fields.Seed("seed");
        SessionKey session = (await FindAsync(context, idText)).Key;
        GenerationView? earlier = GenerationId.TryParse(ofText, out GenerationId of)
            ? await calls.CallAsync(() => grains.Generation(new GenerationKey(session.Tenant, of)).ViewAsync())
            : null;
        return earlier?.Submission.Session == session.Id
            ? Submissions.Answer(await calls.CallAsync(() => grains.Session(session).VaryAsync(id, of, seed)))
            : ApiError.NotFound("generation in this session");
    }

    private async Task<SessionView> FindAsync(HttpContext context, string idText)
    {
        SessionView? view = SessionId.TryParse(idText, out SessionId id)
            ? await calls.CallAsync(() => grains.Session(new SessionKey(context.Tenant(), id)).ViewAsync())
            : null;
        return view ?? throw new ApiException(ApiError.NotFound("session"));
    }

    private static int Whole(string name, string? text, int standard, int min, int max) => text switch
    {
        null => standard,
        _ when int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value)
            && value >= min
            && value <= max => value,
        _ => throw new ApiException(
            ApiError.Invalid(name, "invalid_value", $"'{name}' must be a whole number in {min}..{max}.")),
    };
}
