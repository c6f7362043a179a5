// Goal: whatever the members, the order in which shards are computed and frames arrive, and the duplicates among them,
// every member gets the same total of each slice, with the association of the recursion over halves, and each node is
// sent once. Method: values are texts that show their own association; messages are kept in a list and delivered in a
// random order, some of them twice.
using Atelier.Training.Worlds;
using CsCheck;
using Xunit;

namespace Atelier.Training.Tests.Worlds;

public sealed class StepExchangeTests
{
    [Fact]
    public void AnyOrderOfMessages_GivesAllMembersTheSameTotals() =>
        Gen.Select(Gen.Int[0, 5], Gen.Int[1, 6], Gen.Int[0, int.MaxValue]).Sample((level, trainers, seed) =>
        {
            (int shards, int members) = (1 << level, Math.Min(trainers, 1 << level));
            var random = new Random(seed);
            World world = WorldOf(shards, members);
            StepExchange<string>[] exchanges = [.. Enumerable.Range(0, members).Select(i => Exchange(world, i))];
            var messages = new List<Action>();
            messages.AddRange(Enumerable.Range(0, members).SelectMany(member =>
                Shards(world.Members[member].Shards).Select<int, Action>(shard => () => Compute(member, shard))));
            while (messages.Count > 0)
            {
                int at = random.Next(messages.Count);
                Action message = messages[at];
                if (random.Next(5) > 0)
                {
                    messages.RemoveAt(at);
                }

                message();
            }

            string[] expected = [.. Enumerable.Range(0, members).Select(slice => Recursion(slice, 0, shards))];
            Assert.All(exchanges, exchange => Assert.True(exchange.IsComplete));
            Assert.All(exchanges, exchange => Assert.Equal(expected, exchange.Totals));

            void Compute(int member, int shard)
            {
                foreach ((int slice, TreeNode node, string value) in exchanges[member].AddShard(
                    shard, Slices(shard, members)))
                {
                    messages.Add(() => Receive(slice, node, value));
                }
            }

            void Receive(int owner, TreeNode node, string value)
            {
                if (exchanges[owner].AddPartial(node, value) is { } total)
                {
                    messages.AddRange(exchanges.Select<StepExchange<string>, Action>(
                        exchange => () => exchange.AddTotal(owner, total)));
                }
            }
        });

    [Fact]
    public void Shards_YieldTheNodesOfTheMembersRun_EachOnceForEverySlice()
    {
        World world = WorldOf(8, 3);
        for (int member = 0; member < 3; member++)
        {
            StepExchange<string> exchange = Exchange(world, member);
            ShardRun run = world.Members[member].Shards;
            (int Slice, TreeNode Node)[] sent =
            [
                .. Shards(run).Concat(Shards(run)).SelectMany(shard => exchange.AddShard(shard, Slices(shard, 3)))
                    .Select(part => (part.Slice, part.Node)),
            ];
            Assert.Equal(
                run.Nodes().SelectMany(node => Enumerable.Range(0, 3).Select(slice => (slice, node))), sent);
        }
    }

    [Fact]
    public void Exchange_IsComplete_OnlyWithTheTotalsOfAllSlices()
    {
        StepExchange<string> exchange = Exchange(WorldOf(8, 3), 1);
        exchange.AddTotal(0, "a");
        exchange.AddTotal(0, "another");
        exchange.AddTotal(2, "c");
        Assert.Equal((false, false), (exchange.IsComplete, exchange.OwnTotal is not null));

        exchange.AddTotal(1, "b");
        Assert.Equal((true, true), (exchange.IsComplete, exchange.OwnTotal is not null));
        Assert.Equal(["a", "b", "c"], exchange.Totals);
    }

    [Fact]
    public void RepeatedPartial_IsIgnored_AlsoTheLastOne()
    {
        StepExchange<string> exchange = Exchange(WorldOf(2, 2), 0);
        (TreeNode left, TreeNode right) = (new TreeNode(0, 0), new TreeNode(0, 1));
        Assert.Null(exchange.AddPartial(right, "r"));
        Assert.Null(exchange.AddPartial(right, "other"));
        Assert.Equal("(lr)", exchange.AddPartial(left, "l"));
        Assert.Null(exchange.AddPartial(left, "other"));
        Assert.NotNull(exchange.OwnTotal);
    }

    private static World WorldOf(int shards, int members) =>
        TestWorlds.Of(1, shards, [.. Enumerable.Range(0, members).Select(i => new TrainerId($"t{i}", 1))]);

    private static StepExchange<string> Exchange(World world, int self) =>
        new(world, self, world.Members[^1].Shards.End, (left, right) => $"({left}{right})");

    private static IEnumerable<int> Shards(ShardRun run) => Enumerable.Range(run.First, run.Count);

    private static string[] Slices(int shard, int slices) =>
        [.. Enumerable.Range(0, slices).Select(slice => Leaf(slice, shard))];

    private static string Leaf(int slice, int shard) => $"[{slice}.{shard}]";

    private static string Recursion(int slice, int first, int count) => count == 1 ? Leaf(slice, first)
        : $"({Recursion(slice, first, count / 2)}{Recursion(slice, first + (count / 2), count / 2)})";
}
