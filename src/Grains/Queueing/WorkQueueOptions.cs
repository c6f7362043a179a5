// What can be set about a queue, and what values make sense.
using Atelier.Contracts;

namespace Atelier.Grains.Queueing;

/// <summary>How the queue of a model behaves.</summary>
public sealed class WorkQueueOptions
{
    /// <summary>Gets or sets the most pieces of work in the queue.</summary>
    /// <value>The default is 100,000.</value>
    public int SizeMax { get; set; } = 100_000;

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

    /// <summary>Gets or sets which kinds of work share workers; shares are fair within each pool.</summary>
    /// <remarks>Where text encoders, denoisers and decoders run on machines of their own, each is a pool.</remarks>
    /// <value>The default is one pool of all kinds.</value>
    public IReadOnlyList<WorkRoles> Pools { get; set; } = [WorkRoles.All];

    /// <summary>What is wrong with these options, as a sentence; none if nothing is.</summary>
    public string? Fault() => this switch
    {
        { SizeMax: < 1 } => $"{nameof(SizeMax)} must be at least 1, not {SizeMax}.",
        { TenantSizeMax: < 1 } => $"{nameof(TenantSizeMax)} must be at least 1, not {TenantSizeMax}.",
        _ when LeaseTime < TimeSpan.FromMilliseconds(100) => $"{nameof(LeaseTime)} must be at least 0.1 s, not {LeaseTime}.",
        { Slack: not (>= 0 and <= 0.25) } => $"{nameof(Slack)} must lie in 0..0.25, not be {Slack}.",
        _ when Pools.Sum(pool => (int)pool) != (int)WorkRoles.All
            || Pools.Aggregate(WorkRoles.None, (all, pool) => all | pool) != WorkRoles.All =>
            $"{nameof(Pools)} must hold each kind of work once.",
        _ => null,
    };
}
