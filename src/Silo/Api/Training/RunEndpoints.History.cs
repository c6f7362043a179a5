// The routes that tell what a run has done: its events, and each stage's metrics, curves, panels, TensorBoard file and
// report. All are made from the records of committed checkpoints, so each checkpoint interval appears as it is
// committed; the panel of a checkpoint appears once it is drawn.
using System.Globalization;
using System.Text;
using System.Text.Json;
using Atelier.Contracts;
using Atelier.Contracts.Training;
using Atelier.Grains.Ports;
using Atelier.Model.Training.Runs;
using Atelier.Silo.Api.Http;
using Atelier.Training;
using Atelier.Training.Checkpoints;

namespace Atelier.Silo.Api.Training;

internal sealed partial class RunEndpoints
{
    private static readonly (string Name, Func<StepResult, double> Value, bool IsLogarithmic)[] s_curves =
    [
        ("loss", step => step.Loss, true), ("gradient_norm", step => step.GradientNorm, true),
        ("learning_rate", step => step.LearningRate, false),
    ];

    private static void MapHistory(RouteGroupBuilder group)
    {
        group.MapGet("{id}/events", (HttpContext context, string id, RunEndpoints endpoints) =>
            endpoints.WatchAsync(context, id))
            .WithName("watchRun").WithSummary("Streams a run's events: step, note, progress, stage_done and end.")
            .WithDescription(
                "Server-sent events. A stream resumes after the event that Last-Event-ID names. The events named "
                + "progress have no id and are not repeated.")
            .Produces<RunEventResponse>(200, "text/event-stream").Refuses(400, 403, 404);
        group.MapGet("{id}/stages/{stage}/metrics", (HttpContext context, string id, int stage, long? from,
            RunEndpoints endpoints) => endpoints.MetricsAsync(context, id, stage, from ?? 0))
            .WithName("retrieveMetrics").WithSummary("Returns a stage's steps, one line of JSON each.")
            .Produces<StepResponse>(200, "application/jsonl").Refuses(403, 404);
        group.MapGet("{id}/stages/{stage}/events.tfevents", (HttpContext context, string id, int stage,
            RunEndpoints endpoints) => endpoints.TensorBoardAsync(context, id, stage))
            .WithName("retrieveTensorBoard").WithSummary("Returns a stage's curves as an event file for TensorBoard.")
            .Produces(200, contentType: "application/octet-stream").Refuses(403, 404);
        group.MapGet("{id}/stages/{stage}/curves/{curve}.svg", (HttpContext context, string id, int stage,
            string curve, RunEndpoints endpoints) => endpoints.CurveAsync(context, id, stage, curve))
            .WithName("retrieveCurve").WithSummary("Returns a curve: loss, gradient_norm or learning_rate.")
            .Produces(200, contentType: "image/svg+xml").Refuses(403, 404);
        group.MapGet("{id}/stages/{stage}/panels/{step}.png", (HttpContext context, string id, int stage, long step,
            RunEndpoints endpoints) => endpoints.PanelAsync(context, id, stage, step))
            .WithName("retrievePanel").WithSummary("Returns a panel: the pictures of a checkpoint, as one sheet.")
            .Produces(200, contentType: "image/png").Refuses(403, 404);
        group.MapGet("{id}/stages/{stage}/report", (HttpContext context, string id, int stage,
            RunEndpoints endpoints) => endpoints.ReportAsync(context, id, stage))
            .WithName("retrieveReport").WithSummary("Returns a stage's report in Markdown.")
            .Produces(200, contentType: "text/markdown").Refuses(403, 404);
    }

    private async Task WatchAsync(HttpContext context, string text)
    {
        RunView view = await FindAsync(context, text);
        string? last = context.Request.Headers["Last-Event-ID"];
        RunCursor from = default;
        if (!string.IsNullOrEmpty(last) && !RunCursor.TryParse(last, out from))
        {
            throw new ApiException(ApiError.Invalid(
                "Last-Event-ID", "invalid_value", "Last-Event-ID must be the id of an event of this run."));
        }

        await streams.WriteAsync(context, cancellation => watch.WatchAsync(view.Run, from, cancellation));
    }

    private async Task<IResult> MetricsAsync(HttpContext context, string text, int index, long from)
    {
        (_, _, IReadOnlyList<StepRecord> steps) = await StageAsync(context, text, index, from);
        var lines = new StringBuilder();
        foreach (StepRecord step in steps)
        {
            lines.Append(JsonSerializer.Serialize(StepResponse.Of(step), ApiJson.Options)).Append('\n');
        }

        return TypedResults.Text(lines.ToString(), "application/jsonl", Encoding.UTF8);
    }

