// The fixed order in which the parts of a batch are added up, independent of who computed them.
namespace Atelier.Training;

/// <summary>
/// A node of a binary tree over shards. The nodes of level 0 are the shards; the top node covers all of them.
/// </summary>
/// <param name="Level">Height of the node above the shards.</param>
/// <param name="Index">Index of the node in its level; it covers shards [Index 2^Level, (Index + 1) 2^Level).</param>
public readonly record struct TreeNode(int Level, int Index);

/// <summary>
/// Adds up V shards, a power of two, along one binary tree over the shard index. A sum is formed as soon as both of its
/// halves are available, and only from these halves, so the result depends neither on who computed a shard nor on the
/// order of arrival. If shards arrive in order, at most log2 V + 1 values are held at a time.
/// </summary>
/// <typeparam name="T">Type of a partial sum. Merging may consume both operands.</typeparam>
public sealed class ReductionTree<T>
    where T : class
{
    /// <summary>Maximum number of shards of a batch.</summary>
    public const int ShardsMax = 1 << 20;

    private readonly Dictionary<TreeNode, T> _held = [];
    private readonly Func<T, T, T> _merge;
    private readonly int _top;

    /// <summary>Starts an empty sum.</summary>
    /// <param name="shards">Number of shards of the batch, V.</param>
    /// <param name="merge">Adds the left and the right half, in this order.</param>
    /// <exception cref="ArgumentOutOfRangeException">
    /// V is not a power of two, or is above <see cref="ShardsMax"/>.
    /// </exception>
    public ReductionTree(int shards, Func<T, T, T> merge)
    {
        if (shards is < 1 or > ShardsMax || !int.IsPow2(shards))
        {
            throw new ArgumentOutOfRangeException(
                nameof(shards), shards, $"The number of shards must be a power of two in 1..{ShardsMax}.");
        }

        _merge = merge;
        _top = int.Log2(shards);
    }

    /// <summary>The sum of all shards; null while some are missing.</summary>
    public T? Total => _held.GetValueOrDefault(new TreeNode(_top, 0));

    /// <summary>
    /// The partial sums so far: the largest complete subtrees, in shard order. This is what a worker sends.
    /// </summary>
    public IReadOnlyList<(TreeNode Node, T Value)> Partials =>
        [.. _held.OrderBy(held => (long)held.Key.Index << held.Key.Level).Select(held => (held.Key, held.Value))];

    /// <summary>Adds one shard.</summary>
    public void Add(int shard, T value) => Add(new TreeNode(0, shard), value);

    /// <summary>Adds a subtree that was summed elsewhere.</summary>
    /// <exception cref="ArgumentException">
    /// The node is outside the tree, or a shard under it was added before.
    /// </exception>
    public void Add(TreeNode node, T value)
    {
        if (node.Level < 0 || node.Level > _top || node.Index < 0 || node.Index >= 1 << (_top - node.Level))
        {
            throw new ArgumentException($"{node} is outside a tree of {1 << _top} shards.", nameof(node));
        }

        if (Overlaps(node))
        {
            throw new ArgumentException($"{node} covers a shard that was added before.", nameof(node));
        }

        while (node.Level < _top && _held.Remove(node with { Index = node.Index ^ 1 }, out T? sibling))
        {
            value = node.Index % 2 == 0 ? _merge(value, sibling) : _merge(sibling, value);
            node = new TreeNode(node.Level + 1, node.Index / 2);
        }

        _held[node] = value;
    }

    // A node overlaps if the tree holds the node itself, an ancestor or a descendant.
    private bool Overlaps(TreeNode node)
    {
        for (TreeNode up = node; up.Level <= _top; up = new TreeNode(up.Level + 1, up.Index / 2))
        {
            if (_held.ContainsKey(up))
            {
                return true;
            }
        }

        return _held.Keys.Any(held => held.Level < node.Level && held.Index >> (node.Level - held.Level) == node.Index);
    }
}
