// The options of generations.
using Atelier.Configuration;
using Atelier.Grains.Queueing;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.Generations;

/// <summary>Generations: their claims, and the effects of workers that die or fail.</summary>
[Section("Generations"), ClusterWide]
public sealed class GenerationOptions
{
    /// <summary>
    /// Gets or sets the number of consecutive claims without a newer snapshot after which a generation must run alone.
    /// </summary>
    /// <value>
    /// The default is 1: work that shared a worker when that worker died runs alone until its next snapshot.
    /// </value>
    [Bounds(1, 1000)]
    public int QuarantineAfter { get; set; } = 1;

    /// <summary>
    /// Gets or sets the number of consecutive worker deaths after which a generation fails. A death counts if the
    /// generation ran alone and made no progress.
    /// </summary>
    /// <remarks>Each of these deaths takes down a worker's process.</remarks>
    /// <value>The default is 3.</value>
    [Bounds(1, 1000)]
    public int DeathsAloneMax { get; set; } = 3;

    /// <summary>
    /// Gets or sets the number of consecutive failures without progress that workers may report before a generation
    /// fails.
    /// </summary>
    /// <value>The default is 2: one retry, on another worker if there is one.</value>
    [Bounds(1, 1000)]
    public int FailuresMax { get; set; } = 2;

    /// <summary>Gets or sets how long after its worker's last report a claim is considered alive.</summary>
    /// <remarks>
    /// It must be shorter than <see cref="WorkQueueOptions.LeaseTime"/>, or it would delay recovery. At 0, a duplicated
    /// lease would count as a death.
    /// </remarks>
    /// <value>The default is 3 seconds.</value>
    [Bounds("00:00:00", "1.00:00:00")]
    public TimeSpan ClaimQuiet { get; set; } = TimeSpan.FromSeconds(3);

    /// <summary>
    /// Gets or sets how long a snapshot waits for its own device kind before the generation restarts on another.
    /// </summary>
    /// <value>The default is 60 seconds.</value>
    [Bounds("00:00:00", "365.00:00:00")]
    public TimeSpan DeviceKindPatience { get; set; } = TimeSpan.FromSeconds(60);
}

/// <summary>Validates the options of generations, also against the lease time.</summary>
internal sealed class GenerationOptionsValidator(IOptions<WorkQueueOptions> queue)
    : OptionsValidator<GenerationOptions>
{
    public override IEnumerable<string> Warnings(GenerationOptions options)
    {
        if (options.ClaimQuiet == TimeSpan.Zero)
        {
            yield return $"{Key(nameof(options.ClaimQuiet))} is 0: if a lease is delivered to two "
                + "workers, one of them counts as dead although it is alive.";
        }
    }

    protected override IEnumerable<string> Faults(GenerationOptions options)
    {
        if (queue.ValueIfValid() is { LeaseTime: var lease } && options.ClaimQuiet >= lease)
        {
            yield return $"{Key(nameof(options.ClaimQuiet))} is {options.ClaimQuiet}; it must be shorter than "
                + $"{OptionKey.PathOf<WorkQueueOptions>(nameof(WorkQueueOptions.LeaseTime))} ({lease}), or dead "
                + "workers delay recovery.";
        }
    }
}
