// The options of the queue.
using Atelier.Configuration;

namespace Atelier.Grains.Queueing;

/// <summary>The queue: its bounds, its leases, and the tenants' shares of the workers.</summary>
[Section("Queue"), ClusterWide]
public sealed class WorkQueueOptions
{
    /// <summary>Gets or sets the maximum number of work items in the queue.</summary>
    /// <remarks>A submission beyond it is refused, and the client is asked to retry later.</remarks>
    /// <value>The default is 200,000, which is more than the number of generations that can be open.</value>
    [Bounds(1, 10_000_000)]
    public int SizeMax { get; set; } = 200_000;

    /// <summary>Gets or sets the maximum number of work items of one tenant in the queue.</summary>
    /// <remarks>A submission beyond it is refused, and the client is asked to retry later.</remarks>
    /// <value>The default is 10,000.</value>
    [Bounds(1, 10_000_000)]
    public int TenantSizeMax { get; set; } = 10_000;

    /// <summary>Gets or sets the time after which a lease expires if its worker takes no turn.</summary>
    /// <remarks>A worker that dies delays its work by this time; one that stalls for longer loses its work.</remarks>
    /// <value>The default is 5 seconds.</value>
    [Bounds("00:00:00.1", "1.00:00:00")]
    public TimeSpan LeaseTime { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Gets or sets how far a tenant that is being served may be ahead of a waiting tenant before its work is parked,
    /// as a fraction of the request's cost divided by the larger weight.
    /// </summary>
    /// <remarks>
    /// At 0, tenants alternate at every step. Above a quarter, the guarantee of fair shares would not hold.
    /// </remarks>
    /// <value>The default is 0.125.</value>
    [Bounds(0, 0.25)]
    public double Slack { get; set; } = 0.125;

    /// <summary>
    /// Gets or sets the least time that a model stays in a worker's memory while another tenant waits for a model that
    /// does not fit beside it, as a multiple of the duration of its load; half of it if a newcomer waits.
    /// </summary>
    /// <remarks>
    /// With the value k, loads take at most 1/(k + 1) of a worker's time, except those for newcomers. A newcomer waits
    /// at most half of this time, then for a step and for the load.
    /// </remarks>
    /// <value>The default is 4.</value>
    [Bounds(0, 1000)]
    public double LoadsKept { get; set; } = 4;
}

/// <summary>Validates the queue's options.</summary>
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
                + "for this time loses its work.";
        }
        else if (options.LeaseTime > TimeSpan.FromMinutes(1))
        {
            yield return $"{Key(nameof(options.LeaseTime))} is {options.LeaseTime}: pictures of a worker that dies "
                + "wait for this time.";
        }

        if (options.Slack == 0)
        {
            yield return $"{Key(nameof(options.Slack))} is 0: tenants alternate at every step.";
        }

        if (options.LoadsKept < 1)
        {
            yield return $"{Key(nameof(options.LoadsKept))} is {options.LoadsKept}: workers may spend more time on "
                + "loading models than on pictures.";
        }
    }
}
