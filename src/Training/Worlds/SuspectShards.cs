// The choice of the shards of a batch that a second trainer computes before the batch is applied, skipped or rolled
// back.
using System.Collections.Immutable;

namespace Atelier.Training.Worlds;

/// <summary>
/// Chooses the shards to verify. The choice is a pure function of a step's totals, so that all replicas make the same
/// one.
/// </summary>
public static class SuspectShards
{
    /// <summary>Maximum number of shards of a step that are verified because their numbers are not finite.</summary>
    public const int NotFiniteMax = 4;

    /// <summary>Returns the claims to verify.</summary>
    /// <param name="step">The step.</param>
    /// <param name="verdict">The verdict on the step if no claim is wrong.</param>
    /// <param name="claims">The claims about all shards of the step.</param>
    /// <param name="interval">
    /// One shard of every step that is a multiple of this number is always verified; 0 for none.
    /// </param>
    public static ImmutableArray<ShardClaim> Of(
        long step, StepVerdict verdict, ImmutableArray<ShardClaim> claims, long interval)
    {
        var chosen = new SortedDictionary<int, ShardClaim>();
        if (claims.IsDefaultOrEmpty)
        {
            return [];
        }

        if (interval > 0 && step % interval == 0)
        {
            Choose(claims[(int)(SplitMix64.Mix((ulong)step + SplitMix64.Gamma) % (ulong)claims.Length)]);
        }

        if (verdict != StepVerdict.Apply)
        {
            ShardClaim[] bad = [.. claims.Where(claim => !claim.IsFinite).Take(NotFiniteMax)];
            foreach (ShardClaim claim in bad.Length > 0
                ? bad : [claims.MaxBy(claim => claim.SquaredNorm), claims.MaxBy(claim => claim.LossSum)])
            {
                Choose(claim);
            }
        }

        return [.. chosen.Values];

        void Choose(ShardClaim claim) => chosen[claim.Shard] = claim;
    }
}
