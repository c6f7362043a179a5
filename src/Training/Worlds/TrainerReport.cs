// What trainers and the manager of a stage tell each other, about once a second.
using System.Collections.Immutable;

namespace Atelier.Training.Worlds;

/// <summary>A trainer's heartbeat.</summary>
public sealed record TrainerReport
{
    /// <summary>The trainer.</summary>
    public required TrainerId Id { get; init; }

    /// <summary>Where its peers reach it.</summary>
    public required string Address { get; init; }

    /// <summary>Shards a second that it computes, as measured; positive.</summary>
    public double Speed { get; init; } = 1;

    /// <summary>Number of the world that it knows; 0 before it knows one.</summary>
    public int World { get; init; }

    /// <summary>
    /// The promise: it neither sends nor applies anything of worlds before this number. <see cref="Position"/> stays as
    /// reported until it is told a world of this number or a later one.
    /// </summary>
    public int Promised { get; init; }

    /// <summary>Whether it has weights of this stage.</summary>
    public bool HasState { get; init; }

    /// <summary>Steps that are in its weights.</summary>
    public long Position { get; init; }

    /// <summary>Whether it asks to leave as soon as possible, because its node will be shut down.</summary>
    public bool IsLeaving { get; init; }

    /// <summary>Members to which its data connection does not work.</summary>
    public ImmutableArray<TrainerId> Unreachable { get; init; } = [];

    /// <summary>The shard about which two members disagree, so that the step is not applied; null if none.</summary>
    public ShardDispute? Dispute { get; init; }

    /// <summary>What it computed for the last trial; null before.</summary>
    public TrialClaim? Trial { get; init; }
}

/// <summary>The manager's answer to a heartbeat.</summary>
public sealed record ManagerAnswer
{
    /// <summary>The last stored world; null if the trainer has reported that it knows it, or there is none.</summary>
    public World? World { get; init; }

    /// <summary>Number of the last world that the manager knows to be stored; 0 if there is none.</summary>
    public int LastWorld { get; init; }

    /// <summary>Number of a world that is being formed, which the trainer is asked to promise; 0 if none is.</summary>
    public int Promise { get; init; }

    /// <summary>
    /// The committed checkpoint to restore, as its step, because no member of the last world is left; null while
    /// members have the weights. It is stale for a trainer that knows a world after <see cref="LastWorld"/>.
    /// </summary>
    public long? Restore { get; init; }

    /// <summary>The shard to compute for a trial; null if there is none.</summary>
    public TrialRequest? Trial { get; init; }
}
