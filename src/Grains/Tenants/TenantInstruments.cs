using System.Diagnostics.Metrics;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Telemetry;

namespace Atelier.Grains.Tenants;

/// <summary>The metrics of all tenants together, on the silos where their grains are active.</summary>
internal sealed class TenantInstruments
{
    private readonly Counter<long> _refused;

    public TenantInstruments(IMeterFactory meters)
    {
        Meter meter = meters.Create("Atelier.Tenants");
        meter.CreateObservableUpDownCounter<long>(
            "atelier.tenant.open", () => Open.Value, "{generation}",
            "Open generations that tenants on this silo are charged for, including those that are being submitted.");
        _refused = meter.CreateCounter<long>(
            "atelier.tenant.refused", "{request}", "Generations and sessions that tenants' limits refused, by reason.");
        Labels<AdmissionOutcome>.Begin(_refused, LabelNames.Reason, AdmissionOutcome.Admitted);
    }

    /// <summary>Open generations of the tenants.</summary>
    public Gauge Open { get; } = new();

    public void Refused(AdmissionOutcome outcome) => _refused.Add(
        1, new KeyValuePair<string, object?>(LabelNames.Reason, Labels<AdmissionOutcome>.Of(outcome)));
}
