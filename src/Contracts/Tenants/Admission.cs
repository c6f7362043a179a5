namespace Atelier.Contracts.Tenants;

/// <summary>The outcome of an admission check.</summary>
[GenerateSerializer, Alias("atelier.AdmissionOutcome")]
public enum AdmissionOutcome
{
    /// <summary>The generation or session may start.</summary>
    Admitted,

    /// <summary>The tenant does not exist.</summary>
    UnknownTenant,

    /// <summary>The tenant has exceeded its requests per minute.</summary>
    RateLimited,

    /// <summary>The tenant has reached its limit of open generations.</summary>
    TooManyOpen,

    /// <summary>The tenant has used up its evaluations for the day.</summary>
    DailyLimit,

    /// <summary>The tenant has reached its limit of sessions.</summary>
    TooManySessions,

    /// <summary>The tenant has reached its storage limit.</summary>
    TooMuchStored,

    /// <summary>The store has no room for anything new, for any tenant.</summary>
    StoreFull,
}

/// <summary>Answer to an admission check.</summary>
/// <param name="Outcome">Whether the generation or session is admitted.</param>
/// <param name="Weight">The tenant's weight.</param>
/// <param name="RetryAfter">How long to wait before retrying, if it was refused.</param>
/// <param name="Message">If it was refused: what is wrong and how to correct it.</param>
/// <param name="WeightVersion">Version of the weight.</param>
/// <param name="Day">The day to which the generation's evaluations are charged, in days since 1970 (UTC).</param>
[GenerateSerializer, Immutable, Alias("atelier.Admission")]
public sealed record Admission(
    [property: Id(0)] AdmissionOutcome Outcome, [property: Id(1)] double Weight = 1,
    [property: Id(2)] TimeSpan? RetryAfter = null, [property: Id(3)] string? Message = null,
    [property: Id(4)] long WeightVersion = 0, [property: Id(5)] long Day = 0);
