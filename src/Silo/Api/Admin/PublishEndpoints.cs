// The administrator's route that publishes a checkpoint of a training run as a model.
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Contracts.Training;
using Atelier.Grains;
using Atelier.Grains.Training;
using Atelier.Model;
using Atelier.Model.Data;
using Atelier.Model.Pipeline;
using Atelier.Model.Training.Runs;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Api.Models;
using Atelier.Silo.Models;
using Atelier.Training.Checkpoints;

namespace Atelier.Silo.Api.Admin;

/// <summary>POST /v1/training/runs/{id}/publish.</summary>
internal sealed class PublishEndpoints(
    IGrainFactory grains, GrainCaller calls, ModelResolver models, Publications publications)
{
    private const int NameLengthMax = 200;

    public static void Map(IEndpointRouteBuilder routes) => routes
        .MapPost(
            "/training/runs/{id}/publish",
            (string id, HttpContext context, PublishEndpoints endpoints) => endpoints.PublishAsync(id, context))
        .WithTags("Training").For(Audience.Administrators)
        .WithName("publishRun").WithSummary("Publishes a checkpoint of a run as a model of the cluster.")
        .WithDescription(
            "Idempotent: the same checkpoint under the same name gives the same response; another one is refused. The "
            + "model is available once silos have fetched it. The default model does not change.")
        .Accepts<PublishRunRequest>("application/json").Produces<PublicationResponse>()
        .Produces<PublicationResponse>(202).Refuses(400, 404, 409, 503);

    private async Task<IResult> PublishAsync(string text, HttpContext context)
    {
        JsonFields fields = await RequestBody.FieldsAsync<PublishRunRequest>(context.Request);
        if (fields.Text("name", NameLengthMax) is not { } name)
        {
            return ApiError.Invalid(
                "name", "missing_required_parameter", "'name' is missing: it is the name of the model.");
        }

        if (ModelFolder.NameFault(name) is { } fault)
        {
            return ApiError.Invalid("name", "invalid_value", $"'name' {fault}");
        }

        if (name.StartsWith(PublishedModel.PanelPrefix, StringComparison.Ordinal))
        {
            return ApiError.Invalid(
                "name", "invalid_value",
                $"'name' must not start with {PublishedModel.PanelPrefix}: such models draw the panels of runs.");
        }

        int? givenStage = (int?)fields.Whole("stage", 0, ITrainingRunGrain.StagesMax - 1);
        long? step = fields.Whole("step", 1, long.MaxValue);
        string? model = fields.Text("model", ModelFolder.NameLengthMax);
        if (!RunId.TryParse(text, out RunId id)
            || await calls.CallAsync(() => Run(id).CurrentAsync()) is not (_, int current))
        {
            return ApiError.NotFound("run");
        }

        int stage = givenStage ?? current;
        if (await calls.CallAsync(() => Run(id).StageAsync(stage)) is not { } source)
        {
            return ApiError.Invalid("stage", "invalid_value", $"The run '{id}' has no stage {stage}.");
        }

        ModelDigest? other = model is null ? null : (await models.FindAsync(model)).Digest;
        ITrainingStageGrain grain = grains.GetGrain<ITrainingStageGrain>(new OpenRun(id, stage).StageKey);
        long? last = (await calls.CallAsync(() => grain.LastAsync()))?.Step;
        var key = new PublicationKey(name, id.Value, stage, step ?? last ?? 0, other);
        if (await FindAsync(key) is { } answer)
        {
            return answer;
        }

        CheckpointManifest? checkpoint = await calls.CallAsync(() => grain.PinAsync(key.Step, Publications.TimeMax));
        return checkpoint is null
            ? Refused("no_checkpoint", last is null
                ? $"{source.Name} (stage {stage} of '{id}') has no checkpoint yet."
                : $"{source.Name} (stage {stage} of '{id}') keeps no checkpoint of step {step}; the last one is of "
                    + $"step {last}.")
            : await PublishAsync(key, source, checkpoint);
    }

    private async Task<IResult> PublishAsync(PublicationKey key, StageSource source, CheckpointManifest checkpoint)
    {
        StageConfig config = StageConfig.Parse(source.Name, source.Configuration, source.Overrides);
        NetworkDigests? networks = StageNetworks.Of(source, config);
        try
        {
            return await publications.PublishAsync(key, config, networks, checkpoint) switch
            {
                null => TypedResults.Accepted((string?)null, new PublicationResponse
                {
                    Name = key.Name, Status = "publishing", Stage = key.Stage, Step = key.Step,
                }),
                { Outcome: PublishOutcome.Published, Model: { } model } => await DescribeAsync(model),
                { Outcome: PublishOutcome.NameExists, Model: { } model } => NameExists(model),
                _ => Refused(
                    "too_many_models",
                    $"{IPublishedModelsGrain.SizeMax} models are published, which is the maximum; withdraw one first "
                    + "(DELETE /v1/models/NAME)."),
            };
        }
        catch (PublishRefusedException refusal)
        {
            return Refused(refusal.Code, refusal.Message);
        }
        catch (Exception error) when (error is RefusedFileException or UnauthorizedAccessException)
        {
            return Refused("cannot_publish", $"{source.Name} cannot be published here: {error.Message}");
        }
        catch (IOException error)
        {
            return new ApiError(
                503, ApiError.Server, "unavailable",
                $"Nothing was published: {error.Message} Send the request again.")
            { RetryAfter = TimeSpan.FromSeconds(5) };
        }
    }

    // The answer if the name is in use; null if it is free.
    private async Task<IResult?> FindAsync(PublicationKey key)
    {
        if (await calls.CallAsync(() => grains.PublishedModels().FindAsync(key.Name)) is { } known)
        {
            ModelOrigin origin = known.Origin;
            bool isSame = (origin.Run, origin.Stage, origin.Step) == (key.Run, key.Stage, key.Step)
                && (key.Base ?? known.Base) == known.Base;
            return isSame ? await DescribeAsync(known) : NameExists(known);
        }

        return await models.TryFindAsync(key.Name) is null ? null : NameExists(
            key.Name, "is the name, an alias or the digest of a model from a folder; use another name.");
    }

    private async Task<IResult> DescribeAsync(PublishedModel model) =>
        TypedResults.Ok(PublicationResponse.Of(model, await models.IsSupersededAsync(model.Origin)));

    private static ApiError NameExists(PublishedModel model) => NameExists(
        model.Name,
        $"is published from run '{model.Origin.Run}', stage {model.Origin.Stage}, step {model.Origin.Step}, with the "
        + $"networks of the model {model.Base}; use another name, or withdraw that model first (DELETE "
        + "/v1/models/NAME).");

    private static ApiError NameExists(string name, string why) =>
        Refused("name_exists", $"'{name}' {why}") with { Param = "name" };

    private static ApiError Refused(string code, string message) => new(409, ApiError.InvalidRequest, code, message);

    private ITrainingRunGrain Run(RunId id) => grains.GetGrain<ITrainingRunGrain>(id.Value);
}
