namespace Atelier.Contracts.Queueing;

/// <summary>What became of an offer.</summary>
[GenerateSerializer, Alias("atelier.OfferOutcome")]
public enum OfferOutcome
{
    /// <summary>The work stands in the queue, or stood there already.</summary>
    Queued,

    /// <summary>The tenant has as much in the queue as it may.</summary>
    TenantFull,

    /// <summary>The queue holds as much as it may.</summary>
    QueueFull,
}

/// <summary>Where work stands in its queue.</summary>
/// <param name="Position">
/// Pieces of the same tenant's work that come first; other tenants' are nobody's business.
/// </param>
/// <param name="Wait">
/// Estimated time until it starts; none while the queue has not yet seen how fast the workers are.
/// </param>
[GenerateSerializer, Immutable, Alias("atelier.QueuePlace")]
public readonly record struct QueuePlace([property: Id(0)] int Position, [property: Id(1)] TimeSpan? Wait);

/// <summary>Answer to an offer.</summary>
/// <param name="Outcome">Whether the work is in the queue.</param>
/// <param name="Place">Where it stands, if it is.</param>
/// <param name="RetryAfter">When to come back, if it is not.</param>
[GenerateSerializer, Immutable, Alias("atelier.OfferAnswer")]
public sealed record OfferAnswer(
    [property: Id(0)] OfferOutcome Outcome, [property: Id(1)] QueuePlace? Place,
    [property: Id(2)] TimeSpan? RetryAfter);

/// <summary>How full a queue is.</summary>
/// <param name="Waiting">Pieces of work that wait.</param>
/// <param name="Leased">Pieces of work that are leased.</param>
/// <param name="Tenants">Tenants with work.</param>
/// <param name="CostWaiting">Predicted operations of what waits.</param>
/// <param name="CostPerSecond">Operations granted a second, lately; 0 while none is known.</param>
[GenerateSerializer, Immutable, Alias("atelier.QueueStatus")]
public sealed record QueueStatus(
    [property: Id(0)] int Waiting, [property: Id(1)] int Leased, [property: Id(2)] int Tenants,
    [property: Id(3)] double CostWaiting, [property: Id(4)] double CostPerSecond);
