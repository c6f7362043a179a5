// Options of the open set.
using Atelier.Configuration;

namespace Atelier.Grains.OpenSets;

/// <summary>The open set: what was accepted and has not ended, in partitions that are walked.</summary>
[Section("OpenSet"), ClusterWide]
public sealed class OpenSetOptions
{
    /// <summary>Most partitions of the open set.</summary>
    public const int PartitionsMax = 65536;

    /// <summary>Gets or sets the number of partitions; each has room for 480 open generations.</summary>
    /// <remarks>
    /// Together they must have room for all that tenants may have open. Each has a reminder, and a small write every
    /// five minutes. It may change from one start to the next: what is in a partition stays there to its end, and all
    /// that ever were are walked.
    /// </remarks>
    /// <value>The default is 256: room for more than 100,000 open generations.</value>
    [Bounds(1, PartitionsMax)]
    public int Partitions { get; set; } = 256;

    /// <summary>Gets or sets how often each partition is walked, to find work that was lost on any other way.</summary>
    /// <remarks>What only a walk finds waits for as long. Each walk asks every open generation.</remarks>
    /// <value>The default is 1 minute.</value>
    [Bounds("00:00:01", "1.00:00:00")]
    public TimeSpan WalkPeriod { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>Gets or sets how long a submission may take from the open set to the generation's state.</summary>
    /// <remarks>What has no state by then counts as never accepted, and the next walk removes it.</remarks>
    /// <value>The default is 30 seconds.</value>
    [Bounds("00:00:01", "1.00:00:00")]
    public TimeSpan SubmitTimeout { get; set; } = TimeSpan.FromSeconds(30);
}

/// <summary>Checks the open set's options.</summary>
internal sealed class OpenSetOptionsValidator : OptionsValidator<OpenSetOptions>
{
    public override IEnumerable<string> Warnings(OpenSetOptions options)
    {
        if (options.WalkPeriod < TimeSpan.FromSeconds(10))
        {
            yield return $"{Key(nameof(options.WalkPeriod))} is {options.WalkPeriod}: walks that often are a load on "
                + "every grain and on the store.";
        }
    }
}
