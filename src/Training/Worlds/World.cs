// The numbered membership of a training stage: who computes which shards of a batch, and from which step on.
using System.Collections.Immutable;

namespace Atelier.Training.Worlds;

/// <summary>One process that lends a device to a run. A process that is started again is another trainer.</summary>
/// <param name="Name">Silo and device, the same for all processes of one place.</param>
/// <param name="Incarnation">Number of the process, larger for each later one.</param>
public readonly record struct TrainerId(string Name, long Incarnation)
{
    /// <summary>By name, then by incarnation: the same order everywhere.</summary>
    public static IComparer<TrainerId> Order { get; } = Comparer<TrainerId>.Create((one, other) =>
        string.CompareOrdinal(one.Name, other.Name) is not 0 and var order
            ? order : one.Incarnation.CompareTo(other.Incarnation));

    /// <inheritdoc/>
    public override string ToString() => $"{Name}#{Incarnation}";
}

/// <summary>A trainer of a world.</summary>
/// <param name="Id">The trainer.</param>
/// <param name="Address">Where its peers reach it.</param>
/// <param name="Shards">Shards of every batch that it computes.</param>
public sealed record WorldMember(TrainerId Id, string Address, ShardRun Shards);

/// <summary>
/// A world of a stage. Its number is larger than that of every world before it; frames and calls of older worlds are
/// refused everywhere. A world without members ends the one before it: all return to the last committed checkpoint.
/// </summary>
/// <param name="Number">Its number, from 1.</param>
/// <param name="FirstStep">
/// The step that it begins with, which is the number of steps in the weights of the members that are level.
/// </param>
/// <param name="Members">Its members, in the order of their shards.</param>
/// <param name="Level">
/// Members whose weights hold all steps before the first one. The others lack the last of these steps, and get its
/// total from one of them.
/// </param>
public sealed record World(
    int Number, long FirstStep, ImmutableArray<WorldMember> Members, ImmutableArray<TrainerId> Level)
{
    /// <summary>
    /// Whether every shard of the first step is verified: members of an earlier world had different states, and which
    /// of them was wrong is not known.
    /// </summary>
    public bool VerifiesAll { get; init; }

    /// <summary>A member's index, which is also the number of the slice that it owns; -1 for others.</summary>
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

/// <summary>A stage's membership as it is stored. It is stored before anybody is notified.</summary>
/// <param name="World">The last world; null before the first one.</param>
/// <param name="SafeStep">Steps in the last committed checkpoint; 0 means the initial weights of the stage.</param>
public sealed record WorldRecord(World? World, long SafeStep)
{
    /// <summary>
    /// Number of the last world that ended because its members had different states; 0 if none did. What was computed
    /// in it, or before it and after <see cref="SafeStep"/>, does not count.
    /// </summary>
    public int Returned { get; init; }

    /// <summary>Whether it is not known which member was wrong: the next world verifies its first step.</summary>
    public bool IsDoubted { get; init; }
}
