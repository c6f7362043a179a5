// The administrator's routes for training runs.
using System.Text.Json;
using Atelier.Contracts.Training;
using Atelier.Grains.Ports;
using Atelier.Grains.Training;
using Atelier.Model;
using Atelier.Model.Training.Runs;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Training;
using Atelier.Training.Checkpoints;

namespace Atelier.Silo.Api.Admin;

/// <summary>A stage of a run.</summary>
internal sealed record SubmitStageRequest
{
    /// <summary>The stage's configuration, as YAML. Folders in it are paths on the trainers' machines.</summary>
    public required string Configuration { get; init; }

    /// <summary>Changes to the configuration, each as key=value.</summary>
    public string[] Overrides { get; init; } = [];

    /// <summary>
    /// Whether the stage resumes from the checkpoints that single-process training left in its trainer.save_folder, if
    /// there are any.
    /// </summary>
    public bool Resume { get; init; }
}

/// <summary>A training run.</summary>
internal sealed record SubmitRunRequest
{
    /// <summary>Id of the run. Submitting the same stages again under the same id changes nothing.</summary>
    public required string Id { get; init; }

    /// <summary>The stages, in order.</summary>
    public required SubmitStageRequest[] Stages { get; init; }
}

/// <summary>A trainer of a stage.</summary>
/// <param name="Trainer">Name of the trainer: its silo, device and incarnation.</param>
/// <param name="Shards">
/// Number of shards of each batch that the trainer computes; 0 if it only follows the training, as a spectator.
/// </param>
/// <param name="Step">Number of steps that the trainer's weights include; null if it has no weights.</param>
internal sealed record TrainerResponse(string Trainer, int Shards, long? Step);

/// <summary>A stage of a run.</summary>
/// <param name="Name">Name of the stage.</param>
/// <param name="Step">Number of steps that are done.</param>
/// <param name="Steps">Number of steps of the stage; 0 until a trainer has read the configuration.</param>
/// <param name="SafeStep">Number of steps that the last committed checkpoint includes.</param>
/// <param name="World">Number of the latest world, which is the set of trainers that train the stage together.</param>
/// <param name="Loss">Mean loss of the last step.</param>
/// <param name="Trainers">The stage's trainers.</param>
/// <param name="Weights">SHA-256 of the weights at the end of the stage.</param>
/// <param name="State">SHA-256 of weights, moments and average at the end of the stage.</param>
/// <param name="Records">SHA-256 of the newest file with step records.</param>
/// <param name="Trouble">
/// Why the stage waits or cannot continue, or why single trainers do not help; null if all is well.
/// </param>
internal sealed record StageResponse(
    string Name, long Step, long Steps, long SafeStep, int World, double? Loss, TrainerResponse[] Trainers,
    string? Weights, string? State, string? Records, string? Trouble);

/// <summary>A training run.</summary>
/// <param name="Id">Id of the run.</param>
/// <param name="Status">State of the run: running, done, failed or cancelled.</param>
/// <param name="StageCount">Number of the run's stages.</param>
/// <param name="Stages">Stages that have begun, in order.</param>
internal sealed record RunResponse(string Id, string Status, int StageCount, StageResponse[] Stages)
{
    public static RunResponse Of(RunView view) => new(
        view.Run.Value, ApiJson.NameOf(view.Phase), view.StageCount,
        [.. view.Stages.Select(stage => new StageResponse(
            stage.Name, stage.Step, stage.Steps, stage.SafeStep, stage.World,
            stage.Loss is { } loss && double.IsFinite(loss) ? loss : null,
            [.. stage.Trainers.Select(one => new TrainerResponse(one.Trainer, one.Shards, one.Position))],
            stage.Weights, stage.State, stage.Records, stage.Trouble))]);
}

/// <summary>A checkpoint that was exported to a file.</summary>
/// <param name="Path">Path of the file on the silo that wrote it.</param>
/// <param name="Step">Number of steps that the checkpoint includes.</param>
internal sealed record ExportResponse(string Path, long Step);

/// <summary>Open runs.</summary>
/// <param name="Data">The runs, in order of submission.</param>
internal sealed record RunListResponse(RunResponse[] Data);

