using System.Diagnostics.Metrics;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Telemetry;

namespace Atelier.Grains.Queueing;

/// <summary>The metrics of the queue, on the silo where it is active.</summary>
internal sealed class QueueInstruments
{
    private readonly Dictionary<WorkKind, Gauge> _waiting = Enum.GetValues<WorkKind>().ToDictionary(
        kind => kind, _ => new Gauge());

    private readonly Gauge _leases = new();
    private readonly Counter<long> _grants;
    private readonly Counter<long> _expired;
    private readonly Counter<long> _refused;

    public QueueInstruments(IMeterFactory meters)
    {
        Meter meter = meters.Create("Atelier.Queue");
        meter.CreateObservableUpDownCounter<long>(
            "atelier.queue.waiting", Waiting, "{item}", "Work items that wait for a worker, by kind.");
        meter.CreateObservableUpDownCounter<long>(
            "atelier.queue.leases", () => _leases.Value, "{lease}", "Work items that workers hold.");
        _grants = meter.CreateCounter<long>(
            "atelier.queue.grants", "{grant}", "Grants of work to workers; each step is granted separately.");
        _expired = meter.CreateCounter<long>(
            "atelier.queue.leases.expired", "{lease}", "Leases that expired because their workers stopped reporting.");
        _refused = meter.CreateCounter<long>(
            "atelier.queue.refused", "{item}", "Work items refused because a queue limit was reached.");
    }

    public void Granted() => _grants.Add(1);

    public void Expired() => _expired.Add(1);

    public void Refused(OfferOutcome outcome) =>
        _refused.Add(1, new KeyValuePair<string, object?>(LabelNames.Reason, Labels<OfferOutcome>.Of(outcome)));

    /// <summary>Creates one queue's contribution to the gauges.</summary>
    public Levels Open() => new(this);

    private IEnumerable<Measurement<long>> Waiting() => _waiting.Select(one => new Measurement<long>(
        one.Value.Value, new KeyValuePair<string, object?>(LabelNames.Kind, Labels<WorkKind>.Of(one.Key))));

    /// <summary>One queue's contribution to the gauges.</summary>
    internal sealed class Levels(QueueInstruments instruments)
    {
        private readonly (WorkKind Kind, Gauge Gauge)[] _kinds =
            [.. instruments._waiting.Select(one => (one.Key, one.Value))];

        private readonly int[] _waiting = new int[instruments._waiting.Count];
        private int _leases;

        /// <summary>
        /// Sets the contribution to the queue's counts. Null, passed when the queue's grain deactivates, sets it to
        /// zero.
        /// </summary>
        public void Update(WorkQueue? queue)
        {
            for (int i = 0; i < _kinds.Length; i++)
            {
                _kinds[i].Gauge.Move(ref _waiting[i], queue?.Waiting.CountOf(_kinds[i].Kind) ?? 0);
            }

            instruments._leases.Move(ref _leases, queue?.Leases ?? 0);
        }
    }
}
