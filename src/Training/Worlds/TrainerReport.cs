// The messages that trainers and the manager of a stage exchange about once a second.
using System.Collections.Immutable;

namespace Atelier.Training.Worlds;

/// <summary>A trainer's heartbeat.</summary>
public sealed record TrainerReport
{
    /// <summary>Id of the trainer.</summary>
    public required TrainerId Id { get; init; }

    /// <summary>Address at which peers can reach the trainer.</summary>
    public required string Address { get; init; }

    /// <summary>Measured speed of the trainer in shards per second; positive.</summary>
    public double Speed { get; init; } = 1;

    /// <summary>
    /// Whether <see cref="Speed"/> was measured. A trainer that has not computed a shard yet counts as fast as the
    /// others are on average.
    /// </summary>
    public bool IsMeasured { get; init; } = true;

    /// <summary>Number of the latest world that the trainer knows; 0 before the first one.</summary>
    public int World { get; init; }

    /// <summary>
    /// Highest world number that the trainer has promised: it sends and applies nothing of worlds before this number.
    /// <see cref="Position"/> does not change until the trainer learns of a world with this number or a later one.
    /// </summary>
    public int Promised { get; init; }

    /// <summary>Whether the trainer has weights of this stage.</summary>
    public bool HasState { get; init; }

    /// <summary>Number of steps that the trainer's weights include.</summary>
    public long Position { get; init; }

    /// <summary>Whether the trainer asks to leave as soon as possible, because its node will be shut down.</summary>
    public bool IsLeaving { get; init; }

    /// <summary>
    /// Whether the device draws pictures for longer than the others should wait. The trainer keeps its weights and
    /// stays a member, but computes no shards until the device is free.
    /// </summary>
    public bool IsServing { get; init; }

    /// <summary>Members to which the trainer's data connection does not work.</summary>
    public ImmutableArray<TrainerId> Unreachable { get; init; } = [];

    /// <summary>
    /// The shard about which two members disagree, so that the step is not applied; null if there is none.
    /// </summary>
    public ShardDispute? Dispute { get; init; }

    /// <summary>The trainer's result for the last trial; null before the first trial.</summary>
    public TrialClaim? Trial { get; init; }
}

/// <summary>The manager's answer to a heartbeat.</summary>
public sealed record ManagerAnswer
{
    /// <summary>The latest stored world; null if the trainer knows it already, or if there is none.</summary>
    public World? World { get; init; }

    /// <summary>Number of the latest world that the manager knows to be stored; 0 if there is none.</summary>
    public int LastWorld { get; init; }

    /// <summary>
    /// Number of a world that is being formed, which the trainer is asked to promise; 0 if there is none.
    /// </summary>
    public int Promise { get; init; }

    /// <summary>
    /// The position at which the trainer makes the promise; null if it must promise at once. No shard is computed twice
    /// if all members make their promises between two steps.
    /// </summary>
    public long? PromiseFrom { get; init; }

    /// <summary>
    /// Step of the committed checkpoint that the trainer must restore, because no member of the latest world is left;
    /// null while members have the weights. The value is stale for a trainer that knows a world after
    /// <see cref="LastWorld"/>.
    /// </summary>
    public long? Restore { get; init; }

    /// <summary>The trial for which the trainer must compute a shard; null if there is none.</summary>
    public TrialRequest? Trial { get; init; }
}
