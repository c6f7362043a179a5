// Two trainers disagree about a shard, and the trial that finds out which of them is wrong.
namespace Atelier.Training.Worlds;

/// <summary>
/// A shard that was verified, with another result. No member applies the step; the members of the world are asked to
/// compute the shard.
/// </summary>
/// <param name="World">The world.</param>
/// <param name="Step">The step.</param>
/// <param name="Owner">The member that computed the shard for the step.</param>
/// <param name="Claim">Its claim.</param>
/// <param name="Verifier">The member that verified it.</param>
/// <param name="Verified">The verifier's claim.</param>
public sealed record ShardDispute(
    int World, long Step, TrainerId Owner, ShardClaim Claim, TrainerId Verifier, ShardClaim Verified);

/// <summary>Asks a member to compute a shard with the weights that it has.</summary>
/// <param name="World">The world.</param>
/// <param name="Step">The step, which the member has not applied.</param>
/// <param name="Shard">The shard.</param>
public sealed record TrialRequest(int World, long Step, int Shard);

/// <summary>What a member computed for a trial.</summary>
/// <param name="Request">The request.</param>
/// <param name="Claim">Its claim.</param>
public sealed record TrialClaim(TrialRequest Request, ShardClaim Claim);
