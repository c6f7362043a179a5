// What can be set about a queue, and what values make sense.
namespace Atelier.Grains.Queueing;

/// <summary>How the queue behaves.</summary>
public sealed class WorkQueueOptions
{
    /// <summary>Gets or sets the most pieces of work in the queue.</summary>
    /// <value>The default is 200,000: more than may be open.</value>
    public int SizeMax { get; set; } = 200_000;

    /// <summary>Gets or sets the most pieces of one tenant's work in the queue.</summary>
    /// <value>The default is 10,000.</value>
    public int TenantSizeMax { get; set; } = 10_000;

    /// <summary>Gets or sets how long a lease lasts without a turn of its worker.</summary>
    /// <remarks>A worker that dies holds its work back for as long; one that stalls for longer loses it.</remarks>
    /// <value>The default is 5 seconds.</value>
    public TimeSpan LeaseTime { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Gets or sets how far a tenant that is being served may run ahead of one that waits before it is parked, as a
    /// part of the request's cost over the larger weight.
    /// </summary>
    /// <remarks>
    /// At 0 tenants change places at every step; above a quarter the promise of fair shares does not hold.
    /// </remarks>
    /// <value>The default is an eighth.</value>
    public double Slack { get; set; } = 0.125;

    /// <summary>
    /// Gets or sets for how many times the duration of its load a model stays in a worker's memory, at least, while
    /// another tenant waits for a model that does not fit beside it; half as long where a newcomer waits.
    /// </summary>
    /// <remarks>
    /// Loads take at most one part in this and one of a worker's time, but for those that newcomers ask for. A newcomer
    /// waits for half of it at most, then for a step and for the load.
    /// </remarks>
    /// <value>The default is 4.</value>
    public double LoadsKept { get; set; } = 4;

    /// <summary>What is wrong with these options, as a sentence; none if nothing is.</summary>
    public string? Fault() => this switch
    {
        { SizeMax: < 1 } => $"{nameof(SizeMax)} must be at least 1, not {SizeMax}.",
        { TenantSizeMax: < 1 } => $"{nameof(TenantSizeMax)} must be at least 1, not {TenantSizeMax}.",
        _ when LeaseTime < TimeSpan.FromMilliseconds(100) =>
            $"{nameof(LeaseTime)} must be at least 0.1 s, not {LeaseTime}.",
        { Slack: not (>= 0 and <= 0.25) } => $"{nameof(Slack)} must lie in 0..0.25, not be {Slack}.",
        { LoadsKept: not (>= 0 and <= 1000) } => $"{nameof(LoadsKept)} must lie in 0..1000, not be {LoadsKept}.",
        _ => null,
    };
}
