using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Atelier.Contracts.Diagnostics;
using Atelier.Grains.Telemetry;

namespace Atelier.Grains.Training;

/// <summary>What an open stage does.</summary>
internal enum StageUse
{
    /// <summary>Trainers compute its shards.</summary>
    Training,

    /// <summary>It has no trainer.</summary>
    Waiting,

    /// <summary>It is paused.</summary>
    Paused,
}

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
    private readonly Counter<long> _steps;
    private readonly Counter<double> _deviceTime;
    private readonly ConcurrentDictionary<StageLevel, (StageUse Use, TimeSpan Idle)> _stages = new();

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
        _samples = meter.CreateCounterAtZero<long>(
            "atelier.training.samples", "{sample}", "Samples in the steps that trainers of this silo have applied.");
        _worlds = meter.CreateCounterAtZero<long>(
            "atelier.training.worlds", "{world}", "Worlds that the managers of stages have formed.");
        _checkpoints = meter.CreateCounterAtZero<long>(
            "atelier.training.checkpoints", "{checkpoint}", "Checkpoints that the managers of stages have committed.");
        _steps = meter.CreateCounterAtZero<long>(
            "atelier.training.steps.safe", "{step}",
            "Steps that committed checkpoints have made safe; steps that are undone later were counted.");
        _deviceTime = meter.CreateCounterAtZero<double>(
            "atelier.training.device.time", "s", "Time of devices that computed shards, over all devices.");
        meter.CreateObservableUpDownCounter(
            "atelier.training.stages", CountStages, "{stage}",
            "Open stages whose managers are on this silo, by whether they train, wait for devices or are paused.");
        meter.CreateObservableGauge(
            "atelier.training.idle.time",
            () => _stages.Values.Where(one => one.Use != StageUse.Paused)
                .Select(one => one.Idle.TotalSeconds).DefaultIfEmpty().Max(),
            "s", "Time since the last step, of the stage for which it is longest; paused stages do not count.");
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

    /// <summary>Counts a checkpoint.</summary>
    /// <param name="steps">Number of steps since the checkpoint before it.</param>
    public void Committed(long steps)
    {
        _checkpoints.Add(1);
        _steps.Add(Math.Max(0, steps));
    }

    /// <summary>Counts time of devices.</summary>
    public void Used(TimeSpan time) => _deviceTime.Add(time.TotalSeconds);

    /// <summary>Creates a stage's contribution to the levels.</summary>
    public StageLevel Open() => new(this);

    private IEnumerable<Measurement<int>> CountStages()
    {
        ILookup<StageUse, StageLevel> stages = _stages.ToLookup(one => one.Value.Use, one => one.Key);
        return Enum.GetValues<StageUse>().Select(use => new Measurement<int>(
            stages[use].Count(), new KeyValuePair<string, object?>("atelier.stage.use", Labels<StageUse>.Of(use))));
    }

    /// <summary>A stage's contribution to the levels.</summary>
    internal sealed class StageLevel(TrainingInstruments instruments)
    {
        /// <summary>Sets what the stage does, and the time since its last step.</summary>
        public void Update(StageUse use, TimeSpan idle) => instruments._stages[this] = (use, idle);

        /// <summary>Removes the contribution of a stage that is over, or whose grain deactivates.</summary>
        public void Remove() => instruments._stages.TryRemove(this, out _);
    }
}
