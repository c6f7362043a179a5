namespace Atelier.Training.Worlds;

/// <summary>Times of a stage's membership. The defaults fit heartbeats of one second.</summary>
public sealed class WorldOptions
{
    /// <summary>Silence after which a trainer is lost.</summary>
    public TimeSpan LostAfter { get; set; } = TimeSpan.FromSeconds(3.5);

    /// <summary>The same for a trainer whose peers report that they cannot reach it.</summary>
    public TimeSpan DoubtedLostAfter { get; set; } = TimeSpan.FromSeconds(1.5);

    /// <summary>How long a link between two living members may be broken before one of them is put out.</summary>
    public TimeSpan LinkPatience { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>
    /// Time without an applied step after which a new world is formed: whatever was lost between members is sent again.
    /// It must be longer than a step takes.
    /// </summary>
    public TimeSpan StallAfter { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>Time between worlds that are formed only to let newcomers in.</summary>
    public TimeSpan GrowPeriod { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>How long frozen members wait for a newcomer that is level to promise, too.</summary>
    public TimeSpan JoinPatience { get; set; } = TimeSpan.FromSeconds(1.5);

    /// <summary>How long a stage that begins or restores a checkpoint waits for more trainers than the first.</summary>
    public TimeSpan GatherTime { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Steps that a newcomer may be behind when it is asked to join.</summary>
    public int LevelSteps { get; set; } = 2;

    /// <summary>How long a trainer stays out after its first removal; the time doubles with each further one.</summary>
    public TimeSpan BackoffMin { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Longest time for which a trainer that was put out stays out.</summary>
    public TimeSpan BackoffMax { get; set; } = TimeSpan.FromMinutes(10);
}