    private async Task<IResult> TensorBoardAsync(HttpContext context, string text, int index)
    {
        (_, StageView stage, IReadOnlyList<StepRecord> steps) = await StageAsync(context, text, index, 0);
        var file = new MemoryStream();
        using (var events = new TrainingEvents(file, TimeProvider.System))
        {
            foreach (PanelView panel in stage.Panels)
            {
                if (panel.Score is { } score)
                {
                    events.Add("CLIP score", score, panel.Step);
                }
            }

            foreach (StepRecord step in steps)
            {
                events.Add("loss", step.Loss, step.Step);
                events.Add("gradient norm", step.GradientNorm, step.Step);
                events.Add("learning rate", step.LearningRate, step.Step);
            }
        }

        return TypedResults.Bytes(
            file.ToArray(), "application/octet-stream", $"events.out.tfevents.0.{text}-{index}-{stage.Name}");
    }

    private async Task<IResult> CurveAsync(HttpContext context, string text, int index, string name)
    {
        (_, _, IReadOnlyList<StepRecord> steps) = await StageAsync(context, text, index, 0);
        (string Name, Func<StepResult, double> Value, bool IsLogarithmic) curve =
            Array.Find(s_curves, one => one.Name == name);
        StepResult[] finite =
        [
            .. steps.Where(step => double.IsFinite(step.Loss) && double.IsFinite(step.GradientNorm)).Select(ResultOf),
        ];
        return curve.Name is null || finite.Length == 0
            ? ApiError.NotFound("curve")
            : TypedResults.Text(
                TrainingReport.Curve(curve.Name.Replace('_', ' '), finite, curve.Value, curve.IsLogarithmic),
                "image/svg+xml", Encoding.UTF8);
    }

    private async Task<IResult> PanelAsync(HttpContext context, string text, int index, long step)
    {
        RunView run = await FindAsync(context, text);
        PanelView? panel = run.Stages.ElementAtOrDefault(index)?.Panels.LastOrDefault(one => one.Step == step);
        byte[]? sheet = panel is null ? null : await calls.CallAsync(() => blobs.GetAsync(
            BlobName.OfCluster(BlobKind.Checkpoint, panel.Sheet), context.RequestAborted));
        return sheet is null ? ApiError.NotFound("panel") : TypedResults.Bytes(sheet, "image/png");
    }

    private async Task<IResult> ReportAsync(HttpContext context, string text, int index)
    {
        (RunView run, StageView stage, IReadOnlyList<StepRecord> steps) = await StageAsync(context, text, index, 0);
        var report = new StringBuilder();
        Add($"# {run.Run}: {stage.Name}");
        Add($"");
        Add($"| what | value |");
        Add($"|---|---|");
        Add($"| run | {ApiJson.NameOf(run.Phase)}, submitted {run.SubmittedAt:u} |");
        Add($"| steps | {stage.Step:n0} of {stage.Steps:n0}; {stage.SafeStep:n0} are in a checkpoint |");
        Add($"| skipped | {steps.Count(step => step.Verdict == StepVerdict.Skip):n0} |");
        Add($"| rolled back | {steps.Count(step => step.Verdict == StepVerdict.RollBack):n0} |");
        Add($"| samples left out of batches | {steps.Sum(step => (long)step.LeftOut.Length):n0} |");
        Add($"| device-seconds | {stage.DeviceSeconds:n0} |");
        Add($"| worlds | {stage.World:n0} |");
        double[] last = [.. steps.Where(step => step.Verdict == StepVerdict.Apply).TakeLast(100).Select(s => s.Loss)];
        Add($"| loss, mean of the last 100 batches applied | {(last.Length > 0 ? last.Average() : double.NaN):f4} |");
        Add($"| weights | {stage.Weights ?? "not complete"} |");
        foreach ((string name, _, _) in s_curves)
        {
            Add($"");
            Add($"![{name}](curves/{name}.svg)");
        }

        if (stage.Panels is [.., var panel])
        {
            Add($"");
            Add($"![The panel of step {panel.Step}](panels/{panel.Step}.png)");
            Add($"");
            Add($"| panel of step | CLIP score |");
            Add($"|---|---|");
            foreach (PanelView one in stage.Panels)
            {
                Add($"| [{one.Step:n0}](panels/{one.Step}.png) | {one.Score:f2}{(one.IsHeld ? ", held" : "")} |");
            }
        }

        Add($"");
        Add($"## What happened");
        Add($"");
        foreach (StageNote note in stage.Notes)
        {
            Add($"- {note.At:u}, step {note.Step:n0}: {note.Text}");
        }

        return TypedResults.Text(report.ToString(), "text/markdown", Encoding.UTF8);

        void Add(FormattableString line) => report.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');
    }

    private async Task<(RunView Run, StageView Stage, IReadOnlyList<StepRecord> Steps)> StageAsync(
        HttpContext context, string text, int index, long from)
    {
        RunView run = await FindAsync(context, text);
        StageView stage = index >= 0 && index < run.Stages.Length
            ? run.Stages[index] : throw new ApiException(ApiError.NotFound("stage"));
        return (
            run, stage, await calls.CallAsync(() => history.ReadAsync(stage.Records, from, context.RequestAborted)));
    }

    private static StepResult ResultOf(StepRecord step) => new(
        step.Step, step.Loss, step.GradientNorm, step.LearningRate, step.Verdict, Seconds: 0, step.LeftOut.Length);
}
