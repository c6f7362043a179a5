// The numbered membership of a training stage: who computes which shards of a batch, and from which step on.
using System.Collections.Immutable;

namespace Atelier.Training.Worlds;

/// <summary>Id of a trainer: one process that lends a device to a run. A restarted process is a new trainer.</summary>
/// <param name="Name">Name of the silo and the device. It is the same after a restart.</param>
/// <param name="Incarnation">Number of the process. A later process with the same name has a larger number.</param>
public readonly record struct TrainerId(string Name, long Incarnation)
{
    /// <summary>The order by name, then by incarnation. All processes use the same order.</summary>
    public static IComparer<TrainerId> Order { get; } = Comparer<TrainerId>.Create((one, other) =>
        string.CompareOrdinal(one.Name, other.Name) is not 0 and var order
            ? order : one.Incarnation.CompareTo(other.Incarnation));

    /// <inheritdoc/>
    public override string ToString() => $"{Name}#{Incarnation}";
}

/// <summary>A member of a world.</summary>
/// <param name="Id">The trainer.</param>
/// <param name="Address">Address at which peers can reach the member.</param>
/// <param name="Shards">The shards of every batch that the member computes.</param>
public sealed record WorldMember(TrainerId Id, string Address, ShardRun Shards);

/// <summary>
/// A world of a stage: a numbered set of trainers that train together. Its number is larger than that of every earlier
/// world, and frames and calls of earlier worlds are refused everywhere. A world without members ends the world before
/// it: all trainers return to the last committed checkpoint.
/// </summary>
/// <param name="Number">Number of the world, from 1.</param>
/// <param name="FirstStep">
/// The step with which the world begins. It equals the number of steps that the weights of the members in
/// <paramref name="Level"/> include.
/// </param>
/// <param name="Members">The world's members, in the order of their shards.</param>
/// <param name="Level">
/// Members whose weights include all steps before the first step. The other members lack the last of these steps, and
/// get its totals from one of these members.
/// </param>
public sealed record World(
    int Number, long FirstStep, ImmutableArray<WorldMember> Members, ImmutableArray<TrainerId> Level)
{
    /// <summary>
    /// Whether every shard of the first step is verified, because members of an earlier world had different states and
    /// it is unknown which of them was wrong.
    /// </summary>
    public bool VerifiesAll { get; init; }

    /// <summary>
    /// A member's index, which is also the index of the slice that it owns; -1 if the trainer is not a member.
    /// </summary>
    public int IndexOf(TrainerId trainer)
    {
        for (int i = 0; i < Members.Length; i++)
        {
            if (Members[i].Id == trainer)
            {
                return i;
            }
        }

        return -1;
    }

    /// <summary>Whether a trainer is a member.</summary>
    public bool Has(TrainerId trainer) => IndexOf(trainer) >= 0;
}

/// <summary>The stored membership of a stage. A change is stored before any trainer is notified of it.</summary>
/// <param name="World">The latest world; null before the first one.</param>
/// <param name="SafeStep">
/// Number of steps that the last committed checkpoint includes; 0 means the stage's initial weights.
/// </param>
public sealed record WorldRecord(World? World, long SafeStep)
{
    /// <summary>
    /// Number of the latest world that ended because its members had different states; 0 if there is none. Steps after
    /// <see cref="SafeStep"/> that were computed in that world or an earlier one are discarded.
    /// </summary>
    public int Returned { get; init; }

    /// <summary>
    /// Whether it is unknown which member was wrong, so that the next world verifies all shards of its first step.
    /// </summary>
    public bool IsDoubted { get; init; }

    /// <summary>
    /// The record with a world without members: all trainers return to the last committed checkpoint, and everything in
    /// earlier worlds is stale.
    /// </summary>
    /// <param name="number">Number of that world.</param>
    /// <param name="isDoubted">Whether it is unknown which member was wrong.</param>
    public WorldRecord Ended(int number, bool isDoubted) => this with
    {
        World = new World(number, SafeStep, [], []),
        Returned = number,
        IsDoubted = isDoubted,
    };
}
