using System.Diagnostics.Metrics;
using Atelier.Contracts.Diagnostics;

namespace Atelier.Grains.Workers;

/// <summary>The metrics of workers.</summary>
internal sealed class WorkerInstruments
{
    private const string RowUse = "atelier.row.use";

    private readonly Counter<long> _evaluations;
    private readonly Histogram<int> _width;
    private readonly Counter<long> _rows;
    private readonly Counter<long> _batchesFailed;
    private readonly Counter<double> _busy;
    private readonly Counter<long> _refused;

    public WorkerInstruments(IMeterFactory meters)
    {
        Meter meter = meters.Create("Atelier.Workers");
        _evaluations = meter.CreateCounterAtZero<long>(
            "atelier.worker.evaluations", "{evaluation}", "Evaluations of a denoiser; a batch counts once.");
        _width = meter.CreateHistogram(
            "atelier.worker.batch.width", "{picture}", "Pictures that shared an evaluation.", tags: null,
            new InstrumentAdvice<int> { HistogramBucketBoundaries = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64] });
        _rows = meter.CreateCounter<long>(
            "atelier.worker.rows", "{row}", "Rows of the denoiser's passes, by whether a picture used them.");
        _batchesFailed = meter.CreateCounterAtZero<long>(
            "atelier.worker.batches.failed", "{batch}",
            "Batches that failed as a whole; each of their pictures was then evaluated alone.");
        _busy = meter.CreateCounterAtZero<double>(
            "atelier.worker.busy.time", "s", "Time in which a device had work; overlapping calls count once.");
        _refused = meter.CreateCounterAtZero<long>(
            "atelier.worker.claims.lost", "{claim}", "Claims that turned out to be invalid when a report was refused.");
    }

    /// <summary>Whether the busy time has a listener.</summary>
    public bool MeasuresBusy => _busy.Enabled;

    /// <summary>Counts an evaluation.</summary>
    /// <param name="pictures">Number of pictures.</param>
    /// <param name="used">Rows of the pass that the pictures used.</param>
    /// <param name="rows">Rows of the pass.</param>
    public void Evaluated(int pictures, int used, int rows)
    {
        _evaluations.Add(1);
        _width.Record(pictures);
        _rows.Add(used, new KeyValuePair<string, object?>(RowUse, "picture"));
        _rows.Add(rows - used, new KeyValuePair<string, object?>(RowUse, "padding"));
    }

    public void BatchFailed() => _batchesFailed.Add(1);

    public void Worked(TimeSpan time) => _busy.Add(time.TotalSeconds);

    public void ClaimLost() => _refused.Add(1);
}

/// <summary>Measures how long a device has work; overlapping calls count once.</summary>
internal sealed class BusyTime(WorkerInstruments instruments, TimeProvider clock)
{
    private readonly Lock _lock = new();
    private int _calls;
    private long _since;

    /// <summary>Starts to measure a call of the device, which ends when the result is disposed.</summary>
    public Call Begin()
    {
        if (!instruments.MeasuresBusy)
        {
            return default;
        }

        lock (_lock)
        {
            _since = _calls++ == 0 ? clock.GetTimestamp() : _since;
        }

        return new Call(this);
    }

    private void End()
    {
        lock (_lock)
        {
            long now = clock.GetTimestamp();
            instruments.Worked(clock.GetElapsedTime(_since, now));
            (_calls, _since) = (_calls - 1, now);
        }
    }

    /// <summary>A call; it measures nothing if there was no listener when it started.</summary>
    internal readonly struct Call(BusyTime? time) : IDisposable
    {
        public void Dispose() => time?.End();
    }
}
