// Goal: whatever the order in which shards arrive, and whichever of them were summed before, the sum has the
// association of the recursion over halves. Method: the shards are texts, and a sum shows its own association.
using CsCheck;
using Xunit;

namespace Atelier.Training.Tests;

public sealed class ReductionTreeTests
{
    private static readonly Gen<(int Shards, int[] Order, int[] Owner)> s_splits =
        from level in Gen.Int[0, 6]
        from order in Gen.Shuffle(Enumerable.Range(0, 1 << level).ToArray())
        from workers in Gen.Int[1, 9]
        from owner in Gen.Int[0, workers - 1].Array[1 << level]
        select (1 << level, order, owner);

    [Fact]
    public void AnyOrder_GivesTheAssociationOfTheRecursion() => s_splits.Sample(s =>
    {
        ReductionTree<string> tree = Tree(s.Shards);
        foreach (int shard in s.Order)
        {
            Assert.Null(tree.Total);
            tree.Add(shard, $"{shard}");
        }

        Assert.Equal(Recursion(0, s.Shards), tree.Total);
    });

    [Fact]
    public void AnySplitOverWorkers_GivesTheAssociationOfTheRecursion() => s_splits.Sample(s =>
    {
        ReductionTree<string>[] workers = [.. Enumerable.Range(0, s.Owner.Max() + 1).Select(_ => Tree(s.Shards))];
        foreach (int shard in s.Order)
        {
            workers[s.Owner[shard]].Add(shard, $"{shard}");
        }

        var whole = Tree(s.Shards);
        (TreeNode Node, string Value)[] messages = [.. workers.SelectMany(worker => worker.Partials)];
        foreach ((TreeNode node, string value) in messages.OrderBy(m => s.Order[m.Node.Index % s.Shards]))
        {
            whole.Add(node, value);
        }

        Assert.Equal(Recursion(0, s.Shards), whole.Total);
    });

    [Fact]
    public void Partials_AreTheLargestCompleteSubtrees_InShardOrder() => s_splits.Sample(s =>
    {
        ReductionTree<string> tree = Tree(s.Shards);
        foreach (int shard in s.Order.Where(shard => s.Owner[shard] == 0))
        {
            tree.Add(shard, $"{shard}");
        }

        int[] covered =
            [.. tree.Partials.SelectMany(p => Enumerable.Range(p.Node.Index << p.Node.Level, 1 << p.Node.Level))];
        Assert.Equal(s.Order.Where(shard => s.Owner[shard] == 0).Order(), covered);
        HashSet<TreeNode> nodes = [.. tree.Partials.Select(p => p.Node)];
        Assert.All(nodes, node => Assert.DoesNotContain(node with { Index = node.Index ^ 1 }, nodes));
        Assert.All(
            tree.Partials, p => Assert.Equal(Recursion(p.Node.Index << p.Node.Level, 1 << p.Node.Level), p.Value));
    });

    [Theory]
    [InlineData(1)]
    [InlineData(64)]
    [InlineData(1024)]
    public void InShardOrder_AtMostLog2VPlus1AreHeld(int shards)
    {
        ReductionTree<string> tree = Tree(shards);
        int most = 0;
        for (int shard = 0; shard < shards; shard++)
        {
            tree.Add(shard, "");
            most = Math.Max(most, tree.Partials.Count);
        }

        Assert.InRange(most, 1, int.Log2(shards) + 1);
    }

    [Fact]
    public void ARepeatedAddition_IsRefusedAtEveryLevel_AndChangesNothing() => s_splits.Sample(s =>
    {
        ReductionTree<string> tree = Tree(s.Shards);
        HashSet<int> present = [.. s.Order.Where(shard => s.Owner[shard] == 0)];
        foreach (int shard in s.Order.Where(present.Contains))
        {
            tree.Add(shard, $"{shard}");
        }

        TreeNode[] before = [.. tree.Partials.Select(p => p.Node)];
        for (int level = 0; 1 << level <= s.Shards; level++)
        {
            for (int index = 0; index < s.Shards >> level; index++)
            {
                if (Enumerable.Range(index << level, 1 << level).Any(present.Contains))
                {
                    var error = Assert.Throws<ArgumentException>(() => tree.Add(new TreeNode(level, index), "again"));
                    Assert.Contains("was added before", error.Message);
                }
            }
        }

        Assert.Equal(before, tree.Partials.Select(p => p.Node));
    }, iter: 50);

    [Theory]
    [InlineData(0, -1)]
    [InlineData(0, 8)]
    [InlineData(-1, 0)]
    [InlineData(1, 4)]
    [InlineData(3, 1)]
    [InlineData(4, 0)]
    [InlineData(40, 0)]
    [InlineData(int.MaxValue, 0)]
    [InlineData(0, int.MaxValue)]
    public void ANodeOutsideTheTree_IsRefused(int level, int index)
    {
        var error = Assert.Throws<ArgumentException>(() => Tree(8).Add(new TreeNode(level, index), ""));
        Assert.Contains("outside a tree of 8 shards", error.Message);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-8)]
    [InlineData(3)]
    [InlineData(1 << 21)]
    [InlineData(int.MinValue)]
    public void ANumberOfShardsThatIsNotAPowerOfTwo_IsRefused(int shards) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => Tree(shards));

    private static ReductionTree<string> Tree(int shards) => new(shards, (left, right) => $"({left} {right})");

    private static string Recursion(int first, int count) => count == 1
        ? $"{first}"
        : $"({Recursion(first, count / 2)} {Recursion(first + (count / 2), count / 2)})";
}
