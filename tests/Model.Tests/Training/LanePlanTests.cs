// Goal: a process computes as many shards at a time as its threads, the batch and its memory permit, and says what to
// change where threads are idle.
using Atelier.Model.Training;
using Xunit;

namespace Atelier.Model.Tests.Training;

public sealed class LanePlanTests
{
    private const long MiB = 1 << 20;

    [Theory]
    [InlineData(8, 1, 1, 1)]
    [InlineData(8, 1, 4, 4)]
    [InlineData(8, 1, 8, 8)]
    [InlineData(8, 2, 4, 2)]
    [InlineData(8, 3, 4, 1)] // One thread is left over, and no lane has room for it.
    public void Threads_DecideTheLanes(int shards, int perShard, int threads, int lanes) =>
        Assert.Equal(new LanePlan(lanes, null), LanePlan.Of(shards, perShard, threads, MiB, 100 * MiB));

    [Fact]
    public void Memory_BoundsTheLanes_ButNotTheFirst()
    {
        LanePlan plan = LanePlan.Of(8, 1, 8, 30 * MiB, 64 * MiB);
        Assert.Equal(2, plan.Lanes);
        Assert.StartsWith(
            "6 of 8 threads are idle: at most 2 shards are computed at a time, because the gradients of a lane take 30 "
            + "MiB, and those of all lanes may take at most 64 MiB on this machine. "
            + "trainer.threads_per_shard=4 instead of 1 ",
            plan.Remark);
        Assert.Equal(1, LanePlan.Of(8, 1, 8, 5000 * MiB, MiB).Lanes);
    }

    [Fact]
    public void Shards_BoundTheLanes()
    {
        LanePlan plan = LanePlan.Of(2, 1, 8, MiB, 100 * MiB);
        Assert.Equal(2, plan.Lanes);
        Assert.Contains("because a batch has 2 shards (trainer.shards)", plan.Remark);
        Assert.Contains("trainer.threads_per_shard=4 ", plan.Remark);
    }

    [Fact]
    public void FewerThreadsThanAShardTakes_AreReported()
    {
        LanePlan plan = LanePlan.Of(8, 4, 2, MiB, 100 * MiB);
        Assert.Equal(1, plan.Lanes);
        Assert.Contains("a shard is computed by 4 threads", plan.Remark);
        Assert.Contains("the process has 2 (--threads)", plan.Remark);
    }
}
