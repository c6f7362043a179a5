// The options of retention.
using Atelier.Configuration;

namespace Atelier.Grains.OpenSets;

/// <summary>Retention of generations and sessions, measured in time during which the cluster runs.</summary>
[Section("Retention"), ClusterWide]
public sealed class RetentionOptions
{
    /// <summary>Gets or sets how long an ended generation and its picture are retained.</summary>
    /// <remarks>
    /// After that they are deleted permanently. A shorter time also applies to generations that ended earlier.
    /// </remarks>
    /// <value>The default is 7 days.</value>
    [Bounds("00:01:00", "36500.00:00:00")]
    public TimeSpan Generations { get; set; } = TimeSpan.FromDays(7);

    /// <summary>
    /// Gets or sets how long a session is retained after its last use. Opening the session and accepting a generation
    /// in it count as uses.
    /// </summary>
    /// <remarks>
    /// Each session is checked only once per retention time of generations, so its deletion may be late by up to twice
    /// that time.
    /// </remarks>
    /// <value>The default is 30 days.</value>
    [Bounds("01:00:00", "36500.00:00:00")]
    public TimeSpan Sessions { get; set; } = TimeSpan.FromDays(30);

    /// <summary>Gets or sets the most that retention times advance between two readings of the system clock.</summary>
    /// <remarks>
    /// If more time has passed, for example because the machine slept, the excess is ignored. The clock is read every
    /// second, or less often under load.
    /// </remarks>
    /// <value>The default is 2 minutes.</value>
    [Bounds("00:00:01", "36500.00:00:00")]
    public TimeSpan Step { get; set; } = TimeSpan.FromMinutes(2);
}

/// <summary>Validates the options of retention.</summary>
internal sealed class RetentionOptionsValidator : OptionsValidator<RetentionOptions>
{
    public override IEnumerable<string> Warnings(RetentionOptions options)
    {
        if (options.Sessions < options.Generations)
        {
            yield return $"{Key(nameof(options.Sessions))} is {options.Sessions}, shorter than "
                + $"{Key(nameof(options.Generations))} ({options.Generations}): pictures outlive the sessions "
                + "that list them.";
        }

        if (options.Step > TimeSpan.FromHours(1))
        {
            yield return $"{Key(nameof(options.Step))} is {options.Step}: each time that a machine wakes up, up to "
                + "this much counts as time in which the cluster ran.";
        }
    }
}
