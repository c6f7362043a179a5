// Options of retention.
using Atelier.Configuration;

namespace Atelier.Grains.OpenSets;

/// <summary>How long what has ended is kept, in time in which the cluster runs.</summary>
[Section("Retention"), ClusterWide]
public sealed class RetentionOptions
{
    /// <summary>Gets or sets how long an ended generation and its picture are kept.</summary>
    /// <remarks>After that they are deleted for good. A shorter time also applies to older ones.</remarks>
    /// <value>The default is 7 days.</value>
    [Bounds("00:01:00", "36500.00:00:00")]
    public TimeSpan Generations { get; set; } = TimeSpan.FromDays(7);

    /// <summary>
    /// Gets or sets how long a session is kept after its last use: its beginning, or a generation that was accepted in
    /// it.
    /// </summary>
    /// <remarks>
    /// Each is visited once in the time that an ended generation is kept, so it is deleted up to two of those later.
    /// </remarks>
    /// <value>The default is 30 days.</value>
    [Bounds("01:00:00", "36500.00:00:00")]
    public TimeSpan Sessions { get; set; } = TimeSpan.FromDays(30);

    /// <summary>Gets or sets the most time that counts from one look at the clock to the next.</summary>
    /// <remarks>
    /// What a machine slept in between does not count beyond it; looks are a second apart, and more under load.
    /// </remarks>
    /// <value>The default is 2 minutes.</value>
    [Bounds("00:00:01", "36500.00:00:00")]
    public TimeSpan Step { get; set; } = TimeSpan.FromMinutes(2);
}

/// <summary>Checks the options of retention.</summary>
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
            yield return $"{Key(nameof(options.Step))} is {options.Step}: up to as much counts as time in which the "
                + "cluster ran each time that a machine wakes up.";
        }
    }
}
