// The progress line of a stage, every few seconds: means over the batches since the last line.
using System.Globalization;
using Atelier.Training;

namespace Atelier.Model.Training.Runs;

/// <summary>Summarizes a stage's steps between two lines. Skipped batches are excluded from the means.</summary>
/// <param name="stage">The stage.</param>
/// <param name="interval">Seconds of step time between two lines.</param>
/// <param name="report">Receives the finished fraction of the stage, in [0, 1], and the line.</param>
internal sealed class StageMeter(StageConfig stage, double interval, Action<double, string> report)
{
    private readonly double _flops = StageCost.SampleFlops(stage);
    private readonly double _peak = StageCost.MatmulRate(stage.Compute);
    private double _loss;
    private double _norm;
    private double _seconds;
    private int _steps;
    private int _applied;
    private long _images;

    /// <summary>Adds a step.</summary>
    public void Add(StepResult step)
    {
        if (step.Verdict == StepVerdict.Apply)
        {
            _loss += step.Loss;
            _norm += step.GradientNorm;
            _applied++;
        }

        _seconds += step.Seconds;
        _steps++;
        _images += stage.StepSettings.GlobalBatch - step.LeftOut;
        long done = step.Step + 1;
        if (_seconds < interval && done < stage.Steps)
        {
            return;
        }

        double images = _images / _seconds, left = (stage.Steps - done) * _seconds / _steps;
        double share = _flops * images / _peak;
        report((double)done / stage.Steps, string.Create(
            CultureInfo.InvariantCulture,
            $"{done}/{stage.Steps}  {Means()}  lr {step.LearningRate:g3}  "
            + $"{images:f0} images/s  {share:p0} of peak  "
            + $"{(int)(left / 3600)}:{TimeSpan.FromSeconds(left):mm\\:ss} left"));
        (_loss, _norm, _seconds, _steps, _applied, _images) = (0, 0, 0, 0, 0, 0);
    }

    private string Means()
    {
        string means = _applied == 0
            ? "nothing applied"
            : string.Create(CultureInfo.InvariantCulture, $"loss {_loss / _applied:f4}  |g| {_norm / _applied:f2}");
        return _applied == _steps ? means : $"{means}  {_steps - _applied} of {_steps} not applied";
    }
}
