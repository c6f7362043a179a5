// One step of a world as one member sees it: the nodes that its own shards make, the slice that it owns, and the totals
// of all slices. It sends nothing itself; a replica does.
using System.Collections.Immutable;

namespace Atelier.Training.Worlds;

/// <summary>Adds up one step.</summary>
/// <typeparam name="T">The values of a slice.</typeparam>
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

    /// <summary>Begins a step.</summary>
    /// <param name="world">The world.</param>
    /// <param name="self">Index of this member.</param>
    /// <param name="shards">Shards of a batch, V.</param>
    /// <param name="merge">Sum of the left and the right half.</param>
    public StepExchange(World world, int self, int shards, Func<T, T, T> merge)
    {
        _self = self;
        _runNodes = [.. world.Members[self].Shards.Nodes()];
        _own = [.. world.Members.Select(_ => new ReductionTree<T>(shards, merge))];
        _owned = new ReductionTree<T>(shards, merge);
        _totals = new T?[world.Members.Length];
        _missing = _totals.Length;
    }

    /// <summary>Whether the totals of all slices are there.</summary>
    public bool IsComplete => _missing == 0;

    /// <summary>The totals of all slices, once they are there.</summary>
    public ImmutableArray<T> Totals => [.. _totals.OfType<T>()];

    /// <summary>Whether the total of the slice that this member owns is formed.</summary>
    public bool HasOwnTotal => _totals[_self] is not null;

    /// <summary>Adds one of the member's own shards.</summary>
    /// <param name="shard">The shard.</param>
    /// <param name="slices">Its numbers, slice by slice.</param>
    /// <returns>Nodes of the member's run that are complete with it: one of each slice.</returns>
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

    /// <summary>Adds a node of the slice that this member owns; one that it has is ignored.</summary>
    /// <returns>The slice's total if it is complete with the node, else null.</returns>
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

    /// <summary>Adds the total of a slice; one that is there is ignored.</summary>
    public void AddTotal(int slice, T total)
    {
        if (_totals[slice] is null)
        {
            _totals[slice] = total;
            _missing--;
        }
    }
}
