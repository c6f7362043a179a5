// The options of the open set.
using Atelier.Configuration;

namespace Atelier.Grains.OpenSets;

/// <summary>The open set: accepted generations that have not ended, in partitions that are walked.</summary>
[Section("OpenSet"), ClusterWide]
public sealed class OpenSetOptions
{
    /// <summary>Maximum number of partitions of the open set.</summary>
    public const int PartitionsMax = 65536;

    /// <summary>Gets or sets the number of partitions; each has room for 480 open generations.</summary>
    /// <remarks>
    /// Together they must have room for all generations that tenants may have open. Each partition has a reminder and
    /// causes a small write every five minutes. The number may change between starts: a generation stays in its
    /// partition until it ends, and all partitions that ever existed are walked.
    /// </remarks>
    /// <value>The default is 256: room for more than 100,000 open generations.</value>
    [Bounds(1, PartitionsMax)]
    public int Partitions { get; set; } = 256;

    /// <summary>
    /// Gets or sets the period of each partition's walk, which recovers work that all other mechanisms missed.
    /// </summary>
    /// <remarks>Such work waits for up to this time. Each walk asks every open generation.</remarks>
    /// <value>The default is 1 minute.</value>
    [Bounds("00:00:01", "1.00:00:00")]
    public TimeSpan WalkPeriod { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>
    /// Gets or sets the maximum time between a submission's entry in the open set and its stored state.
    /// </summary>
    /// <remarks>
    /// A submission without a stored state by then counts as never accepted, and the next walk removes it.
    /// </remarks>
    /// <value>The default is 30 seconds.</value>
    [Bounds("00:00:01", "1.00:00:00")]
    public TimeSpan SubmitTimeout { get; set; } = TimeSpan.FromSeconds(30);
}

/// <summary>Validates the open set's options.</summary>
internal sealed class OpenSetOptionsValidator : OptionsValidator<OpenSetOptions>
{
    public override IEnumerable<string> Warnings(OpenSetOptions options)
    {
        if (options.WalkPeriod < TimeSpan.FromSeconds(10))
        {
            yield return $"{Key(nameof(options.WalkPeriod))} is {options.WalkPeriod}: such frequent walks put a load "
                + "on every grain and on the store.";
        }
    }
}
