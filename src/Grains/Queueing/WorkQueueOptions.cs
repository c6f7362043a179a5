// Options of the queue.
using Atelier.Configuration;

namespace Atelier.Grains.Queueing;

/// <summary>The queue: its bounds, its leases, and how tenants share the workers.</summary>
[Section("Queue"), ClusterWide]
public sealed class WorkQueueOptions
{
    /// <summary>Gets or sets the most pieces of work in the queue.</summary>
    /// <remarks>A submission beyond it is refused, and the client is asked to try again later.</remarks>
    /// <value>The default is 200,000: more than may be open.</value>
    [Bounds(1, 10_000_000)]
    public int SizeMax { get; set; } = 200_000;

    /// <summary>Gets or sets the most pieces of one tenant's work in the queue.</summary>
    /// <remarks>A submission beyond it is refused, and the client is asked to try again later.</remarks>
    /// <value>The default is 10,000.</value>
    [Bounds(1, 10_000_000)]
    public int TenantSizeMax { get; set; } = 10_000;

    /// <summary>Gets or sets how long a lease lasts without a turn of its worker.</summary>
    /// <remarks>A worker that dies holds its work back for as long; one that stalls for longer loses it.</remarks>
    /// <value>The default is 5 seconds.</value>
    [Bounds("00:00:00.1", "1.00:00:00")]
    public TimeSpan LeaseTime { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Gets or sets how far a tenant that is being served may run ahead of one that waits before it is parked, as a
    /// part of the request's cost over the larger weight.
    /// </summary>
    /// <remarks>
    /// At 0 tenants change places at every step; above a quarter the promise of fair shares does not hold.
    /// </remarks>
    /// <value>The default is 0.125.</value>
    [Bounds(0, 0.25)]
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
    [Bounds(0, 1000)]
    public double LoadsKept { get; set; } = 4;
}

/// <summary>Checks the queue's options.</summary>
internal sealed class WorkQueueOptionsValidator : OptionsValidator<WorkQueueOptions>
{
    public override IEnumerable<string> Warnings(WorkQueueOptions options)
    {
        if (options.TenantSizeMax > options.SizeMax)
        {
            yield return $"{Key(nameof(options.TenantSizeMax))} is {options.TenantSizeMax}, more than "
                + $"{Key(nameof(options.SizeMax))} ({options.SizeMax}): one tenant can fill the queue for all.";
        }

        if (options.LeaseTime < TimeSpan.FromSeconds(1))
        {
            yield return $"{Key(nameof(options.LeaseTime))} is {options.LeaseTime}: a worker whose process pauses "
                + "for as long loses its work.";
        }
        else if (options.LeaseTime > TimeSpan.FromMinutes(1))
        {
            yield return $"{Key(nameof(options.LeaseTime))} is {options.LeaseTime}: pictures of a worker that dies "
                + "wait for as long.";
        }

        if (options.Slack == 0)
        {
            yield return $"{Key(nameof(options.Slack))} is 0: tenants change places at every step.";
        }

        if (options.LoadsKept < 1)
        {
            yield return $"{Key(nameof(options.LoadsKept))} is {options.LoadsKept}: workers may spend more time on "
                + "loading models than on pictures.";
        }
    }
}
