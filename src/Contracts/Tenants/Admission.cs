namespace Atelier.Contracts.Tenants;

/// <summary>Whether a tenant may start a generation.</summary>
[GenerateSerializer, Alias("atelier.AdmissionOutcome")]
public enum AdmissionOutcome
{
    /// <summary>It may.</summary>
    Admitted,

    /// <summary>There is no such tenant.</summary>
    UnknownTenant,

    /// <summary>It makes more requests a minute than it may.</summary>
    RateLimited,

    /// <summary>It has as many open generations as it may.</summary>
    TooManyOpen,

    /// <summary>It has used the evaluations that it may use in a day.</summary>
    DailyLimit,

    /// <summary>It has as many sessions as it may.</summary>
    TooManySessions,

    /// <summary>It keeps as much as it may.</summary>
    TooMuchStored,

    /// <summary>The store has no room for anything new, whoever asks.</summary>
    StoreFull,
}

/// <summary>Answer to the question whether a tenant may start a generation.</summary>
/// <param name="Outcome">Whether it may.</param>
/// <param name="Weight">The tenant's weight.</param>
/// <param name="RetryAfter">When to come back, if it may not now.</param>
/// <param name="Message">What is wrong and what would be right, if it may not.</param>
/// <param name="WeightVersion">Number of the change that gave the weight.</param>
/// <param name="Day">The day whose evaluations it is charged to, in days since 1970 (UTC).</param>
[GenerateSerializer, Immutable, Alias("atelier.Admission")]
public sealed record Admission(
    [property: Id(0)] AdmissionOutcome Outcome, [property: Id(1)] double Weight = 1,
    [property: Id(2)] TimeSpan? RetryAfter = null, [property: Id(3)] string? Message = null,
    [property: Id(4)] long WeightVersion = 0, [property: Id(5)] long Day = 0);
