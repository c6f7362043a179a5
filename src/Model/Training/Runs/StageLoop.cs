// The loop of a stage: exchange gradients, measure the total, decide, apply. It is the same for one process and for
// several.
using System.Diagnostics;
using Atelier.Training;

namespace Atelier.Model.Training.Runs;

/// <summary>Runs a stage.</summary>
public static class StageLoop
{
    /// <summary>
    /// Trains until the stage is complete or canceled. In both cases it writes a checkpoint; on completion it also
    /// writes the result.
    /// </summary>
    /// <param name="stage">The stage.</param>
    /// <param name="exchange">Computes the sums of a batch.</param>
    /// <param name="progress">
    /// Called after every step and before its checkpoint, so that a run that is killed in between reports the step
    /// again instead of skipping it.
    /// </param>
    /// <param name="cancellation">Stops the run at the end of the current step.</param>
    /// <param name="look">Called after every step and its checkpoint; it may use the network.</param>
    /// <exception cref="RefusedFileException">
    /// A file of the data is damaged or has changed; a checkpoint of the steps before is written.
    /// </exception>
    /// <exception cref="TrainingDivergedException">The loss or the gradients keep growing.</exception>
    /// <exception cref="TrainingFailedException">
    /// Too many consecutive batches have no usable sample, or less than <see cref="StageRules.PartAppliedMin"/> of the
    /// stage was trained on. The stage then has no result, and fails the same way when it is run again.
    /// </exception>
    public static void Run(
        StageState stage, IGradientExchange exchange, Action<StepResult> progress, CancellationToken cancellation,
        Action<StepResult>? look = null)
    {
        string folder = stage.Config.Folder;
        Directory.CreateDirectory(folder);
        using var metrics = new StepMetrics(folder, stage.Position.Step);
        if (!stage.IsAtEnd)
        {
            StageResult.Delete(folder); // The stale result of a shorter run.
        }

        while (!stage.IsAtEnd && !cancellation.IsCancellationRequested)
        {
            StepResult step = RunStep(stage, exchange);
            metrics.Add(step);
            progress(step);
            stage.SaveIfDue(step.Verdict);
            look?.Invoke(step);
        }

        stage.Save();
        if (stage.IsAtEnd)
        {
            stage.SaveResult();
        }
    }

    private static StepResult RunStep(StageState stage, IGradientExchange exchange)
    {
        long start = Stopwatch.GetTimestamp(), step = stage.Position.Step;
        GradientSum total;
        try
        {
            total = exchange.Sum(step);
        }
        catch (RefusedFileException)
        {
            stage.Save(); // The data cannot be read now; the steps before are not lost.
            throw;
        }

        BatchOutcome batch = stage.Engine.Measure(total);
        double rate = stage.Config.StepSettings.LearningRate.At(step);
        StepVerdict verdict = stage.Advance(total, batch);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return new StepResult(step, batch.Loss, batch.GradientNorm, rate, verdict, seconds, batch.LeftOut.Count);
    }
}
