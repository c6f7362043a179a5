// The distribution of a batch's shards among trainers. Each trainer gets a run of consecutive shards, so that it sends
// few nodes of the reduction tree. The length of the run depends on the trainer's speed.
using System.Collections.Immutable;
using System.Numerics;

namespace Atelier.Training.Worlds;

/// <summary>A run of consecutive shards of a batch.</summary>
/// <param name="First">Index of the first shard.</param>
/// <param name="Count">Number of shards.</param>
public readonly record struct ShardRun(int First, int Count)
{
    /// <summary>Index of the shard after the last one.</summary>
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

    /// <summary>Number of subtrees that <see cref="Nodes"/> returns.</summary>
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

/// <summary>Distributes shards among trainers.</summary>
public static class ShardDeal
{
    // The cost, as a fraction of a step's time, if every trainer sends one more node. It is small because sending
    // overlaps computing; a balanced load is more important.
    private const double NodeWeight = 0.02;

    // Distributions whose times differ by less than this factor are considered equally fast.
    private const double Grid = 1.05;

    // Distributions are considered only if their step takes at most this many times as long as the shortest possible
    // step.
    private const double SlowdownMax = 1.5;

    /// <summary>
    /// Returns a run of at least one shard for each trainer, in the given order. A step takes as long as the slowest
    /// trainer needs; among distributions that take about equally long, the one with the fewest nodes to send is
    /// chosen.
    /// </summary>
    /// <param name="shards">Number of shards of a batch, V.</param>
    /// <param name="speeds">
    /// Speeds of the trainers, in shards per second or any other common unit; at most V trainers.
    /// </param>
    /// <exception cref="ArgumentException">
    /// There are no trainers or more trainers than shards, or a speed is not positive and finite.
    /// </exception>
    public static ImmutableArray<ShardRun> Of(int shards, IReadOnlyList<double> speeds)
    {
        if (speeds.Count < 1 || speeds.Count > shards || speeds.Any(speed => !(speed > 0 && double.IsFinite(speed))))
        {
            throw new ArgumentException(
                $"{shards} shards need 1 to {shards} trainers with positive speeds; the given speeds are "
                + $"[{string.Join(", ", speeds)}].",
                nameof(speeds));
        }

        // A step takes exactly as long as one of the trainers needs for its number of shards, so these are all possible
        // times.
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

    /// <summary>Returns a run for each trainer, by the speeds that the trainers report.</summary>
    /// <param name="shards">Number of shards of a batch, V.</param>
    /// <param name="trainers">The trainers' reports; at most V.</param>
    public static ImmutableArray<ShardRun> Among(int shards, IReadOnlyList<TrainerReport> trainers)
    {
        double usual = trainers.Where(one => one.IsMeasured).Select(one => one.Speed).DefaultIfEmpty(1).Average();
        return Of(shards, [.. trainers.Select(one => one.IsMeasured ? one.Speed : usual)]);
    }

    private static int Most(double speed, double time) => (int)Math.Floor((time * speed) + 1e-9);

    private static bool Fits(int shards, IReadOnlyList<double> speeds, double time) =>
        speeds.All(speed => Most(speed, time) >= 1) && speeds.Sum(speed => (long)Most(speed, time)) >= shards;

    // Dynamic programming: nodes[i, end] is the smallest number of nodes with which the first i trainers cover the
    // shards before end.
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
