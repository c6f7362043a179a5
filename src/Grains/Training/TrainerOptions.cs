// The options of trainers and of the managers of stages.
using Atelier.Configuration;
using Atelier.Training.Worlds;

namespace Atelier.Grains.Training;

/// <summary>Training in the cluster: heartbeats and timeouts of trainers.</summary>
[Section("Trainer"), ClusterWide]
public sealed class TrainerOptions
{
    /// <summary>Gets or sets the period of a trainer's heartbeats to the manager of its stage.</summary>
    /// <value>The default is 1 second.</value>
    [Bounds("00:00:00.010", "00:01:00")]
    public TimeSpan HeartbeatPeriod { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Gets or sets how often a trainer without a stage looks for one.</summary>
    /// <value>The default is 1 second.</value>
    [Bounds("00:00:00.010", "01:00:00")]
    public TimeSpan IdlePeriod { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Gets or sets the time without a heartbeat after which a trainer is considered lost.</summary>
    /// <remarks>
    /// It must be at least twice <see cref="HeartbeatPeriod"/>, or a late heartbeat counts as a lost trainer.
    /// </remarks>
    /// <value>The default is 3.5 seconds.</value>
    [Bounds("00:00:00.010", "01:00:00")]
    public TimeSpan LostAfter { get; set; } = TimeSpan.FromSeconds(3.5);

    /// <summary>
    /// Gets or sets the time without an applied step after which the manager forms a new world, so that whatever was
    /// lost between members is sent again.
    /// </summary>
    /// <remarks>It must be longer than a step takes on the slowest set of trainers.</remarks>
    /// <value>The default is 1 minute.</value>
    [Bounds("00:00:01", "1.00:00:00")]
    public TimeSpan StallAfter { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>
    /// Gets or sets how long a trainer whose silo is stopping waits for the others to continue without it.
    /// </summary>
    /// <remarks>The silo's own shutdown timeout must be longer.</remarks>
    /// <value>The default is 10 seconds.</value>
    [Bounds("00:00:00", "01:00:00")]
    public TimeSpan LeaveTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// Gets or sets for how many steps a newcomer keeps the sums of gradients while it copies the weights from others.
    /// </summary>
    /// <remarks>
    /// If the copy takes longer than so many steps, the newcomer starts over. The sums of a step take 4 bytes for each
    /// weight of the network; together they take at most an eighth of the machine's memory.
    /// </remarks>
    /// <value>The default is 64.</value>
    [Bounds(2, 1024)]
    public int TotalsMax { get; set; } = 64;

    /// <summary>Gets or sets how long a trainer that cannot train a stage waits before it tries again.</summary>
    /// <value>The default is 30 seconds.</value>
    [Bounds("00:00:00", "1.00:00:00")]
    public TimeSpan RefusedPause { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Gets or sets how long the panel of a checkpoint may take; then another silo tries.</summary>
    /// <value>The default is 1 hour.</value>
    [Bounds("00:00:01", "1.00:00:00")]
    public TimeSpan PanelTimeout { get; set; } = TimeSpan.FromHours(1);

    /// <summary>Gets or sets how often a panel in progress is looked at.</summary>
    /// <value>The default is 2 seconds.</value>
    [Bounds("00:00:00.010", "00:01:00")]
    public TimeSpan PanelPeriod { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Returns the options of a stage's membership.</summary>
    internal WorldOptions Worlds() => new()
    {
        LostAfter = LostAfter,
        DoubtedLostAfter = 1.5 * HeartbeatPeriod,
        LinkPatience = 2 * HeartbeatPeriod,
        StallAfter = StallAfter,
        JoinPatience = 1.5 * HeartbeatPeriod,
        GatherTime = 2 * HeartbeatPeriod,
    };
}

/// <summary>Validates the options of trainers.</summary>
internal sealed class TrainerOptionsValidator : OptionsValidator<TrainerOptions>
{
    protected override IEnumerable<string> Faults(TrainerOptions options)
    {
        if (options.LostAfter < 2 * options.HeartbeatPeriod)
        {
            yield return $"{Key(nameof(options.LostAfter))} is {options.LostAfter}; it must be at least twice "
                + $"{Key(nameof(options.HeartbeatPeriod))} ({options.HeartbeatPeriod}), or a late heartbeat counts as "
                + "a lost trainer.";
        }
    }
}
