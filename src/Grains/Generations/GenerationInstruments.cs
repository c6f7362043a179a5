using System.Diagnostics.Metrics;
using System.Globalization;
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Telemetry;

namespace Atelier.Grains.Generations;

/// <summary>The metrics of generations.</summary>
internal sealed class GenerationInstruments
{
    private static readonly InstrumentAdvice<double> s_seconds = new()
    {
        HistogramBucketBoundaries =
            [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200],
    };

    private readonly Counter<long> _accepted;
    private readonly Counter<long> _refused;
    private readonly Counter<long> _ended;
    private readonly Counter<long> _claims;
    private readonly Counter<long> _lost;
    private readonly Counter<long> _restarts;
    private readonly Counter<long> _quarantines;
    private readonly Counter<long> _snapshots;
    private readonly Counter<long> _pictures;
    private readonly Counter<long> _tokens;
    private readonly Histogram<double> _phases;

    public GenerationInstruments(IMeterFactory meters)
    {
        Meter meter = meters.Create("Atelier.Generations");
        _accepted = meter.CreateCounterAtZero<long>(
            "atelier.generation.accepted", "{generation}", "Generations that were accepted.");
        _refused = meter.CreateCounter<long>(
            "atelier.generation.refused", "{generation}", "Submissions that were refused, by reason.");
        Labels<SubmitOutcome>.Begin(_refused, LabelNames.Reason, SubmitOutcome.Accepted, SubmitOutcome.Exists);
        _ended = meter.CreateCounter<long>(
            "atelier.generation.ended", "{generation}", "Generations that ended, by outcome and error.");
        _claims = meter.CreateCounter<long>(
            "atelier.generation.claims", "{claim}", "Claims of workers that were granted, by phase.");
        _lost = meter.CreateCounterAtZero<long>(
            "atelier.generation.claims.lost", "{claim}", "Claims whose workers stopped reporting.");
        _restarts = meter.CreateCounterAtZero<long>(
            "atelier.generation.restarts", "{restart}", "Pictures that restarted on another device kind.");
        _quarantines = meter.CreateCounterAtZero<long>(
            "atelier.generation.quarantines", "{generation}", "Generations that had to run alone.");
        _snapshots = meter.CreateCounterAtZero<long>(
            "atelier.generation.snapshots", "{snapshot}", "Snapshots of pictures that were stored.");
        _pictures = meter.CreateCounter<long>(
            "atelier.generation.pictures", "{picture}", "Finished pictures, by class of the tenant.");
        _tokens = meter.CreateCounter<long>(
            "atelier.generation.tokens", "{token}",
            "Tokens of the prompts of finished pictures, by class of the tenant.");
        _phases = meter.CreateHistogram(
            "atelier.generation.phase.duration", "s", "Time in a phase, waiting or in progress.",
            tags: null, s_seconds);
    }

    public void Accepted() => _accepted.Add(1);

    public void Refused(SubmitOutcome outcome) => Count(_refused, LabelNames.Reason, Labels<SubmitOutcome>.Of(outcome));

    public void Claimed(GenerationPhase phase) => Count(_claims, LabelNames.Phase, Labels<GenerationPhase>.Of(phase));

    public void ClaimLost() => _lost.Add(1);

    public void Restarted() => _restarts.Add(1);

    public void Quarantined() => _quarantines.Add(1);

    public void SnapshotStored() => _snapshots.Add(1);

    /// <summary>Records a phase that ended.</summary>
    /// <param name="phase">The phase.</param>
    /// <param name="took">The duration of the phase; null if the phase began in another activation.</param>
    public void PhaseEnded(GenerationPhase phase, TimeSpan? took)
    {
        if (took is { } time)
        {
            _phases.Record(
                time.TotalSeconds,
                new KeyValuePair<string, object?>(LabelNames.Phase, Labels<GenerationPhase>.Of(phase)));
        }
    }

    public void Ended(GenerationState state)
    {
        var outcome = new KeyValuePair<string, object?>(
            LabelNames.Outcome, Labels<GenerationPhase>.Of(state.Phase));
        if (state.Phase == GenerationPhase.Done)
        {
            var tenants = new KeyValuePair<string, object?>("atelier.tenant.class", ClassOf(state.Weight));
            _pictures.Add(1, tenants);
            _tokens.Add((state.Encoded?.Prompt.Used ?? 0) + (state.Encoded?.Negative?.Used ?? 0), tenants);
        }

        if (state.Phase == GenerationPhase.Failed)
        {
            _ended.Add(1, outcome, new(LabelNames.ErrorType, Labels<GenerationError>.Of(state.Error)));
        }
        else
        {
            _ended.Add(1, outcome);
        }
    }

    /// <summary>
    /// The class of tenants of a weight: the largest power of two that the weight reaches, of which there are ten.
    /// </summary>
    internal static string ClassOf(double weight) => ((int)Math.Pow(2, Math.Floor(Math.Log2(Math.Clamp(
        weight, 1, TenantSettings.WeightMax))))).ToString(CultureInfo.InvariantCulture);

    private static void Count(Counter<long> counter, string name, string value) =>
        counter.Add(1, new KeyValuePair<string, object?>(name, value));
}
