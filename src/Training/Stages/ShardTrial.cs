// Finds out who is wrong about a shard. All members compute it with the weights that they have, which no step changes
// meanwhile.
using System.Collections.Immutable;
using Atelier.Training.Worlds;

namespace Atelier.Training.Stages;

/// <summary>The outcome of a trial.</summary>
/// <param name="Wrong">Members that are wrong; empty if none can be named.</param>
/// <param name="Reason">How it was found out, for people.</param>
public sealed record TrialVerdict(ImmutableArray<TrainerId> Wrong, string Reason);

/// <summary>A trial about one shard.</summary>
/// <param name="dispute">What began it.</param>
public sealed class ShardTrial(ShardDispute dispute)
{
    private readonly Dictionary<TrainerId, ShardClaim> _claims = [];

    /// <summary>What members are asked to compute.</summary>
    public TrialRequest Request { get; } = new(dispute.World, dispute.Step, dispute.Claim.Shard);

    /// <summary>A member has computed the shard; its first answer counts.</summary>
    public void Hear(TrainerId id, TrialClaim trial)
    {
        if (trial.Request == Request)
        {
            _claims.TryAdd(id, trial.Claim);
        }
    }

    /// <summary>
    /// The verdict; null until all members have answered. A majority is right. Without one, numbers are right where
    /// others get NaN, and each of the two who disagreed has to reproduce what it claimed first.
    /// </summary>
    /// <param name="members">The world's members.</param>
    public TrialVerdict? Judge(IReadOnlyCollection<TrainerId> members)
    {
        if (members.Count == 0 || !members.All(_claims.ContainsKey))
        {
            return null;
        }

        IGrouping<ShardClaim, TrainerId> largest =
            members.GroupBy(id => _claims[id]).OrderByDescending(group => group.Count()).First();
        bool isMajority = 2 * largest.Count() > members.Count;
        bool isNaN = !isMajority && members.Any(HasNumbers) && !members.All(HasNumbers);
        TrainerId[] wrong =
        [
            .. members.Where(id => isNaN ? !HasNumbers(id)
                : isMajority ? _claims[id] != largest.Key || (FirstClaim(id) ?? largest.Key) != largest.Key
                : (FirstClaim(id) ?? _claims[id]) != _claims[id]),
        ];
        string shard = $"shard {dispute.Claim.Shard} of step {dispute.Step}";
        if (wrong.Length == 0 || wrong.Length == members.Count)
        {
            return new TrialVerdict(
                [],
                $"{dispute.Owner} and {dispute.Verifier} compute different sums for {shard}, and each gets the same "
                + "again: which of them is wrong cannot be found out");
        }

        return new TrialVerdict(
            [.. wrong],
            $"{string.Join(", ", wrong)} computes wrong numbers: "
            + (isNaN ? $"NaN for {shard}, where others get numbers"
                : $"another result for {shard} than " + (isMajority ? "the other members" : "it had before")));
    }

    private bool HasNumbers(TrainerId id) => _claims[id].IsFinite;

    private ShardClaim? FirstClaim(TrainerId id) =>
        id == dispute.Owner ? dispute.Claim : id == dispute.Verifier ? dispute.Verified : null;
}
