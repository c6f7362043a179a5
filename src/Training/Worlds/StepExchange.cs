// The sums of one step as one member computes them: partial sums of the member's own shards, the total of the slice
// that it owns (reduce-scatter), and the totals of all slices (all-gather). The replica does the sending.
using System.Collections.Immutable;

namespace Atelier.Training.Worlds;

/// <summary>Sums the gradients of one step.</summary>
/// <typeparam name="T">Type of a slice's values.</typeparam>
internal sealed class StepExchange<T>
    where T : class
{
    private readonly int _self;
    private readonly TreeNode[] _runNodes;
    private readonly ReductionTree<T>[] _own;
    private readonly ReductionTree<T> _owned;
    private readonly HashSet<TreeNode> _arrived = [];
    private readonly HashSet<int> _computed = [];
    private readonly T?[] _totals;
    private int _missing;

    /// <summary>Begins the sums of a step.</summary>
    /// <param name="world">The world.</param>
    /// <param name="self">Index of this member in the world.</param>
    /// <param name="shards">Number of shards of a batch, V.</param>
    /// <param name="merge">Adds the left and the right half of a subtree.</param>
    public StepExchange(World world, int self, int shards, Func<T, T, T> merge)
    {
        _self = self;
        _runNodes = [.. world.Members[self].Shards.Nodes()];
        _own = [.. world.Members.Select(_ => new ReductionTree<T>(shards, merge))];
        _owned = new ReductionTree<T>(shards, merge);
        _totals = new T?[world.Members.Length];
        _missing = _totals.Length;
    }

    /// <summary>Whether the totals of all slices have arrived.</summary>
    public bool IsComplete => _missing == 0;

    /// <summary>The totals of all slices, once all have arrived.</summary>
    public ImmutableArray<T> Totals => [.. _totals.OfType<T>()];

    /// <summary>The total of the slice that this member owns; null until it is complete.</summary>
    public T? OwnTotal => _totals[_self];

    /// <summary>Adds the sums of one of this member's own shards.</summary>
    /// <param name="shard">The shard.</param>
    /// <param name="slices">The shard's sums, slice by slice.</param>
    /// <returns>The nodes of this member's run that the shard completes: one node for each slice.</returns>
    public IEnumerable<(int Slice, TreeNode Node, T Value)> AddShard(int shard, IReadOnlyList<T> slices)
    {
        if (!_computed.Add(shard))
        {
            yield break;
        }

        TreeNode node = _runNodes.First(one => shard >> one.Level == one.Index);
        for (int slice = 0; slice < _own.Length; slice++)
        {
            _own[slice].Add(shard, slices[slice]);
            if (_own[slice].Partials.FirstOrDefault(part => part.Node == node) is { Value: { } value })
            {
                yield return (slice, node, value);
            }
        }
    }

    /// <summary>
    /// Adds a partial sum of the slice that this member owns. A node that was added before is ignored.
    /// </summary>
    /// <returns>The slice's total if the node completes it; otherwise null.</returns>
    public T? AddPartial(TreeNode node, T value)
    {
        if (!_arrived.Add(node))
        {
            return null;
        }

        _owned.Add(node, value);
        if (_owned.Total is { } total)
        {
            AddTotal(_self, total);
            return total;
        }

        return null;
    }

    /// <summary>Adds the total of a slice. A total that was added before is ignored.</summary>
    public void AddTotal(int slice, T total)
    {
        if (_totals[slice] is null)
        {
            _totals[slice] = total;
            _missing--;
        }
    }
}
