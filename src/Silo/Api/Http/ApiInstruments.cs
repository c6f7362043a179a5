// The API's metrics.
using System.Diagnostics.Metrics;

namespace Atelier.Silo.Api.Http;

/// <summary>The API's meter.</summary>
internal sealed class ApiInstruments
{
    private readonly UpDownCounter<int> _streams;
    private readonly Counter<long> _errors;
    private readonly Counter<long> _joined;
    private readonly Counter<long> _resubscribed;

    public ApiInstruments(IMeterFactory meters)
    {
        Meter meter = meters.Create("Atelier.Api");
        _streams = meter.CreateUpDownCounter<int>("atelier.api.streams", "{stream}", "Event streams that are open.");
        _errors = meter.CreateCounter<long>("atelier.api.errors", "{answer}", "Answers that are errors, by code.");
        _joined = meter.CreateCounter<long>("atelier.api.joined", "{request}", "Requests that joined an earlier one.");
        _resubscribed = meter.CreateCounter<long>(
            "atelier.api.resubscribed", "{subscription}", "Subscriptions to events that broke.");
    }

    public void StreamOpened() => _streams.Add(1);

    public void StreamClosed() => _streams.Add(-1);

    public void Refused(string code) => _errors.Add(1, new KeyValuePair<string, object?>("code", code));

    public void Joined() => _joined.Add(1);

    public void Resubscribed() => _resubscribed.Add(1);
}
