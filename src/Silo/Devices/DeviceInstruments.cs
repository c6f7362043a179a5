using System.Diagnostics.Metrics;
using Atelier.Contracts.Diagnostics;

namespace Atelier.Silo.Devices;

/// <summary>The metrics of a silo's device and its lane.</summary>
public sealed class DeviceInstruments
{
    private const string Use = "atelier.device.use";

    private static readonly InstrumentAdvice<double> s_seconds = new()
    {
        HistogramBucketBoundaries = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
    };

    private readonly Histogram<double> _work;
    private readonly Histogram<double> _wait;
    private readonly Histogram<double> _load;
    private readonly Counter<long> _refused;
    private int _waiting;
    private long _modelBytes;

    /// <summary>Creates the instruments.</summary>
    /// <param name="meters">Creates the meter.</param>
    public DeviceInstruments(IMeterFactory meters)
    {
        Meter meter = meters.Create("Atelier.Devices");
        _work = meter.CreateHistogram(
            "atelier.device.work.duration", "s",
            "Duration of pieces of work on the device, by use; their sum is the time in which the device was busy.",
            tags: null, s_seconds);
        _wait = meter.CreateHistogram(
            "atelier.device.wait.duration", "s", "Time for which callers waited for the device, by use.", tags: null,
            s_seconds);
        _load = meter.CreateHistogram(
            "atelier.device.load.duration", "s", "Duration of loading a model.", tags: null, s_seconds);
        _refused = meter.CreateCounterAtZero<long>(
            "atelier.device.refused", "{call}", "Calls refused because too many callers were waiting for the device.");
        meter.CreateObservableUpDownCounter<int>(
            "atelier.device.waiting", () => Volatile.Read(ref _waiting), "{caller}",
            "Callers that wait for the device.");
        meter.CreateObservableUpDownCounter<long>(
            "atelier.device.model.memory", () => Interlocked.Read(ref _modelBytes), "By",
            "Memory of the models that the device has loaded, by their cards.");
    }

    internal void Worked(string use, TimeSpan time) => _work.Record(time.TotalSeconds, Of(use));

    internal void Waited(string use, TimeSpan time) => _wait.Record(time.TotalSeconds, Of(use));

    internal void AddWaiting(int change) => Interlocked.Add(ref _waiting, change);

    internal void Refused() => _refused.Add(1);

    internal void Loaded(long bytes, TimeSpan time)
    {
        Interlocked.Add(ref _modelBytes, bytes);
        _load.Record(time.TotalSeconds);
    }

    internal void Evicted(long bytes) => Interlocked.Add(ref _modelBytes, -bytes);

    private static KeyValuePair<string, object?> Of(string use) => new(Use, use);
}
