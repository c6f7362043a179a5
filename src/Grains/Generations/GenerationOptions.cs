// Options of generations.
using Atelier.Configuration;
using Atelier.Grains.Queueing;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.Generations;

/// <summary>Generations: claims, and what follows from deaths and failures of their workers.</summary>
[Section("Generations"), ClusterWide]
public sealed class GenerationOptions
{
    /// <summary>
    /// Gets or sets after how many claims in a row without a newer snapshot a generation must run alone.
    /// </summary>
    /// <value>The default is 1: what was in a batch when its worker died runs alone until its next snapshot.</value>
    [Bounds(1, 1000)]
    public int QuarantineAfter { get; set; } = 1;

    /// <summary>
    /// Gets or sets after how many deaths alone, in a row and without progress, a generation has failed.
    /// </summary>
    /// <remarks>Each of them ends a worker's process.</remarks>
    /// <value>The default is 3.</value>
    [Bounds(1, 1000)]
    public int DeathsAloneMax { get; set; } = 3;

    /// <summary>
    /// Gets or sets how often workers may report a failure, in a row and without progress, before it counts.
    /// </summary>
    /// <value>The default is 2: once more, elsewhere if there is an elsewhere.</value>
    [Bounds(1, 1000)]
    public int FailuresMax { get; set; } = 2;

    /// <summary>Gets or sets how long a claim counts as alive after its worker's last report.</summary>
    /// <remarks>
    /// Shorter than <see cref="WorkQueueOptions.LeaseTime"/>, or it would hold up recovery; at 0 a doubled lease would
    /// count as a death.
    /// </remarks>
    /// <value>The default is 3 seconds.</value>
    [Bounds("00:00:00", "1.00:00:00")]
    public TimeSpan ClaimQuiet { get; set; } = TimeSpan.FromSeconds(3);

    /// <summary>
    /// Gets or sets how long a snapshot waits for its own device kind before it starts again on another.
    /// </summary>
    /// <value>The default is 60 seconds.</value>
    [Bounds("00:00:00", "365.00:00:00")]
    public TimeSpan DeviceKindPatience { get; set; } = TimeSpan.FromSeconds(60);
}

/// <summary>Checks the options of generations, and that a claim's time fits the lease's.</summary>
internal sealed class GenerationOptionsValidator(IOptions<WorkQueueOptions> queue)
    : OptionsValidator<GenerationOptions>
{
    public override IEnumerable<string> Warnings(GenerationOptions options)
    {
        if (options.ClaimQuiet == TimeSpan.Zero)
        {
            yield return $"{Key(nameof(options.ClaimQuiet))} is 0: a lease that was given twice counts as a death.";
        }
    }

    protected override IEnumerable<string> Faults(GenerationOptions options)
    {
        if (queue.ValueIfValid() is { LeaseTime: var lease } && options.ClaimQuiet >= lease)
        {
            yield return $"{Key(nameof(options.ClaimQuiet))} is {options.ClaimQuiet}; it must be shorter than "
                + $"{OptionKey.PathOf<WorkQueueOptions>(nameof(WorkQueueOptions.LeaseTime))} ({lease}), or dead "
                + "workers hold up recovery.";
        }
    }
}
