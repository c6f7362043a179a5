// The number of shards that a process computes at the same time. The bits of results do not depend on it, because a
// shard always has the same number of threads.
using System.Globalization;

namespace Atelier.Model.Training;

/// <summary>The lanes of a process, each of which computes one shard at a time.</summary>
/// <param name="Lanes">Number of lanes.</param>
/// <param name="Remark">
/// A message for the operator if threads are idle or too few, which names the setting to change; null if there is
/// nothing to report.
/// </param>
public sealed record LanePlan(int Lanes, string? Remark)
{
    // Each lane has its own gradients, in addition to the run's weights, moments and average. The gradients of all
    // lanes together may take 1 / GradientMemoryPart of the machine's memory.
    private const int GradientMemoryPart = 8;

    /// <summary>Plans the lanes of this process, by the memory of its machine.</summary>
    /// <param name="shards">Shards in a batch, V.</param>
    /// <param name="threadsPerShard">Number of threads of a lane.</param>
    /// <param name="threads">Number of threads of the process.</param>
    /// <param name="parameters">Number of weights, P.</param>
    public static LanePlan OfProcess(int shards, int threadsPerShard, int threads, long parameters) => Of(
        shards, threadsPerShard, threads, sizeof(float) * parameters,
        GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / GradientMemoryPart);

    /// <summary>Plans as many lanes as there are threads for, limited by the number of shards and the memory.</summary>
    /// <param name="shards">Shards in a batch, V.</param>
    /// <param name="threadsPerShard">Number of threads of a lane.</param>
    /// <param name="threads">Number of threads of the process.</param>
    /// <param name="gradientBytes">Bytes of one lane's gradients.</param>
    /// <param name="gradientBytesMax">
    /// Maximum bytes of the gradients of all lanes; there is always at least one lane.
    /// </param>
    public static LanePlan Of(
        int shards, int threadsPerShard, int threads, long gradientBytes, long gradientBytesMax)
    {
        int byThreads = Math.Max(1, threads / threadsPerShard);
        int byMemory = (int)Math.Clamp(gradientBytesMax / gradientBytes, 1, int.MaxValue);
        int lanes = Math.Min(byThreads, Math.Min(shards, byMemory));
        if (threads < threadsPerShard)
        {
            return new LanePlan(
                lanes,
                Invariant($"a shard is computed by {threadsPerShard} threads (trainer.threads_per_shard), which take ")
                + Invariant($"turns, because the process has {threads} (--threads)"));
        }

        if (lanes == byThreads)
        {
            return new LanePlan(lanes, null);
        }

        int idle = threads - (lanes * threadsPerShard), right = threads / lanes;
        string cause = lanes == shards
            ? Invariant($"a batch has {shards} shards (trainer.shards)")
            : Invariant($"the gradients of a lane take {gradientBytes >> 20} MiB, and those of all lanes may take at ")
                + Invariant($"most {gradientBytesMax >> 20} MiB on this machine");
        return new LanePlan(
            lanes,
            Invariant($"{idle} of {threads} threads are idle: at most {lanes} shards are computed at a time, because ")
            + Invariant($"{cause}. trainer.threads_per_shard={right} instead of {threadsPerShard} would use more of ")
            + "them; it is part of a run's identity, so it must be set before the run begins");
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
