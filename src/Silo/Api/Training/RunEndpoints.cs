// The routes for training runs, for the administrator and for tenants with the right to train. A tenant sees its own
// runs only.
using System.Text.Json;
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Atelier.Contracts.Training;
using Atelier.Grains;
using Atelier.Grains.Ports;
using Atelier.Grains.Training;
using Atelier.Model;
using Atelier.Model.Data;
using Atelier.Model.Training.Runs;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Training;
using Atelier.Training.Checkpoints;

namespace Atelier.Silo.Api.Training;

/// <summary>Handlers of /v1/training/runs.</summary>
internal sealed partial class RunEndpoints(
    IGrainFactory grains, GrainCaller calls, IBlobStore blobs, TrainingDataEndpoints data, StepHistory history,
    RunWatch watch, ServerSentEvents streams)
{
    /// <summary>The path of the routes, below /v1.</summary>
    public const string Path = "/training/runs";

    // Maximum duration of an export; its checkpoint is kept for this time.
    private static readonly TimeSpan s_exportMax = TimeSpan.FromHours(1);

    public static void Map(IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder group = routes.MapGroup(Path).WithTags("Training").For(Audience.Everybody);
        group.MapPost("", (HttpContext context, RunEndpoints endpoints) => endpoints.SubmitAsync(context))
            .WithName("submitRun").WithSummary("Submits a training run to the cluster's trainers.")
            .WithDescription(
                "Idempotent: the same run under the same id is accepted again; another one is refused. Tenants need "
                + "the right to train (may_train).")
            .Accepts<SubmitRunRequest>("application/json").Produces<RunResponse>(202).Refuses(400, 403, 409, 429);
        group.MapGet("", (HttpContext context, RunEndpoints endpoints) => endpoints.ListAsync(context))
            .WithName("listRuns")
            .WithSummary("Lists open runs in order of submission, then ended runs, the last one first.")
            .Produces<RunListResponse>().Refuses(403);
        group.MapGet("{id}", (HttpContext context, string id, RunEndpoints endpoints) =>
            endpoints.GetAsync(context, id))
            .WithName("retrieveRun").WithSummary("Returns a run with its stages and trainers.")
            .Produces<RunResponse>().Refuses(403, 404);
        group.MapPost("{id}/pause", (HttpContext context, string id, RunEndpoints endpoints) =>
            endpoints.PauseAsync(context, id))
            .WithName("pauseRun").WithSummary("Pauses a run at its next checkpoint, or now.")
            .Accepts<PauseRunRequest>(isOptional: true, "application/json")
            .Produces<RunResponse>().Refuses(400, 403, 404, 409);
        group.MapPost("{id}/resume", (HttpContext context, string id, RunEndpoints endpoints) =>
            endpoints.ResumeAsync(context, id))
            .WithName("resumeRun").WithSummary("Resumes a paused run from its last checkpoint.")
            .Accepts<ResumeRunRequest>(isOptional: true, "application/json")
            .Produces<RunResponse>().Refuses(400, 403, 404, 409);
        group.MapPost("{id}/export", (HttpContext context, string id, RunEndpoints endpoints) =>
            endpoints.ExportAsync(id, context.RequestAborted))
            .WithName("exportRun")
            .WithSummary("Exports the current stage's last checkpoint to the stage's folder; train can resume from it.")
            .For(Audience.Administrators).Produces<ExportResponse>().Refuses(403, 404, 409);
        group.MapDelete("{id}", (HttpContext context, string id, RunEndpoints endpoints) =>
            endpoints.CancelAsync(context, id))
            .WithName("cancelRun").WithSummary("Cancels a run; its last checkpoint is kept.")
            .Produces(204).Refuses(403, 404);
        MapHistory(group);
    }

    private async Task<IResult> SubmitAsync(HttpContext context)
    {
        byte[] body = await RequestBody.ReadAsync(context.Request, context.RequestAborted);
        SubmitRunRequest? request;
        try
        {
            request = JsonSerializer.Deserialize<SubmitRunRequest>(body, ApiJson.Options);
        }
        catch (JsonException error)
        {
            return ApiError.Invalid(
                error.Path, "invalid_value", $"The body is not a valid training run: {error.Message}");
        }

        if (request is null || !RunId.TryParse(request.Id, out RunId id))
        {
            return ApiError.Invalid("id", "invalid_value", $"'id' must have {Contracts.Names.Rule}.");
        }

        if (request.Stages is not { Length: >= 1 and <= ITrainingRunGrain.StagesMax }
            || request.Stages.Any(stage => stage is not { Configuration: not null, Overrides: not null }
                || stage.Overrides.Contains(null)))
        {
            return ApiError.Invalid(
                "stages", "invalid_value",
                $"'stages' must have 1 to {ITrainingRunGrain.StagesMax} stages, each with a 'configuration' "
                + "and, optionally, 'overrides', which is a list of strings.");
        }

        TenantId? owner = await OwnerAsync(context);

        // Of a run that was submitted before, data may have been removed and folders written since.
        bool isNew = await calls.CallAsync(() => Run(id).CurrentAsync()) is null;
        RunSubmission submission;
        try
        {
            submission = new RunSubmission
            {
                Stages = Resolve(request.Stages), Priority = request.Priority ?? 0, Weight = request.Weight ?? 1,
                BudgetSeconds = request.BudgetSeconds, Owner = owner,
            };
            if (isNew)
            {
                await data.CheckAsync(
                    request.Stages.SelectMany((stage, i) =>
                        StageConfig.Parse($"stages[{i}]", stage.Configuration, stage.Overrides).DataFolders),
                    context.RequestAborted);
            }
        }
        catch (Exception error) when (error is RefusedFileException or ArgumentException)
        {
            return ApiError.Invalid("stages", "invalid_value", error.Message);
        }

        if (submission.Fault() is { } fault)
        {
            return ApiError.Invalid(null, "invalid_value", fault);
        }

        if (isNew && ResumedStages.Conflict(submission.Stages) is { } conflict)
        {
            return ApiError.Invalid("stages", "invalid_value", conflict);
        }

        return await calls.CallAsync(() => Run(id).SubmitAsync(submission)) switch
        {
            RunAnswer.Accepted => TypedResults.Accepted(
                $"/v1{Path}/{id}", RunResponse.Of((await calls.CallAsync(() => Run(id).ViewAsync()))!)),
            RunAnswer.Conflict => new ApiError(
                409, ApiError.InvalidRequest, "id_conflict",
                $"Another run '{id}' was submitted before; use another id.")
            { Param = "id" },
            _ => new ApiError(
                429, ApiError.RateLimit, "too_many_runs",
                $"The maximum of {ITrainingBoardGrain.RunsMax} runs are open; cancel a run or wait until one ends."),
        };
    }

    /// <summary>Finds a run that the caller may see.</summary>
    /// <exception cref="ApiException">The run does not exist, or the caller may not train.</exception>
    public async Task<RunView> FindAsync(HttpContext context, string text)
    {
        TenantId? owner = await OwnerAsync(context);
        return RunId.TryParse(text, out RunId id) && await calls.CallAsync(() => Run(id).ViewAsync()) is { } view
            && (owner is null || owner == view.Owner)
            ? view : throw new ApiException(ApiError.NotFound("run"));
    }

    private async Task<IResult> ListAsync(HttpContext context)
    {
        TenantId? owner = await OwnerAsync(context);
        RunSummary[] runs = await calls.CallAsync(() => grains.GetGrain<ITrainingBoardGrain>(0).ListAsync());
        return TypedResults.Ok(new RunListResponse(
            [.. runs.Where(run => owner is null || run.Owner == owner).Select(RunSummaryResponse.Of)]));
    }

    private async Task<IResult> GetAsync(HttpContext context, string text) =>
        TypedResults.Ok(RunResponse.Of(await FindAsync(context, text)));

    private async Task<IResult> PauseAsync(HttpContext context, string text)
    {
        JsonFields fields = await RequestBody.FieldsAsync<PauseRunRequest>(context.Request);
        RunView view = await FindAsync(context, text);
        bool isImmediate = fields.Flag("now") ?? false;
        return await ChangeAsync(view, "paused", run => run.PauseAsync(isImmediate));
    }

    private async Task<IResult> ResumeAsync(HttpContext context, string text)
    {
        JsonFields fields = await RequestBody.FieldsAsync<ResumeRunRequest>(context.Request);
        double? budget = fields.Number("budget_seconds", 1, 1e15);
        return await ChangeAsync(await FindAsync(context, text), "resumed", run => run.ResumeAsync(budget));
    }

    private async Task<IResult> ChangeAsync(RunView view, string what, Func<ITrainingRunGrain, Task> change)
    {
        if (!view.IsOpen)
        {
            return new ApiError(
                409, ApiError.InvalidRequest, "run_is_over",
                $"Run '{view.Run}' is {ApiJson.NameOf(view.Phase)} and cannot be {what}; submit a new run.");
        }

        await calls.CallAsync(() => change(Run(view.Run)));
        return TypedResults.Ok(RunResponse.Of((await calls.CallAsync(() => Run(view.Run).ViewAsync()))!));
    }

    private async Task<IResult> CancelAsync(HttpContext context, string text)
    {
        RunView view = await FindAsync(context, text);
        await calls.CallAsync(() => Run(view.Run).CancelAsync());
        return TypedResults.NoContent();
    }

    // The tenant whose runs the caller may see; null for the administrator, who may see all.
    private async Task<TenantId?> OwnerAsync(HttpContext context)
    {
        Caller caller = context.Features.Get<TicketFeature>()!.Caller;
        if (caller.IsAdmin)
        {
            return null;
        }

        TenantId tenant = context.Tenant();
        TenantView? view = await calls.CallAsync(() => grains.Tenant(tenant).ViewAsync());
        return view is { Settings.MayTrain: true } ? tenant : throw new ApiException(ApiError.NotTrainer);
    }

    private async Task<IResult> ExportAsync(string text, CancellationToken cancellation)
    {
        if (!RunId.TryParse(text, out RunId id)
            || await calls.CallAsync(() => Run(id).CurrentAsync()) is not (StageSource source, int stage))
        {
            return ApiError.NotFound("run");
        }

        string key = new OpenRun(id, stage).StageKey;
        CheckpointManifest? last = await calls.CallAsync(
            () => grains.GetGrain<ITrainingStageGrain>(key).PinLastAsync(s_exportMax));
        if (last is null)
        {
            return Refused($"{source.Name} has no checkpoint yet.");
        }

        string folder = StageConfig.Parse(source.Name, source.Configuration, source.Overrides).Folder;
        try
        {
            string path = await new CheckpointExport(blobs).WriteAsync(last, folder, cancellation);
            return TypedResults.Ok(new ExportResponse(path, last.Step));
        }
        catch (Exception error) when (error is RefusedFileException or InvalidDataException or IOException
            or UnauthorizedAccessException)
        {
            return Refused($"{source.Name} cannot be exported to {folder}: {error.Message}");
        }

        static ApiError Refused(string message) => new(409, ApiError.InvalidRequest, "cannot_export", message);
    }

    private ITrainingRunGrain Run(RunId id) => grains.GetGrain<ITrainingRunGrain>(id.Value);

    // A stage whose load_path is the save_folder of an earlier stage starts from the result of that stage.
    private static StageSource[] Resolve(SubmitStageRequest[] stages)
    {
        StageConfig[] configs =
        [
            .. stages.Select((stage, i) => StageConfig.Parse($"stages[{i}]", stage.Configuration, stage.Overrides)),
        ];
        int?[] starts =
        [
            .. configs.Select((config, i) => Enumerable.Range(0, i).Cast<int?>().LastOrDefault(before =>
                config.Start.Path is { } path && path == configs[before!.Value].Folder)),
        ];
        for (int i = 0; i < configs.Length; i++)
        {
            if (configs[i].TakesOtherDevices)
            {
                throw new ArgumentException(
                    $"stages[{i}] ({configs[i].Name}) sets trainer.mixed, but the trainers of a cluster must be of one "
                    + "kind, because they check each other's results bit for bit. Leave trainer.mixed out.");
            }

            if (starts[i] is { } from && StageIdentity.NetworkDifference(configs[i], configs[from]) is { } difference)
            {
                throw new ArgumentException(
                    $"stages[{i}] ({configs[i].Name}) cannot start from stages[{from}] ({configs[from].Name}), because "
                    + $"their networks differ: {difference}.");
            }
        }

        return
        [
            .. stages.Select((stage, i) => new StageSource
            {
                Name = configs[i].Name,
                Configuration = stage.Configuration,
                Overrides = stage.Overrides,
                Resumes = stage.Resume,
                StartsFrom = starts[i],
                Networks = NetworkDigests.Read(configs[i].DataFolders) is { } made
                    ? new LatentNetworks(made.Autoencoder, made.TextEncoder, made.Vocabulary, made.Precision) : null,
            }),
        ];
    }
}
