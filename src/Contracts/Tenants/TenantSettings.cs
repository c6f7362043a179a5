namespace Atelier.Contracts.Tenants;

/// <summary>The limits of a tenant, and its share of the devices.</summary>
[GenerateSerializer, Immutable, Alias("atelier.TenantSettings")]
public sealed record TenantSettings
{
    /// <summary>Largest weight; the smallest is 1.</summary>
    public const double WeightMax = 1000;

    /// <summary>Upper bound of <see cref="OpenGenerations"/>.</summary>
    public const int OpenMax = 10_000;

    /// <summary>Upper bound of <see cref="Sessions"/>.</summary>
    public const int SessionsMax = 10_000;

    /// <summary>Upper bound of <see cref="StoredMegabytes"/>, in MiB.</summary>
    public const int StoredMegabytesMax = 1 << 20;

    /// <summary>Share of the devices relative to other tenants that have work.</summary>
    [Id(0)]
    public double Weight { get; init; } = 1;

    /// <summary>Requests allowed per minute.</summary>
    [Id(1)]
    public int RequestsPerMinute { get; init; } = 600;

    /// <summary>Maximum number of generations open at a time.</summary>
    [Id(2)]
    public int OpenGenerations { get; init; } = 1000;

    /// <summary>Network evaluations allowed per day (UTC).</summary>
    [Id(3)]
    public long EvaluationsPerDay { get; init; } = 10_000_000;

    /// <summary>Maximum number of sessions at a time; deleted and expired ones do not count.</summary>
    [Id(4)]
    public int Sessions { get; init; } = 1000;

    /// <summary>
    /// Maximum size of stored state, in MiB: open requests, ended requests that are still retained, and sessions. At
    /// the limit, nothing new is accepted until something is deleted, on request or by retention.
    /// </summary>
    [Id(5)]
    public int StoredMegabytes { get; init; } = 1024;

    /// <summary>
    /// Whether the tenant may submit training runs. Trainers read whatever folder a run names, so the right is for
    /// trusted tenants.
    /// </summary>
    [Id(6)]
    public bool MayTrain { get; init; }

    /// <summary>What is wrong with these settings, as a sentence; null if they are valid.</summary>
    public string? Fault() => this switch
    {
        { Weight: not (>= 1 and <= WeightMax) } => $"The weight must be in 1..{WeightMax}, not {Weight}.",
        { RequestsPerMinute: < 0 or > 1_000_000 } =>
            $"Requests per minute must be in 0..1000000, not {RequestsPerMinute}.",
        { OpenGenerations: < 0 or > OpenMax } =>
            $"Open generations must be in 0..{OpenMax}, not {OpenGenerations}.",
        { Sessions: < 0 or > SessionsMax } => $"Sessions must be in 0..{SessionsMax}, not {Sessions}.",
        { StoredMegabytes: < 0 or > StoredMegabytesMax } =>
            $"Stored megabytes must be in 0..{StoredMegabytesMax}, not {StoredMegabytes}.",
        { EvaluationsPerDay: < 0 } => "Evaluations per day must not be negative.",
        _ => null,
    };
}
