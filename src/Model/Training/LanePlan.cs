// How many shards a process computes at the same time. Bits do not depend on it: a shard always has the same number of
// threads.
using System.Globalization;

namespace Atelier.Model.Training;

/// <summary>The lanes of a process, each of which computes one shard at a time.</summary>
/// <param name="Lanes">Number of lanes.</param>
/// <param name="Remark">
/// For the operator, if threads are idle or are too few, with the setting that would be right; null if there is nothing
/// to say.
/// </param>
public sealed record LanePlan(int Lanes, string? Remark)
{
    /// <summary>As many lanes as there are threads for, within the bounds of shards and memory.</summary>
    /// <param name="shards">Shards in a batch, V.</param>
    /// <param name="threadsPerShard">Threads of a lane.</param>
    /// <param name="threads">Threads of the process.</param>
    /// <param name="gradientBytes">Bytes of one lane's gradients.</param>
    /// <param name="gradientBytesMax">Bytes that the gradients of all lanes may have; there is always one lane.</param>
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
            : Invariant($"the gradients of a lane take {gradientBytes >> 20} MiB, and those of all lanes may take ")
                + Invariant($"{gradientBytesMax >> 20} MiB on this machine");
        return new LanePlan(
            lanes,
            Invariant($"{idle} of {threads} threads are idle: at most {lanes} shards are computed at a time, because ")
            + Invariant($"{cause}. trainer.threads_per_shard={right} instead of {threadsPerShard} would use more of ")
            + "them; it is part of a run's identity, so it must be set before the run begins");
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
