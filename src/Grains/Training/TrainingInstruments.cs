using System.Diagnostics.Metrics;

namespace Atelier.Grains.Training;

/// <summary>The metrics of trainers and of the managers of stages.</summary>
internal sealed class TrainingInstruments
{
    private static readonly InstrumentAdvice<double> s_seconds = new()
    {
        HistogramBucketBoundaries = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100],
    };

    private readonly Histogram<double> _step;
    private readonly Histogram<double> _apply;
    private readonly Counter<long> _samples;
    private readonly Counter<long> _worlds;
    private readonly Counter<long> _checkpoints;

    public TrainingInstruments(IMeterFactory meters)
    {
        Meter meter = meters.Create("Atelier.Training");
        _step = meter.CreateHistogram(
            "atelier.training.step.duration", "s",
            "Time from one applied step of a member to the next one, by whether the step ends with a checkpoint.",
            tags: null, s_seconds);
        _apply = meter.CreateHistogram(
            "atelier.training.apply.duration", "s",
            "Time for which a trainer applies a step and copies its state, by whether the step ends with a checkpoint.",
            tags: null, s_seconds);
        _samples = meter.CreateCounter<long>(
            "atelier.training.samples", "{sample}", "Samples in the steps that trainers of this silo have applied.");
        _worlds = meter.CreateCounter<long>(
            "atelier.training.worlds", "{world}", "Worlds that the managers of stages have formed.");
        _checkpoints = meter.CreateCounter<long>(
            "atelier.training.checkpoints", "{checkpoint}", "Checkpoints that the managers of stages have committed.");
    }

    /// <summary>Counts a step that a trainer has applied.</summary>
    /// <param name="sinceLast">Time since the trainer's last step; null if the trainer was no member then.</param>
    /// <param name="applying">Time for which the step was applied.</param>
    /// <param name="isCheckpoint">Whether the step ends with a checkpoint.</param>
    /// <param name="samples">Number of samples in the step.</param>
    public void Applied(TimeSpan? sinceLast, TimeSpan applying, bool isCheckpoint, long samples)
    {
        var checkpoint = new KeyValuePair<string, object?>("atelier.checkpoint", isCheckpoint);
        if (sinceLast is { } time)
        {
            _step.Record(time.TotalSeconds, checkpoint);
        }

        _apply.Record(applying.TotalSeconds, checkpoint);
        _samples.Add(samples);
    }

    public void WorldFormed() => _worlds.Add(1);

    public void Committed() => _checkpoints.Add(1);
}
