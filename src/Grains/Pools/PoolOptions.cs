// The options of the pool of devices that pictures and training share.
using Atelier.Configuration;

namespace Atelier.Grains.Pools;

/// <summary>The devices that pictures and training share: pictures come first.</summary>
[Section("Pool"), ClusterWide]
public sealed class PoolOptions
{
    /// <summary>
    /// Gets or sets how long a device must have drawn no picture before training takes it, or continues on it.
    /// </summary>
    /// <remarks>
    /// A longer time keeps devices free between the pictures of a busy cluster; training then gets less of them.
    /// </remarks>
    /// <value>The default is 1 second.</value>
    [Bounds("00:00:00", "1.00:00:00")]
    public TimeSpan LendAfter { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Gets or sets the number of devices that training never takes.</summary>
    /// <remarks>A picture that is requested while all other devices train begins on them without waiting for a shard.
    /// </remarks>
    /// <value>The default is 0.</value>
    [Bounds(0, 4096)]
    public int ServingMinimum { get; set; }

    /// <summary>Gets or sets the number of devices that train without interruption while a run is open.</summary>
    /// <remarks>
    /// They draw no pictures, however many wait. If there are fewer devices than both minimums together,
    /// <see cref="ServingMinimum"/> is met first.
    /// </remarks>
    /// <value>The default is 0.</value>
    [Bounds(0, 4096)]
    public int TrainingMinimum { get; set; }

    /// <summary>
    /// Gets or sets how long a device trains a run before it may be moved to another run of the same or of lower
    /// priority.
    /// </summary>
    /// <remarks>A move costs a copy of the weights and an interrupted step in both runs.</remarks>
    /// <value>The default is 1 minute.</value>
    [Bounds("00:00:00", "1.00:00:00")]
    public TimeSpan HoldTime { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>
    /// Gets or sets how often a device that trains reports to the pool. It also reports at once if something changes.
    /// </summary>
    /// <value>The default is 15 seconds.</value>
    [Bounds("00:00:00.010", "01:00:00")]
    public TimeSpan ReportPeriod { get; set; } = TimeSpan.FromSeconds(15);
}

/// <summary>Validates the options of the pool.</summary>
internal sealed class PoolOptionsValidator : OptionsValidator<PoolOptions>
{
    public override IEnumerable<string> Warnings(PoolOptions options)
    {
        if (options.LendAfter > TimeSpan.FromMinutes(10))
        {
            yield return $"{Key(nameof(options.LendAfter))} is {options.LendAfter}: a device that draws one picture in "
                + "that time never trains.";
        }
    }
}
