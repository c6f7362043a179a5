namespace Atelier.Training.Worlds;

/// <summary>Timeouts and limits of a stage's membership. The defaults fit heartbeats once a second.</summary>
public sealed class WorldOptions
{
    /// <summary>Time without a report after which a trainer is considered lost.</summary>
    public TimeSpan LostAfter { get; set; } = TimeSpan.FromSeconds(3.5);

    /// <summary>The same time for a trainer whose peers report that they cannot reach it.</summary>
    public TimeSpan DoubtedLostAfter { get; set; } = TimeSpan.FromSeconds(1.5);

    /// <summary>How long a link between two living members may be broken before one of them is removed.</summary>
    public TimeSpan LinkPatience { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>
    /// Time without an applied step after which a new world is formed, so that whatever was lost between members is
    /// sent again. If four steps at the measured speeds take longer, that time counts.
    /// </summary>
    public TimeSpan StallAfter { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>Minimum time between worlds that admit newcomers, if nothing else requires a new world.</summary>
    public TimeSpan GrowPeriod { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// How long members that have promised a world wait until newcomers with current weights promise it, too. Also how
    /// long the first member that has promised a world after its step waits for the others, which promise at once then.
    /// </summary>
    public TimeSpan JoinPatience { get; set; } = TimeSpan.FromSeconds(1.5);

    /// <summary>
    /// How long a stage that begins or restores a checkpoint waits for further trainers after the first one.
    /// </summary>
    public TimeSpan GatherTime { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Maximum number of steps by which a newcomer may be behind when it is asked to join.</summary>
    public int LevelSteps { get; set; } = 2;

    /// <summary>
    /// How long a trainer is excluded after its first removal; the time doubles with each further removal.
    /// </summary>
    public TimeSpan BackoffMin { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Maximum time for which a removed trainer is excluded.</summary>
    public TimeSpan BackoffMax { get; set; } = TimeSpan.FromMinutes(10);
}
