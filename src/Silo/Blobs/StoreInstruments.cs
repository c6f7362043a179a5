using System.Diagnostics.Metrics;

namespace Atelier.Silo.Blobs;

/// <summary>
/// The metrics of the blob store. Orleans itself measures the store of grain states (orleans-storage-*).
/// </summary>
internal sealed class StoreInstruments
{
    private readonly Histogram<double> _duration;

    public StoreInstruments(IMeterFactory meters) =>
        _duration = meters.Create("Atelier.Stores").CreateHistogram(
            "atelier.blob_store.operation.duration", "s",
            "Duration of calls to the blob store, by operation; failed calls have an error.type.", tags: null,
            new InstrumentAdvice<double>
            {
                HistogramBucketBoundaries = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
            });

    public void Record(string operation, TimeSpan time, Exception? error)
    {
        var label = new KeyValuePair<string, object?>("atelier.operation", operation);
        if (error is null)
        {
            _duration.Record(time.TotalSeconds, label);
        }
        else
        {
            _duration.Record(time.TotalSeconds, label, new("error.type", error.GetType().Name));
        }
    }
}
