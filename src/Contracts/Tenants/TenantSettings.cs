namespace Atelier.Contracts.Tenants;

/// <summary>What a tenant may do, and its share.</summary>
[GenerateSerializer, Immutable, Alias("atelier.TenantSettings")]
public sealed record TenantSettings
{
    /// <summary>Largest weight; weights below 1 are none.</summary>
    public const double WeightMax = 1000;

    /// <summary>Most generations that a tenant may have open.</summary>
    public const int OpenMax = 10_000;

    /// <summary>Most sessions that a tenant may have.</summary>
    public const int SessionsMax = 10_000;

    /// <summary>Most that a tenant may keep stored, in MiB.</summary>
    public const int StoredMegabytesMax = 1 << 20;

    /// <summary>Share of the devices against other tenants', where both have work.</summary>
    [Id(0)]
    public double Weight { get; init; } = 1;

    /// <summary>Requests a minute.</summary>
    [Id(1)]
    public int RequestsPerMinute { get; init; } = 600;

    /// <summary>Generations open at a time.</summary>
    [Id(2)]
    public int OpenGenerations { get; init; } = 1000;

    /// <summary>Evaluations of a network in a day (UTC).</summary>
    [Id(3)]
    public long EvaluationsPerDay { get; init; } = 10_000_000;

    /// <summary>Sessions at a time; one that is deleted or forgotten does not count.</summary>
    [Id(4)]
    public int Sessions { get; init; } = 1000;

    /// <summary>
    /// MiB of stored states: requests that are open or that have ended and are kept, and sessions. At the limit,
    /// nothing new is accepted until something is deleted or forgotten.
    /// </summary>
    [Id(5)]
    public int StoredMegabytes { get; init; } = 1024;

    /// <summary>What is wrong with these settings, as a sentence; none if nothing is.</summary>
    public string? Fault() => this switch
    {
        { Weight: not (>= 1 and <= WeightMax) } => $"The weight must lie in 1..{WeightMax}, not be {Weight}.",
        { RequestsPerMinute: < 0 or > 1_000_000 } =>
            $"Requests per minute must lie in 0..1000000, not be {RequestsPerMinute}.",
        { OpenGenerations: < 0 or > OpenMax } =>
            $"Open generations must lie in 0..{OpenMax}, not be {OpenGenerations}.",
        { Sessions: < 0 or > SessionsMax } => $"Sessions must lie in 0..{SessionsMax}, not be {Sessions}.",
        { StoredMegabytes: < 0 or > StoredMegabytesMax } =>
            $"Stored megabytes must lie in 0..{StoredMegabytesMax}, not be {StoredMegabytes}.",
        { EvaluationsPerDay: < 0 } => "Evaluations per day must not be negative.",
        _ => null,
    };
}
