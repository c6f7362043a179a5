namespace Atelier.Contracts.Queueing;

/// <summary>The outcome of an offer.</summary>
[GenerateSerializer, Alias("atelier.OfferOutcome")]
public enum OfferOutcome
{
    /// <summary>The work is in the queue, or was there already.</summary>
    Queued,

    /// <summary>The tenant has reached its limit of queued work.</summary>
    TenantFull,

    /// <summary>The queue is full.</summary>
    QueueFull,
}

/// <summary>The place of work in its queue.</summary>
/// <param name="Position">
/// Number of the same tenant's work items that come first; other tenants' work is not disclosed.
/// </param>
/// <param name="Wait">
/// Estimated time until the work starts; null until the queue has measured the workers' throughput.
/// </param>
/// <param name="Loading">How long a worker has been loading the work's model; null if no worker is.</param>
[GenerateSerializer, Immutable, Alias("atelier.QueuePlace")]
public readonly record struct QueuePlace(
    [property: Id(0)] int Position, [property: Id(1)] TimeSpan? Wait, [property: Id(2)] TimeSpan? Loading = null);

/// <summary>Answer to an offer.</summary>
/// <param name="Outcome">Whether the work is in the queue.</param>
/// <param name="Place">The work's place in the queue; null if the work was refused.</param>
/// <param name="RetryAfter">How long to wait before retrying, if the work was refused.</param>
[GenerateSerializer, Immutable, Alias("atelier.OfferAnswer")]
public sealed record OfferAnswer(
    [property: Id(0)] OfferOutcome Outcome, [property: Id(1)] QueuePlace? Place,
    [property: Id(2)] TimeSpan? RetryAfter);

/// <summary>The load of a queue.</summary>
/// <param name="Waiting">Work items that wait.</param>
/// <param name="Leased">Work items that are leased.</param>
/// <param name="Tenants">Tenants with work in the queue.</param>
/// <param name="CostWaiting">Predicted floating-point operations of the waiting work.</param>
/// <param name="CostPerSecond">
/// Recent throughput in floating-point operations per second; 0 while it is unknown.
/// </param>
[GenerateSerializer, Immutable, Alias("atelier.QueueStatus")]
public sealed record QueueStatus(
    [property: Id(0)] int Waiting, [property: Id(1)] int Leased, [property: Id(2)] int Tenants,
    [property: Id(3)] double CostWaiting, [property: Id(4)] double CostPerSecond);
