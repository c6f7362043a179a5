// Which trainer computes which shards of a batch. Each has a run of neighbors, so that it sends few nodes of the
// reduction tree; how many shards it has follows its speed.
using System.Collections.Immutable;
using System.Numerics;

namespace Atelier.Training.Worlds;

/// <summary>Neighboring shards of a batch.</summary>
/// <param name="First">The first shard.</param>
/// <param name="Count">How many there are.</param>
public readonly record struct ShardRun(int First, int Count)
{
    /// <summary>The shard after the last one.</summary>
    public int End => First + Count;

    /// <summary>The largest subtrees of the reduction tree that the run covers, in shard order.</summary>
    public IEnumerable<TreeNode> Nodes()
    {
        for (int at = First; at < End;)
        {
            int level = Math.Min(at == 0 ? int.MaxValue : BitOperations.TrailingZeroCount(at), int.Log2(End - at));
            yield return new TreeNode(level, at >> level);
            at += 1 << level;
        }
    }

    /// <summary>How many subtrees <see cref="Nodes"/> gives.</summary>
    public int NodeCount()
    {
        int count = 0;
        for (int at = First; at < End; count++)
        {
            int largest = at == 0 ? int.MaxValue : at & -at;
            at += Math.Min(largest, 1 << int.Log2(End - at));
        }

        return count;
    }
}

/// <summary>Deals shards to trainers.</summary>
public static class ShardDeal
{
    // What one more node to send for every trainer is worth, as a share of a step: sending overlaps computing, so that
    // balance comes first.
    private const double NodeWeight = 0.02;

    // Deals whose times differ by less than this factor are not told apart.
    private const double Grid = 1.05;

    // Steps that take longer than the shortest possible one by more than this are not considered.
    private const double SlowdownMax = 1.5;

    /// <summary>
    /// Runs of shards for trainers in the order given, at least one shard each: the step's time is that of the slowest
    /// trainer, and among deals that take about as long the one with the fewest nodes to send is chosen.
    /// </summary>
    /// <param name="shards">Shards of a batch, V.</param>
    /// <param name="speeds">Speeds of the trainers, shards a second on any scale; at most V trainers.</param>
    /// <exception cref="ArgumentException">
    /// There is no trainer, there are more than shards, or a speed is not positive.
    /// </exception>
    public static ImmutableArray<ShardRun> Of(int shards, IReadOnlyList<double> speeds)
    {
        if (speeds.Count < 1 || speeds.Count > shards || speeds.Any(speed => !(speed > 0 && double.IsFinite(speed))))
        {
            throw new ArgumentException(
                $"{shards} shards are dealt to 1 to {shards} trainers with positive speeds, not to "
                + $"[{string.Join(", ", speeds)}].",
                nameof(speeds));
        }

        // The time of a step is that of some trainer with some number of shards.
        double[] times =
        [
            .. speeds.SelectMany(speed => Enumerable.Range(1, shards).Select(count => count / speed))
                .Distinct().Order(),
        ];
        double shortest = times.First(time => Fits(shards, speeds, time));
        (double Cost, ImmutableArray<ShardRun> Runs)? best = null;
        double last = 0;
        foreach (double time in times.Where(time => time >= shortest && time <= SlowdownMax * shortest))
        {
            if (time > shortest && time < last * Grid)
            {
                continue;
            }

            last = time;
            ImmutableArray<ShardRun> runs = FewestNodes(shards, speeds, time);
            double cost = (time / shortest) + (NodeWeight * runs.Sum(run => run.NodeCount()) / speeds.Count);
            if (best is null || cost < best.Value.Cost)
            {
                best = (cost, runs);
            }
        }

        return best!.Value.Runs;
    }

    private static int Most(double speed, double time) => (int)Math.Floor((time * speed) + 1e-9);

    private static bool Fits(int shards, IReadOnlyList<double> speeds, double time) =>
        speeds.All(speed => Most(speed, time) >= 1) && speeds.Sum(speed => (long)Most(speed, time)) >= shards;

    // Over trainers and boundaries: the fewest nodes with which the first i trainers can have the first b shards.
    private static ImmutableArray<ShardRun> FewestNodes(int shards, IReadOnlyList<double> speeds, double time)
    {
        int[,] nodes = new int[speeds.Count + 1, shards + 1], from = new int[speeds.Count + 1, shards + 1];
        for (int i = 0; i <= speeds.Count; i++)
        {
            for (int end = 0; end <= shards; end++)
            {
                nodes[i, end] = i == 0 && end == 0 ? 0 : int.MaxValue;
            }
        }

        for (int i = 1; i <= speeds.Count; i++)
        {
            int most = Most(speeds[i - 1], time);
            for (int begin = 0; begin < shards; begin++)
            {
                if (nodes[i - 1, begin] == int.MaxValue)
                {
                    continue;
                }

                for (int end = begin + 1; end <= Math.Min(shards, begin + most); end++)
                {
                    int total = nodes[i - 1, begin] + new ShardRun(begin, end - begin).NodeCount();
                    if (total < nodes[i, end])
                    {
                        (nodes[i, end], from[i, end]) = (total, begin);
                    }
                }
            }
        }

        var runs = new ShardRun[speeds.Count];
        for (int i = speeds.Count, end = shards; i > 0; i--)
        {
            runs[i - 1] = new ShardRun(from[i, end], end - from[i, end]);
            end = from[i, end];
        }

        return [.. runs];
    }
}
