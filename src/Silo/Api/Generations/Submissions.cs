using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Grains;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Api.Models;

namespace Atelier.Silo.Api.Generations;

/// <summary>Submits generations for the native routes.</summary>
internal sealed class Submissions(IGrainFactory grains, GrainCaller calls, ModelResolver models)
{
    /// <summary>Reads a request's body and submits its generation.</summary>
    /// <param name="context">The request.</param>
    /// <param name="session">The session that the generation belongs to, if any.</param>
    /// <exception cref="ApiException">The body is not valid.</exception>
    public async Task<IResult> SubmitAsync(HttpContext context, SessionId? session)
    {
        TenantId tenant = context.Tenant();
        JsonFields fields = await RequestBody.FieldsAsync<CreateGenerationRequest>(context.Request);
        DrawingRequest drawing = DrawingRequest.Read(fields);
        GenerationId id = fields.Name("id") is { } chosen ? new GenerationId(chosen) : NewIds.Generation();
        int previews = (int)(fields.Whole("previews", 0, Submission.PreviewsMax) ?? 0);
        var key = new GenerationKey(tenant, id);
        GenerationSpec spec = drawing.ToSpec(await models.FindAsync(drawing.Model), NewIds.SeedOf(key));
        var submission = new Submission { Spec = spec, Session = session, Previews = previews };
        return Answer(await calls.CallAsync(() => session is { } one
            ? grains.Session(new SessionKey(tenant, one)).SubmitAsync(id, submission)
            : grains.Generation(key).SubmitAsync(submission)));
    }

    /// <summary>The response to a submission.</summary>
    public static IResult Answer(SubmitAnswer answer) => ApiError.Of(answer) is { } error
        ? error
        : TypedResults.Accepted(Paths.Generation(answer.View!.Key.Id), GenerationResponse.Of(answer.View));
}
