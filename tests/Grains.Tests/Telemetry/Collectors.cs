// Collectors of a process's telemetry: log events with their fields, and the series of its meters.
using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Atelier.Grains.Tests.Telemetry;

/// <summary>An event of the log.</summary>
internal sealed record LogEvent(int Id, LogLevel Level, string Text, IReadOnlyDictionary<string, object?> Fields)
{
    public string this[string field] => Fields[field]?.ToString() ?? "";
}

/// <summary>Collects the log of this project's code.</summary>
internal sealed class LogKeeper : ILoggerProvider, ILogger
{
    private readonly ConcurrentQueue<LogEvent> _events = new();

    public IReadOnlyCollection<LogEvent> Events => _events;

    public LogEvent[] Of(int id) => [.. _events.Where(one => one.Id == id)];

    public ILogger CreateLogger(string categoryName) =>
        categoryName.StartsWith("Atelier.", StringComparison.Ordinal) ? this : NullLogger.Instance;

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception,
        Func<TState, Exception?, string> formatter) => _events.Enqueue(new LogEvent(
            eventId.Id, logLevel, $"{logLevel}: {formatter(state, exception)}",
            (state as IEnumerable<KeyValuePair<string, object?>> ?? []).ToDictionary()));

    public void Dispose()
    {
    }
}

/// <summary>Series by name and attributes: "name{a=b,c=d}".</summary>
internal sealed class Measurements : IDisposable
{
    private readonly MeterListener _listener = new();
    private readonly ConcurrentDictionary<string, double> _values = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, double> _observed = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, int> _counts = new(StringComparer.Ordinal);

    /// <summary>Listens to this project's meters of these factories; null stands for meters without one.</summary>
    public Measurements(params IMeterFactory?[] factories)
    {
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter.Name.StartsWith("Atelier.", StringComparison.Ordinal)
                && factories.Contains(instrument.Meter.Scope))
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        _listener.SetMeasurementEventCallback<int>((of, value, tags, _) => Take(of, value, tags));
        _listener.SetMeasurementEventCallback<long>((of, value, tags, _) => Take(of, value, tags));
        _listener.SetMeasurementEventCallback<double>((of, value, tags, _) => Take(of, value, tags));
        _listener.Start();
    }

    /// <summary>All series.</summary>
    public string[] Series => [.. _values.Keys.Order(StringComparer.Ordinal)];

    /// <summary>The sum of the recorded values, or the level observed last, over all sources.</summary>
    public double this[string series] => _values.GetValueOrDefault(series);

    /// <summary>How many values were recorded.</summary>
    public int Count(string series) => _counts.GetValueOrDefault(series);

    /// <summary>Reads the levels.</summary>
    public void Observe()
    {
        _observed.Clear();
        _listener.RecordObservableInstruments();
        foreach ((string series, double value) in _observed)
        {
            _values[series] = value;
        }
    }

    public void Dispose() => _listener.Dispose();

    private void Take(Instrument of, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        string attributes = string.Join(
            ',', tags.ToArray().Select(tag => $"{tag.Key}={tag.Value}").Order(StringComparer.Ordinal));
        string series = attributes.Length == 0 ? of.Name : $"{of.Name}{{{attributes}}}";
        (of.IsObservable ? _observed : _values).AddOrUpdate(series, value, (_, sum) => sum + value);
        _counts.AddOrUpdate(series, 1, (_, count) => count + 1);
    }
}
