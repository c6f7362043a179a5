// The trial that determines which trainer computed a shard incorrectly. All members compute the shard again with their
// current weights, which no step changes during the trial.
using System.Collections.Immutable;
using Atelier.Training.Worlds;

namespace Atelier.Training.Stages;

/// <summary>The verdict of a trial.</summary>
/// <param name="Wrong">Members that computed wrong numbers; empty if they cannot be determined.</param>
/// <param name="Reason">How the members were determined, or why they could not be; text for people.</param>
public sealed record TrialVerdict(ImmutableArray<TrainerId> Wrong, string Reason)
{
    /// <summary>
    /// Whether members have probably added wrong numbers in earlier steps, so that all must return to the last
    /// checkpoint. NaN is noticed in the step in which it occurs, so nothing earlier is in doubt.
    /// </summary>
    public bool MustReturn { get; init; }
}

/// <summary>The trial of one disputed shard.</summary>
/// <param name="dispute">The dispute that started the trial.</param>
public sealed class ShardTrial(ShardDispute dispute)
{
    private readonly Dictionary<TrainerId, ShardClaim> _claims = [];
    private readonly HashSet<TrainerId> _applied = [];

    /// <summary>The request that is sent to all members: the shard to compute.</summary>
    public TrialRequest Request { get; } = new(dispute.World, dispute.Step, dispute.Claim.Shard);

    /// <summary>Records a member's result for the shard. Only the member's first result counts.</summary>
    public void Record(TrainerId id, TrialClaim trial)
    {
        if (trial.Request == Request)
        {
            _claims.TryAdd(id, trial.Claim);
        }
    }

    /// <summary>
    /// Records a member's position. A member that has applied the step can no longer compute the shard.
    /// </summary>
    /// <param name="id">The member.</param>
    /// <param name="position">Number of steps that the member's weights include.</param>
    public void RecordPosition(TrainerId id, long position)
    {
        if (position > dispute.Step)
        {
            _applied.Add(id);
        }
    }

    /// <summary>
    /// Returns the verdict; null until all members have answered. If members have applied the step without a doubt,
    /// the states or the measures of the members differ: if those are a majority, the others are wrong. Otherwise, if a
    /// majority of the members agrees, its result is right. Without a majority, a finite result is right if other
    /// members get NaN; if all results are finite or all are NaN, each of the two disputing members is wrong if it does
    /// not reproduce its first result.
    /// </summary>
    /// <param name="members">The world's members.</param>
    public TrialVerdict? Judge(IReadOnlyCollection<TrainerId> members)
    {
        if (members.Count == 0 || !members.All(id => _claims.ContainsKey(id) || _applied.Contains(id)))
        {
            return null;
        }

        if (members.Any(_applied.Contains))
        {
            return JudgeByPosition(members);
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
                $"{dispute.Owner} and {dispute.Verifier} compute different sums for {shard}, also when they compute it "
                + "again; it cannot be determined which of them is wrong");
        }

        bool areAllNaN = wrong.All(id => !HasNumbers(id)) && members.Any(HasNumbers);
        return new TrialVerdict(
            [.. wrong],
            $"{string.Join(", ", wrong)} computes wrong numbers: "
            + (areAllNaN ? $"NaN for {shard}, where other members get finite numbers"
                : $"the result for {shard} differs from "
                    + (isMajority ? "that of the other members" : "its own earlier result")))
        {
            MustReturn = !areAllNaN,
        };
    }

    // With equal states and measures, all members would wait for the verification of the shard, or none.
    private TrialVerdict JudgeByPosition(IReadOnlyCollection<TrainerId> members)
    {
        TrainerId[] others = [.. members.Where(id => !_applied.Contains(id))];
        bool isKnown = 2 * others.Length < members.Count;
        return new TrialVerdict(
            isKnown ? [.. others] : [],
            $"{string.Join(", ", others)} disputes shard {dispute.Claim.Shard} of step {dispute.Step}, which "
            + (isKnown ? "the majority" : string.Join(", ", members.Except(others)))
            + " has applied without a doubt: their states differ")
        {
            MustReturn = true,
        };
    }

    private bool HasNumbers(TrainerId id) => _claims[id].IsFinite;

    private ShardClaim? FirstClaim(TrainerId id) =>
        id == dispute.Owner ? dispute.Claim : id == dispute.Verifier ? dispute.Verified : null;
}
