using System.Diagnostics.Metrics;
using Atelier.Contracts.Diagnostics;

namespace Atelier.Gateway.Telemetry;

/// <summary>The metrics of a gateway.</summary>
internal sealed class GatewayInstruments
{
    private readonly Counter<long> _requests;
    private readonly Counter<long> _refusals;
    private readonly Counter<long> _unanswered;
    private int _silos;

    public GatewayInstruments(IMeterFactory meters)
    {
        Meter meter = meters.Create("Atelier.Gateway");
        _requests = meter.CreateCounter<long>(
            "atelier.gateway.requests", "{request}",
            "Requests by outcome: answered, refused or failed by the gateway itself, or aborted by the client.");
        _refusals = meter.CreateCounter<long>(
            "atelier.gateway.refusals", "{request}",
            "Requests and connections that the gateway itself refused or failed, by reason.");
        _unanswered = meter.CreateCounterAtZero<long>(
            "atelier.gateway.cluster.unanswered", "{call}", "Calls to the cluster that were not answered.");
        meter.CreateObservableUpDownCounter<int>(
            "atelier.gateway.silos", () => Volatile.Read(ref _silos), "{silo}", "Silos that receive requests.");
    }

    /// <summary>Counts a request that ended.</summary>
    /// <param name="outcome">How it ended, from a small set of constants.</param>
    public void Ended(string outcome) =>
        _requests.Add(1, new KeyValuePair<string, object?>("atelier.outcome", outcome));

    /// <summary>Counts a request or connection that was refused.</summary>
    /// <param name="reason">The reason, from a small set of constants.</param>
    public void Refused(string reason) => _refusals.Add(1, new KeyValuePair<string, object?>("atelier.reason", reason));

    public void Unanswered() => _unanswered.Add(1);

    public void SetSilos(int count) => Volatile.Write(ref _silos, count);
}
