using System.Diagnostics.Metrics;
using Atelier.Contracts.Diagnostics;
using Atelier.Grains.Telemetry;

namespace Atelier.Grains.OpenSets;

/// <summary>The metrics of open sets and retention, on the silos where they are active.</summary>
internal sealed class OpenSetInstruments
{
    private readonly Counter<long> _walks;
    private readonly Counter<long> _unanswered;
    private readonly Counter<long> _forgotten;

    public OpenSetInstruments(IMeterFactory meters)
    {
        Meter meter = meters.Create("Atelier.OpenSets");
        meter.CreateObservableUpDownCounter<long>(
            "atelier.open_set.size", () => Size.Value, "{generation}",
            "Generations in the partitions that are active on this silo, including those that ended a moment ago.");
        _walks = meter.CreateCounterAtZero<long>("atelier.open_set.walks", "{walk}", "Walks through partitions.");
        _unanswered = meter.CreateCounterAtZero<long>(
            "atelier.open_set.unanswered", "{question}", "Questions by walks and retention that were not answered.");
        _forgotten = meter.CreateCounterAtZero<long>(
            "atelier.retention.forgotten", "{item}", "Generations and sessions that retention deleted.");
    }

    /// <summary>Generations in the partitions.</summary>
    public Gauge Size { get; } = new();

    public void Walked() => _walks.Add(1);

    public void Unanswered() => _unanswered.Add(1);

    public void Forgot(int count) => _forgotten.Add(count);
}
