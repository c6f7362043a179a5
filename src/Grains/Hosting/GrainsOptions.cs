// All that can be set about the grains, in one place.
using Atelier.Grains.Generations;
using Atelier.Grains.Models;
using Atelier.Grains.Queueing;

namespace Atelier.Grains.Hosting;

/// <summary>How the grains of a cluster behave. All silos of a cluster must have the same.</summary>
public sealed class GrainsOptions
{
    /// <summary>Most partitions of the open set.</summary>
    public const int OpenSetPartitionsMax = 65536;

    /// <summary>Gets the queue's options.</summary>
    public WorkQueueOptions Queue { get; } = new();

    /// <summary>Gets the generations' options.</summary>
    public GenerationOptions Generation { get; } = new();

    /// <summary>Gets the catalogue's options.</summary>
    public ModelOptions Models { get; } = new();

    /// <summary>Gets the workers' options.</summary>
    public Workers.WorkerOptions Worker { get; } = new();

    /// <summary>Gets or sets the number of partitions of the open set; each holds up to 480 open generations.</summary>
    /// <remarks>
    /// It may change from one start to the next: what is in a partition stays there to its end, and all that ever were
    /// are walked. Each has a reminder, and a small write every five minutes.
    /// </remarks>
    /// <value>The default is 256: room for more than 100,000 open generations.</value>
    public int OpenSetPartitions { get; set; } = 256;

    /// <summary>Gets or sets how often each partition is walked in case all else failed.</summary>
    /// <value>The default is one minute, the shortest time between reminders.</value>
    public TimeSpan WalkPeriod { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>Gets the shortest <see cref="SessionRetention"/>: one hour.</summary>
    public static TimeSpan SessionRetentionMin { get; } = TimeSpan.FromHours(1);

    /// <summary>
    /// Gets or sets how long a session is kept after its last use, in time in which the cluster runs: its begin, or a
    /// generation that was accepted in it.
    /// </summary>
    /// <remarks>
    /// Each is looked at once in the time that an ended generation is kept, so it goes up to two of those later.
    /// </remarks>
    /// <value>The default is 30 days.</value>
    public TimeSpan SessionRetention { get; set; } = TimeSpan.FromDays(30);

    /// <summary>These options, if they make sense.</summary>
    /// <exception cref="ArgumentException">They do not; the message says what would be right.</exception>
    public GrainsOptions Checked() => Fault() is { } fault ? throw new ArgumentException(fault) : this;

    private string? Fault() => this switch
    {
        { OpenSetPartitions: < 1 or > OpenSetPartitionsMax } =>
            $"{nameof(OpenSetPartitions)} must lie in 1..{OpenSetPartitionsMax}, not be {OpenSetPartitions}.",
        _ when WalkPeriod < TimeSpan.FromSeconds(1) => $"{nameof(WalkPeriod)} must be at least 1 s, not {WalkPeriod}.",
        _ when SessionRetention < SessionRetentionMin =>
            $"{nameof(SessionRetention)} must be at least 1 h, not {SessionRetention}.",
        _ when Generation.ClaimQuiet >= Queue.LeaseTime =>
            $"{nameof(Generation.ClaimQuiet)} must be shorter than {nameof(Queue.LeaseTime)}, or dead workers hold up "
            + "recovery.",
        _ when Models.ConfirmedFor < 2 * Worker.ConfirmPeriod =>
            $"{nameof(Models.ConfirmedFor)} must be at least twice {nameof(Worker.ConfirmPeriod)}, or a lost call "
            + "retires a model.",
        _ => Queue.Fault() ?? Generation.Fault() ?? Models.Fault() ?? Worker.Fault(),
    };
}
