// Worlds and reports for tests of the manager, by hand.
using System.Collections.Immutable;
using Atelier.Training.Worlds;

namespace Atelier.Training.Tests.Worlds;

internal static class TestWorlds
{
    public static TrainerId A { get; } = new("a", 1);

    public static TrainerId B { get; } = new("b", 1);

    public static TrainerId C { get; } = new("c", 1);

    /// <summary>A world from step 10 on, in which all members are level.</summary>
    public static World Of(int number, int shards, params TrainerId[] members)
    {
        ImmutableArray<ShardRun> runs = ShardDeal.Of(shards, [.. members.Select(_ => 1.0)]);
        return new World(
            number, 10, [.. members.Select((id, i) => new WorldMember(id, id.Name, runs[i]))], [.. members]);
    }

    /// <summary>A report of a trainer that has weights.</summary>
    public static TrainerReport Report(TrainerId id, int world = 0, int promised = 0, long position = 0) => new()
    {
        Id = id, Address = id.Name, World = world, Promised = promised, HasState = true, Position = position,
    };
}
