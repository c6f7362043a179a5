// The API's metrics.
using System.Diagnostics.Metrics;
using Atelier.Contracts.Diagnostics;

namespace Atelier.Silo.Api.Http;

/// <summary>The API's meter.</summary>
internal sealed class ApiInstruments
{
    private readonly Counter<long> _errors;
    private readonly Counter<long> _joined;
    private readonly Counter<long> _resubscribed;
    private readonly Counter<long> _retried;
    private int _streams;

    public ApiInstruments(IMeterFactory meters)
    {
        Meter meter = meters.Create("Atelier.Api");
        meter.CreateObservableUpDownCounter<int>(
            "atelier.api.streams", () => Volatile.Read(ref _streams), "{stream}", "Open event streams.");
        _errors = meter.CreateCounter<long>("atelier.api.errors", "{answer}", "Error responses, by code.");
        _joined = meter.CreateCounterAtZero<long>(
            "atelier.api.joined", "{request}", "Retries that joined their first request.");
        _resubscribed = meter.CreateCounterAtZero<long>(
            "atelier.api.resubscribed", "{subscription}", "Event subscriptions that broke and were renewed.");
        _retried = meter.CreateCounterAtZero<long>(
            "atelier.api.retries", "{call}", "Calls to grains that were retried because their outcome was unknown.");
    }

    public void StreamOpened() => Interlocked.Increment(ref _streams);

    public void StreamClosed() => Interlocked.Decrement(ref _streams);

    public void Refused(string code) => _errors.Add(1, new KeyValuePair<string, object?>("code", code));

    public void Joined() => _joined.Add(1);

    public void Resubscribed() => _resubscribed.Add(1);

    public void Retried() => _retried.Add(1);
}
