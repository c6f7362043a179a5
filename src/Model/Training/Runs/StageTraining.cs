// The training of a whole stage in one process: data, state, loop, panels, TensorBoard events, meter and report.
using Atelier.Training;

namespace Atelier.Model.Training.Runs;

/// <summary>Receives the output of a stage that is meant for people.</summary>
public interface IStageAudience
{
    /// <summary>Seconds of step time between two lines of the meter.</summary>
    double MeterInterval { get; }

    /// <summary>Writes a line of the stage's results.</summary>
    void Line(string text);

    /// <summary>Writes a message that is not part of the results.</summary>
    void Remark(string text);

    /// <summary>Runs work that reports its finished fraction, in [0, 1], and a line of metrics.</summary>
    void WithMeter(string label, Action<Action<double, string>> work);
}

/// <summary>Trains stages in one process.</summary>
public static class StageTraining
{
    /// <summary>Trains or resumes a stage.</summary>
    /// <param name="stage">The stage.</param>
    /// <param name="audience">Receives its output.</param>
    /// <param name="cancellation">Stops the run at the end of the current step, with a checkpoint.</param>
    /// <returns>Whether the stage is complete.</returns>
    /// <exception cref="TrainingFailedException">
    /// The stage cannot continue or has no result; the report says why.
    /// </exception>
    public static bool Run(StageConfig stage, IStageAudience audience, CancellationToken cancellation)
    {
        using LatentData data = LatentData.Of(stage);
        using var state = new StageState(stage, data, text => audience.Remark($"{stage.Name}: {text}"));
        if (state.IsComplete)
        {
            if (!File.Exists(Path.Combine(stage.Folder, TrainingReport.FileName)))
            {
                TrainingReport.Write(state);
            }

            audience.Line(
                $"{stage.Name}: complete, {state.Position.Step} batches, weights {state.WeightsDigest()[..16]}");
            return true;
        }

        audience.Line(
            $"{stage.Name}: {data.Count:n0} samples{Mixed(data)}, batch {stage.StepSettings.GlobalBatch} in "
            + $"{state.Identity.Shards} shards ({state.Lanes.Lanes} at a time, threads per shard: "
            + $"{state.Identity.ThreadsPerShard}), {state.Identity.Precision}, from batch {state.Position.Step} of "
            + $"{stage.Steps}");
        if (state.Lanes.Remark is { } idle)
        {
            audience.Remark($"{stage.Name}: {idle}");
        }

        try
        {
            Train(state, audience, cancellation);
        }
        catch (TrainingFailedException)
        {
            TrainingReport.Write(state); // The report says why.
            throw;
        }

        TrainingReport.Write(state);
        RunPosition end = state.Position;
        audience.Line(
            $"{stage.Name}: batch {end.Step} of {stage.Steps}, {end.Applied} applied, {end.Skipped} skipped, "
            + $"{end.Undone} undone, {state.LeftOut.Times} samples left out, weights {state.WeightsDigest()[..16]}");
        audience.Line($"{stage.Name}: {Path.Combine(stage.Folder, TrainingReport.FileName)}");
        return state.IsComplete;
    }

    private static string Mixed(LatentData data) => data.Mix.IsPlain ? "" : $", {data.Mix.Count:n0} in an epoch ("
        + string.Join(", ", data.Streams.Zip(data.Mix.Chosen, (stream, chosen) => $"{chosen:n0} of {stream.Name}"))
        + ")";

    private static void Train(StageState state, IStageAudience audience, CancellationToken cancellation)
    {
        StageConfig stage = state.Config;
        using TrainingPanel? panel = stage.Panel is null ? null : new TrainingPanel(stage.Panel, state);
        using var events = new TrainingEvents(
            Path.Combine(stage.Folder, TrainingEvents.FolderName), state.Position.Step, TimeProvider.System);
        if (panel is not null && File.Exists(panel.PathOf(state.Position.Step)))
        {
            // TensorBoard discards the panel of this step with the later records, so it is added again.
            events.AddPicture("panel", File.ReadAllBytes(panel.PathOf(state.Position.Step)), state.Position.Step);
        }

        audience.WithMeter(stage.Name, report =>
        {
            var meter = new StageMeter(stage, audience.MeterInterval, report);
            StageLoop.Run(state, new LocalExchange(state.Engine), Progress, cancellation, Look);

            void Progress(StepResult step)
            {
                events.Add("loss", step.Loss, step.Step);
                events.Add("gradient norm", step.GradientNorm, step.Step);
                events.Add("learning rate", step.LearningRate, step.Step);
                meter.Add(step);
            }
        });

        void Look(StepResult step)
        {
            if (panel is not null && (state.Position.Step % stage.Panel!.Interval == 0 || state.IsAtEnd))
            {
                DrawPanel(panel, state, events, audience);
            }
        }
    }

    // Panels are only for people, so a missing panel must not end the training.
    private static void DrawPanel(TrainingPanel panel, StageState state, TrainingEvents events, IStageAudience audience)
    {
        long step = state.Position.Step;
        string sheet;
        try
        {
            sheet = panel.Draw().Path;
        }
        catch (NonFiniteException error)
        {
            audience.Remark($"{state.Config.Name}: no panel after {step} batches. {error.Message}");
            return;
        }

        events.AddPicture("panel", File.ReadAllBytes(sheet), step);
    }
}
