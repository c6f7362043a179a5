// The part of a replica that has shards verified before a step is applied. The next member that computes shards
// computes the shard again and sends its result to all members and spectators. If the two results differ, no trainer
// applies the step; the dispute is reported to the manager, which asks all members to compute the shard.
//
// All trainers choose the same shards, unless a device measures the step wrongly. A trainer therefore requests what it
// waits for, so that it cannot wait for a result that nobody computes. The wrong measure then leads to another state,
// which the next comparison of the states shows.
using System.Collections.Immutable;

namespace Atelier.Training.Worlds;

public sealed partial class Replica<T>
{
    // Maximum number of verifiers' claims that are kept for steps whose totals have not arrived yet.
    private const int VerifiedMax = 1 << 12;

    private readonly Dictionary<(long Step, int Shard), ShardClaim> _verified = [];
    private readonly Dictionary<(long Step, int Shard), ShardClaim> _requested = [];
    private Review? _review;
    private TrialRequest? _asked;

    /// <summary>The shard of the next step about which two members disagree; null if there is none.</summary>
    public ShardDispute? Dispute { get; private set; }

    /// <summary>The trainer's result for the last trial in this world; null before the first trial.</summary>
    public TrialClaim? Trial { get; private set; }

    // A step's totals, which wait for the verifiers' claims.
    private sealed record Review(ImmutableArray<T> Totals, ImmutableArray<ShardClaim> Suspects);

    /// <summary>Processes the result of a shard that <see cref="IReplicaHost{T}.Verify"/> requested.</summary>
    /// <param name="world">Number of the world, as it was passed to the host.</param>
    /// <param name="step">The step.</param>
    /// <param name="claim">The claim about the computed shard.</param>
    /// <param name="isTrial">Whether the shard was computed for a trial.</param>
    public void Verified(int world, long step, ShardClaim claim, bool isTrial)
    {
        if (world != _world?.Number || IsFrozen || !IsMember || step != Position)
        {
            return;
        }

        if (isTrial)
        {
            Trial = new TrialClaim(new TrialRequest(world, step, claim.Shard), claim);
            return;
        }

        _verified.TryAdd((step, claim.Shard), claim);
        SendToAll(step, new VerifiedFrame(world, step, claim));
        Advance();
    }

    private void BeginTrial(TrialRequest trial)
    {
        if (trial.World == _world?.Number && trial != _asked && IsMember && HasState && !IsFrozen
            && trial.Step == Position)
        {
            _asked = trial;
            host.Verify(trial.World, trial.Step, trial.Shard, isTrial: true);
        }
    }

    private void Take(TrainerId from, VerifyFrame ask)
    {
        if (ask.Step < Position)
        {
            host.Send(from, Confirmation(ask.Step, ask.Claim));
        }
        else if (ask.Step == Position && _requested.TryAdd((ask.Step, ask.Claim.Shard), ask.Claim))
        {
            host.Verify(ask.World, ask.Step, ask.Claim.Shard, isTrial: false);
        }

        // A later step cannot be requested: its totals include this member's shards.
    }

    // The weights for the step are gone, but this member has applied it without a doubt about the shard.
    private VerifiedFrame Confirmation(long step, ShardClaim claim) => new(_world!.Number, step, claim);

    private void Take(TrainerId from, VerifiedFrame verified)
    {
        if (_verified.Count < VerifiedMax && (!HasState || verified.Step >= Position)
            && !_world!.Members.IsEmpty && _world.Members[VerifierOf(verified.Claim.Shard)].Id == from)
        {
            _verified.TryAdd((verified.Step, verified.Claim.Shard), verified.Claim);
            Advance();
        }
    }

    // Steps before the world's first one need no verification here: the member that sends their totals has applied
    // them, so they were verified then.
    private Review BeginReview(ImmutableArray<T> totals)
    {
        bool isFirst = Position == _world!.FirstStep;
        ImmutableArray<ShardClaim> suspects = host.Review(Position, totals, isFirst && _world.VerifiesAll);
        if (Position < _world.FirstStep || _world.Members.Length < 2)
        {
            suspects = [];
        }

        foreach (ShardClaim suspect in suspects)
        {
            if (VerifierOf(suspect.Shard) != _self)
            {
                host.Send(
                    _world.Members[VerifierOf(suspect.Shard)].Id,
                    new VerifyFrame(_world.Number, Position, suspect));
            }
            else if (_requested.TryAdd((Position, suspect.Shard), suspect))
            {
                host.Verify(_world.Number, Position, suspect.Shard, isTrial: false);
            }
        }

        return new Review(totals, suspects);
    }

    private bool IsVerified(Review review)
    {
        foreach (ShardClaim suspect in review.Suspects)
        {
            if (!_verified.TryGetValue((Position, suspect.Shard), out ShardClaim verified))
            {
                return false;
            }

            if (verified != suspect)
            {
                Dispute ??= new ShardDispute(
                    _world!.Number, Position, _world.Members[OwnerOf(suspect.Shard)].Id, suspect,
                    _world.Members[VerifierOf(suspect.Shard)].Id, verified);
                return false;
            }
        }

        return true;
    }

    private int OwnerOf(int shard)
    {
        ImmutableArray<WorldMember> members = _world!.Members;
        int owner = 0;
        while (owner < members.Length - 1 && members[owner].Shards.End <= shard)
        {
            owner++;
        }

        return owner;
    }

    // The next member that computes shards; if the owner is the only one, the next member.
    private int VerifierOf(int shard)
    {
        ImmutableArray<WorldMember> members = _world!.Members;
        int owner = OwnerOf(shard), verifier = owner;
        do
        {
            verifier = (verifier + 1) % members.Length;
        }
        while (verifier != owner && members[verifier].Shards.Count == 0);

        return verifier != owner ? verifier : (owner + 1) % members.Length;
    }

    private void ForgetReviewOf(long step)
    {
        foreach (((long Step, int Shard) key, ShardClaim claim) in _requested.Where(one => one.Key.Step <= step)
            .ToArray())
        {
            _requested.Remove(key);
            if (!_verified.ContainsKey(key))
            {
                SendToAll(key.Step, Confirmation(key.Step, claim));
            }
        }

        foreach ((long Step, int Shard) key in _verified.Keys.Where(key => key.Step <= step).ToArray())
        {
            _verified.Remove(key);
        }

        (_review, _asked) = (null, null);
    }

    private void ForgetReview()
    {
        (_review, _asked, Dispute, Trial) = (null, null, null, null);
        _verified.Clear();
        _requested.Clear();
    }
}
