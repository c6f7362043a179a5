using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Atelier.Contracts;
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Telemetry;

namespace Atelier.Grains.Queueing;

/// <summary>The metrics of the queue, on the silo where it is active.</summary>
internal sealed class QueueInstruments
{
    private readonly Dictionary<WorkKind, Gauge> _waiting = Enum.GetValues<WorkKind>().ToDictionary(
        kind => kind, _ => new Gauge());

    // Maximum number of models that have a series of their own; later ones share one.
    internal const int ModelsMax = 32;

    // Digits of a model's digest in its label.
    private const int LabelLength = 12;

    private readonly ConcurrentDictionary<ModelDigest, string> _models = new();
    private readonly ConcurrentDictionary<Levels, ModelBacklog[]> _backlogs = new();
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
        meter.CreateObservableUpDownCounter(
            "atelier.queue.model.waiting", () => OfModels(one => one.Waiting), "{item}",
            "Work items that wait for a worker, by model.");
        meter.CreateObservableGauge(
            "atelier.queue.model.backlog", () => OfModels(one => one.Seconds ?? 0), "s",
            "Predicted time in which one device would do a model's waiting work; 0 while the speed is unknown.");
        _grants = meter.CreateCounterAtZero<long>(
            "atelier.queue.grants", "{grant}", "Grants of work to workers; each step is granted separately.");
        _expired = meter.CreateCounterAtZero<long>(
            "atelier.queue.leases.expired", "{lease}", "Leases that expired because their workers stopped reporting.");
        _refused = meter.CreateCounter<long>(
            "atelier.queue.refused", "{item}", "Work items refused because a queue limit was reached.");
        Labels<OfferOutcome>.Begin(_refused, LabelNames.Reason, OfferOutcome.Queued);
    }

    public void Granted() => _grants.Add(1);

    public void Expired() => _expired.Add(1);

    public void Refused(OfferOutcome outcome) =>
        _refused.Add(1, new KeyValuePair<string, object?>(LabelNames.Reason, Labels<OfferOutcome>.Of(outcome)));

    /// <summary>Creates one queue's contribution to the gauges.</summary>
    public Levels Open() => new(this);

    private IEnumerable<Measurement<long>> Waiting() => _waiting.Select(one => new Measurement<long>(
        one.Value.Value, new KeyValuePair<string, object?>(LabelNames.Kind, Labels<WorkKind>.Of(one.Key))));

    // A model that had work once keeps its series, at 0.
    private IEnumerable<Measurement<double>> OfModels(Func<ModelBacklog, double> value)
    {
        ILookup<string, ModelBacklog> work =
            _backlogs.Values.SelectMany(models => models).ToLookup(one => LabelOf(one.Model));
        return _models.Values.Concat(work.Select(one => one.Key)).Distinct(StringComparer.Ordinal).Select(
            label => new Measurement<double>(
                work[label].Sum(value), new KeyValuePair<string, object?>("atelier.model", label)));
    }

    private string LabelOf(ModelDigest model) =>
        _models.TryGetValue(model, out string? label) ? label
        : _models.Count < ModelsMax ? _models.GetOrAdd(model, model.Value[..LabelLength])
        : "other";

    /// <summary>One queue's contribution to the gauges.</summary>
    internal sealed class Levels(QueueInstruments instruments)
    {
        private readonly (WorkKind Kind, Gauge Gauge)[] _kinds =
            [.. instruments._waiting.Select(one => (one.Key, one.Value))];

        private readonly int[] _waiting = new int[instruments._waiting.Count];
        private int _leases;

        /// <summary>Sets the contribution to the counts by model; empty when the queue's grain deactivates.</summary>
        public void UpdateModels(IEnumerable<ModelBacklog> models)
        {
            ModelBacklog[] all = [.. models];
            if (all.Length > 0)
            {
                instruments._backlogs[this] = all;
            }
            else
            {
                instruments._backlogs.TryRemove(this, out _);
            }
        }

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
