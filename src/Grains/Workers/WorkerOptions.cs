// The options of workers.
using Atelier.Configuration;
using Atelier.Grains.Queueing;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.Workers;

/// <summary>Workers: snapshots, retries, turns at the queue, and draining.</summary>
[Section("Worker")]
public sealed class WorkerOptions
{
    /// <summary>
    /// Gets or sets how long an idle worker sleeps before it takes another turn; the queue may wake it sooner.
    /// </summary>
    /// <remarks>
    /// It is also the longest time between two turns at the queue, which renew leases, so it must be much shorter than
    /// <see cref="WorkQueueOptions.LeaseTime"/>.
    /// </remarks>
    /// <value>The default is 0.5 seconds.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan IdlePeriod { get; set; } = TimeSpan.FromSeconds(0.5);

    /// <summary>Gets or sets the time between two snapshots of a picture.</summary>
    /// <remarks>Work since the last snapshot is repeated when a worker dies. At 0, every step is stored.</remarks>
    /// <value>The default is 1 second; the first step under a claim is always stored.</value>
    [Bounds("00:00:00", "1.00:00:00")]
    public TimeSpan SnapshotPeriod { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Gets or sets the pause before a call whose outcome is unknown is retried.</summary>
    /// <value>The default is 0.25 seconds.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan RetryPause { get; set; } = TimeSpan.FromSeconds(0.25);

    /// <summary>Gets or sets the maximum number of attempts for a call whose outcome is unknown.</summary>
    /// <remarks>
    /// Multiplied by <see cref="RetryPause"/>, it is how long a worker waits for a store or a grain that does not
    /// answer.
    /// </remarks>
    /// <value>The default is 8.</value>
    [Bounds(1, 1000)]
    public int TriesMax { get; set; } = 8;

    /// <summary>Gets or sets how long a worker may take to return its work when its silo stops.</summary>
    /// <remarks>
    /// The silo's own shutdown timeout must be longer. Work that is not returned is resumed elsewhere after its lease
    /// has expired.
    /// </remarks>
    /// <value>The default is 10 seconds.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan DrainTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Gets or sets the pause before a worker retries to load a model that it could not load.</summary>
    /// <value>The default is 1 minute.</value>
    [Bounds("00:00:00", "365.00:00:00")]
    public TimeSpan RefusedModelPause { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>
    /// Gets or sets the handler of an unexpected fault in the loop. The fault domain is the process.
    /// </summary>
    /// <value>The default ends the process.</value>
    public Action<Exception> OnFault { get; set; } =
        error =>
            Environment.FailFast("Unexpected fault in a worker; the process exits to be restarted.", error);
}

/// <summary>Validates the workers' options.</summary>
internal sealed class WorkerOptionsValidator(IOptions<WorkQueueOptions> queue) : OptionsValidator<WorkerOptions>
{
    public override IEnumerable<string> Warnings(WorkerOptions options)
    {
        if (queue.ValueIfValid() is { LeaseTime: var lease } && options.IdlePeriod > lease / 2)
        {
            yield return $"{Key(nameof(options.IdlePeriod))} is {options.IdlePeriod}, more than half of "
                + $"{OptionKey.PathOf<WorkQueueOptions>(nameof(WorkQueueOptions.LeaseTime))} ({lease}): leases may "
                + "expire before their workers renew them.";
        }

        if (options.SnapshotPeriod == TimeSpan.Zero)
        {
            yield return $"{Key(nameof(options.SnapshotPeriod))} is 0: every step of every picture is stored.";
        }
        else if (options.SnapshotPeriod > TimeSpan.FromMinutes(1))
        {
            yield return $"{Key(nameof(options.SnapshotPeriod))} is {options.SnapshotPeriod}: up to that much work "
                + "is repeated when a worker dies.";
        }
    }
}
