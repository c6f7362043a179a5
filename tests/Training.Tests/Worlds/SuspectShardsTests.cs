// Goal: before a step is skipped or rolled back, the shards that explain it are verified; every n steps one shard is
// verified in any case, and in the long run every shard is. Method: cases.
using System.Collections.Immutable;
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Training.Tests.Worlds;

public sealed class SuspectShardsTests
{
    private static readonly ImmutableArray<ShardClaim> s_claims =
    [
        .. Enumerable.Range(0, 8).Select(shard =>
            new ShardClaim(shard, 1 + (shard == 5 ? 3 : 0), shard == 2 ? 9 : 1, 7)),
    ];

    [Fact]
    public void AStepThatIsApplied_IsVerified_OnceAnInterval_AShardAfterTheOther()
    {
        var seen = new HashSet<int>();
        for (long step = 0; step < 400; step++)
        {
            ImmutableArray<ShardClaim> chosen = SuspectShards.Of(step, StepVerdict.Apply, s_claims, 10);
            Assert.Equal(step % 10 == 0 ? 1 : 0, chosen.Length);
            Assert.Equal(chosen, SuspectShards.Of(step, StepVerdict.Apply, s_claims, 10));
            seen.UnionWith(chosen.Select(claim => claim.Shard));
        }

        Assert.Equal(8, seen.Count);
        Assert.Empty(SuspectShards.Of(0, StepVerdict.Apply, s_claims, 0));
        Assert.Empty(SuspectShards.Of(0, StepVerdict.Skip, [], 10));
    }

    [Theory]
    [InlineData(StepVerdict.Skip)]
    [InlineData(StepVerdict.RollBack)]
    public void ASpike_HasTheShardsThatStandOutVerified(StepVerdict verdict) =>
        Assert.Equal([2, 5], SuspectShards.Of(1, verdict, s_claims, 10).Select(claim => claim.Shard));

    [Fact]
    public void NotFiniteShards_AreVerified_AFewOfThem()
    {
        ImmutableArray<ShardClaim> one = s_claims.SetItem(6, new ShardClaim(6, double.NaN, 1, 7));
        Assert.Equal([6], SuspectShards.Of(1, StepVerdict.Skip, one, 10).Select(claim => claim.Shard));
        ImmutableArray<ShardClaim> all = [.. s_claims.Select(claim => claim with { SquaredNorm = double.NaN })];
        Assert.Equal(
            SuspectShards.NotFiniteMax, SuspectShards.Of(1, StepVerdict.Skip, all, 10).Length);
    }
}