/// <summary>Handlers of /v1/training/runs.</summary>
internal sealed class RunEndpoints(IGrainFactory grains, GrainCaller calls, IBlobStore blobs)
{
    // Maximum duration of an export; its checkpoint is kept for this time.
    private static readonly TimeSpan s_exportMax = TimeSpan.FromHours(1);

    public static void Map(IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder group = routes.MapGroup("/training/runs").WithTags("Training").For(Audience.Administrators);
        group.MapPost("", (HttpContext context, RunEndpoints endpoints) => endpoints.SubmitAsync(context))
            .WithName("submitRun").WithSummary("Submits a training run to the cluster's trainers.")
            .WithDescription(
                "Idempotent: the same stages under the same id are accepted again; other stages are refused.")
            .Accepts<SubmitRunRequest>("application/json").Produces<RunResponse>(202).Refuses(400, 409, 429);
        group.MapGet("", (RunEndpoints endpoints) => endpoints.ListAsync())
            .WithName("listRuns").WithSummary("Lists open runs in order of submission.").Produces<RunListResponse>();
        group.MapGet("{id}", (string id, RunEndpoints endpoints) => endpoints.GetAsync(id))
            .WithName("retrieveRun").WithSummary("Returns a run with its stages and trainers.")
            .Produces<RunResponse>().Refuses(404);
        group.MapPost("{id}/resume", (string id, RunEndpoints endpoints) =>
            endpoints.ChangeAsync(id, run => run.ResumeAsync()))
            .WithName("resumeRun").WithSummary("Resumes a paused run from its last checkpoint.")
            .Produces(204).Refuses(404);
        group.MapPost("{id}/export", (string id, HttpContext context, RunEndpoints endpoints) =>
            endpoints.ExportAsync(id, context.RequestAborted))
            .WithName("exportRun")
            .WithSummary("Exports the current stage's last checkpoint to the stage's folder; train can resume from it.")
            .Produces<ExportResponse>().Refuses(404, 409);
        group.MapDelete("{id}", (string id, RunEndpoints endpoints) =>
            endpoints.ChangeAsync(id, run => run.CancelAsync()))
            .WithName("cancelRun").WithSummary("Cancels a run; its last checkpoint is kept.")
            .Produces(204).Refuses(404);
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

        StageSource[] stages;
        try
        {
            stages = Resolve(request.Stages);
        }
        catch (Exception error) when (error is RefusedFileException or ArgumentException)
        {
            return ApiError.Invalid("stages", "invalid_value", error.Message);
        }

        return await calls.CallAsync(() => Run(id).SubmitAsync(stages)) switch
        {
            RunAnswer.Accepted => TypedResults.Accepted(
                $"/v1/training/runs/{id}", RunResponse.Of((await calls.CallAsync(() => Run(id).ViewAsync()))!)),
            RunAnswer.Conflict => new ApiError(
                409, ApiError.InvalidRequest, "id_conflict",
                $"A run '{id}' with another configuration was submitted before; use another id.")
            { Param = "id" },
            _ => new ApiError(
                429, ApiError.RateLimit, "too_many_runs",
                $"The maximum of {ITrainingBoardGrain.RunsMax} runs are open; cancel a run or wait until one ends."),
        };
    }

    private async Task<IResult> ListAsync()
    {
        OpenRun[] open = await calls.CallAsync(() => grains.GetGrain<ITrainingBoardGrain>(0).ListAsync());
        RunView?[] views = await Task.WhenAll(open.Select(run => calls.CallAsync(() => Run(run.Run).ViewAsync())));
        return TypedResults.Ok(new RunListResponse([.. views.OfType<RunView>().Select(RunResponse.Of)]));
    }

    private async Task<IResult> GetAsync(string text) =>
        RunId.TryParse(text, out RunId id) && await calls.CallAsync(() => Run(id).ViewAsync()) is { } view
            ? TypedResults.Ok(RunResponse.Of(view)) : ApiError.NotFound("run");

    private async Task<IResult> ChangeAsync(string text, Func<ITrainingRunGrain, Task> change)
    {
        if (!RunId.TryParse(text, out RunId id) || await calls.CallAsync(() => Run(id).CurrentAsync()) is null)
        {
            return ApiError.NotFound("run");
        }

        await calls.CallAsync(() => change(Run(id)));
        return TypedResults.NoContent();
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
            }),
        ];
    }
}
