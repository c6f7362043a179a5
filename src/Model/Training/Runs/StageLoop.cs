// The loop of a stage: exchange gradients, measure the total, decide, apply. It is the same for one process and for
// many.
using System.Diagnostics;
using Atelier.Training;

namespace Atelier.Model.Training.Runs;

/// <summary>Drives a stage's state.</summary>
public static class StageLoop
{
    /// <summary>
    /// Trains until the stage is complete or cancelled; either way a checkpoint is left, and when complete the result.
    /// </summary>
    /// <param name="stage">The stage.</param>
    /// <param name="exchange">Gives the sums of a batch.</param>
    /// <param name="progress">
    /// Called after every step and before its checkpoint, if it has one: a run that is killed in between reports the
    /// step again, and never skips one.
    /// </param>
    /// <param name="cancellation">Ends the run at the end of the step in flight.</param>
    /// <param name="look">
    /// Called after every step, once its checkpoint is written, if it has one; the network may be looked at for a
    /// while.
    /// </param>
    /// <exception cref="TrainingDivergedException">Loss or gradients keep growing.</exception>
    /// <exception cref="TrainingFailedException">
    /// Batches without a sample that can be trained on follow each other, or less than <see
    /// cref="StageRules.PartAppliedMin"/> of the stage was trained on: it has no result, and fails the same way when it
    /// is run again.
    /// </exception>
    public static void Run(
        StageState stage, IGradientExchange exchange, Action<StepResult> progress, CancellationToken cancellation,
        Action<StepResult>? look = null)
    {
        string folder = stage.Config.Folder;
        Directory.CreateDirectory(folder);
        using var metrics = new StepMetrics(folder, stage.Position.Step);
        if (!stage.IsAtItsEnd)
        {
            StageResult.Delete(folder); // Of a run that was shorter.
        }

        while (!stage.IsAtItsEnd && !cancellation.IsCancellationRequested)
        {
            StepResult step = RunStep(stage, exchange);
            metrics.Add(step);
            progress(step);
            stage.SaveIfDue(step.Verdict);
            look?.Invoke(step);
        }

        stage.Save();
        if (stage.IsAtItsEnd)
        {
            stage.SaveResult();
        }
    }

    private static StepResult RunStep(StageState stage, IGradientExchange exchange)
    {
        long start = Stopwatch.GetTimestamp(), step = stage.Position.Step;
        GradientSum total = exchange.Sum(step);
        BatchOutcome batch = stage.Engine.Measure(total);
        double rate = stage.Config.StepSettings.LearningRate.At(step);
        StepVerdict verdict = stage.Take(total, batch);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return new StepResult(step, batch.Loss, batch.GradientNorm, rate, verdict, seconds, batch.LeftOut.Count);
    }
}
