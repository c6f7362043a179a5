// The messages of a dispute, in which two trainers disagree about a shard, and of the trial that determines which of
// them is wrong.
namespace Atelier.Training.Worlds;

/// <summary>
/// A shard for which the verifier got another result than the owner. No member applies the step, and the manager asks
/// the members of the world to compute the shard.
/// </summary>
/// <param name="World">Number of the world.</param>
/// <param name="Step">The step.</param>
/// <param name="Owner">The member that computed the shard for the step.</param>
/// <param name="Claim">The owner's claim.</param>
/// <param name="Verifier">The member that computed the shard again, to verify it.</param>
/// <param name="Verified">The verifier's claim.</param>
public sealed record ShardDispute(
    int World, long Step, TrainerId Owner, ShardClaim Claim, TrainerId Verifier, ShardClaim Verified);

/// <summary>Asks a member to compute a shard with its current weights.</summary>
/// <param name="World">Number of the world.</param>
/// <param name="Step">The step, which the member has not applied.</param>
/// <param name="Shard">The shard.</param>
public sealed record TrialRequest(int World, long Step, int Shard);

/// <summary>A member's result for a trial.</summary>
/// <param name="Request">The request.</param>
/// <param name="Claim">The member's claim.</param>
public sealed record TrialClaim(TrialRequest Request, ShardClaim Claim);
