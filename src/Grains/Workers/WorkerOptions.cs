// Options of workers.
using Atelier.Configuration;
using Atelier.Grains.Queueing;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.Workers;

/// <summary>Workers: how often they snapshot, retry and ask for work, and how they drain.</summary>
[Section("Worker")]
public sealed class WorkerOptions
{
    /// <summary>
    /// Gets or sets how long a worker without work sleeps before it looks again; a queue wakes it sooner.
    /// </summary>
    /// <remarks>
    /// It is also the longest time between two turns at the queue, which renew leases: much shorter than
    /// <see cref="WorkQueueOptions.LeaseTime"/>.
    /// </remarks>
    /// <value>The default is 0.5 seconds.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan IdlePeriod { get; set; } = TimeSpan.FromSeconds(0.5);

    /// <summary>Gets or sets the time between two snapshots of a picture.</summary>
    /// <remarks>What was done since the last one is done again when a worker dies. At 0 every step is stored.</remarks>
    /// <value>The default is 1 second; the first step under a claim is always stored.</value>
    [Bounds("00:00:00", "1.00:00:00")]
    public TimeSpan SnapshotPeriod { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Gets or sets the pause before a call whose outcome is unknown is made again.</summary>
    /// <value>The default is 0.25 seconds.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan RetryPause { get; set; } = TimeSpan.FromSeconds(0.25);

    /// <summary>Gets or sets how often such a call is made.</summary>
    /// <remarks>
    /// Times <see cref="RetryPause"/>, it is how long a worker waits for a store or a grain that does not answer.
    /// </remarks>
    /// <value>The default is 8.</value>
    [Bounds(1, 1000)]
    public int TriesMax { get; set; } = 8;

    /// <summary>Gets or sets how long a worker may take to hand back what it holds when its silo stops.</summary>
    /// <remarks>
    /// The silo's own shutdown timeout must be longer. What is not handed back is resumed elsewhere after a lease's
    /// time.
    /// </remarks>
    /// <value>The default is 10 seconds.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan DrainTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Gets or sets how long a worker does not try again to load a model that it could not load.</summary>
    /// <value>The default is 1 minute.</value>
    [Bounds("00:00:00", "365.00:00:00")]
    public TimeSpan RefusedModelPause { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>
    /// Gets or sets what becomes of a fault that the loop does not know: the process is the fault domain.
    /// </summary>
    /// <value>The default ends the process.</value>
    public Action<Exception> OnFault { get; set; } =
        error =>
            Environment.FailFast("A worker met a fault that it does not know; its supervisor starts it again.", error);
}

/// <summary>Checks the workers' options.</summary>
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
            yield return $"{Key(nameof(options.SnapshotPeriod))} is {options.SnapshotPeriod}: as much work is done "
                + "again when a worker dies.";
        }
    }
}
