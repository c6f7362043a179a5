// The comparison of the states of a world's members. The states are equal bit for bit unless a member is wrong.
using System.Collections.Immutable;
using Atelier.Training.Worlds;

namespace Atelier.Training.Stages;

/// <summary>The digest of a trainer's state.</summary>
/// <param name="World">Number of the world in which the state's last step was summed.</param>
/// <param name="Step">Number of steps that the state includes.</param>
/// <param name="Digest">SHA-256 of vectors and position; null while it is being computed.</param>
public sealed record StateDigest(int World, long Step, string? Digest);

/// <summary>A difference between the states of members.</summary>
/// <param name="Step">The step at which the states were compared.</param>
/// <param name="Wrong">
/// Members whose state differs from that of the majority; empty if there is no majority, so that it is unknown which
/// members are wrong.
/// </param>
public sealed record StateDifference(long Step, ImmutableArray<TrainerId> Wrong);

/// <summary>Collects the digests of the members' states and compares them.</summary>
public sealed class StateAudit
{
    private readonly Dictionary<TrainerId, Known> _known = [];

    /// <summary>Records the digests that a trainer reports for its last audited states, newest last.</summary>
    /// <param name="id">The trainer.</param>
    /// <param name="position">Number of steps that the trainer's weights include.</param>
    /// <param name="since">Number of steps that the state included when the trainer loaded it.</param>
    /// <param name="digests">The digests, without those from worlds before the last return to a checkpoint.</param>
    public void Record(TrainerId id, long position, long since, ImmutableArray<StateDigest> digests) =>
        _known[id] = new Known(position, since, digests);

    /// <summary>Forgets the digests of all other trainers.</summary>
    /// <param name="isKept">Whether a trainer's digests are kept.</param>
    public void Keep(Func<TrainerId, bool> isKept)
    {
        foreach (TrainerId id in _known.Keys.Where(id => !isKept(id)).ToArray())
        {
            _known.Remove(id);
        }
    }

    /// <summary>
    /// Whether all members that had the state of a step had the same state; false while one has not reported.
    /// </summary>
    /// <param name="step">A step that ends with a checkpoint, which all replicas must audit.</param>
    /// <param name="members">The world's members.</param>
    public bool IsAgreed(long step, IReadOnlyCollection<TrainerId> members) =>
        Missing(step, members).Length == 0
        && DigestsOf(step, members) is { } digests && digests.Select(one => one.Digest).Distinct().Count() == 1;

    /// <summary>
    /// Finds the first step at which members' states differ; null if they agree, or not all have reported.
    /// </summary>
    /// <param name="members">The world's members.</param>
    public StateDifference? Find(IReadOnlyCollection<TrainerId> members)
    {
        IEnumerable<long> steps = members.SelectMany(id => Of(id).Digests).Select(one => one.Step).Distinct().Order();
        foreach (long step in steps)
        {
            if (DigestsOf(step, members) is not { } digests)
            {
                continue;
            }

            IGrouping<string?, (TrainerId Id, string? Digest)>[] groups =
                [.. digests.GroupBy(one => one.Digest).OrderByDescending(group => group.Count())];
            if (groups.Length > 1)
            {
                bool isKnown = 2 * groups[0].Count() > digests.Count;
                return new StateDifference(
                    step, isKnown ? [.. groups.Skip(1).SelectMany(group => group).Select(one => one.Id)] : []);
            }
        }

        return null;
    }

    /// <summary>
    /// Finds members that have applied a step and have not audited it, although others have; null if there are none.
    /// </summary>
    /// <param name="step">A step that ends with a checkpoint, which all replicas must audit.</param>
    /// <param name="members">The world's members.</param>
    public StateDifference? FindMissing(long step, IReadOnlyCollection<TrainerId> members)
    {
        TrainerId[] missing = Missing(step, members), others = [.. members.Where(id => Has(id, step))];

        // Members that have not applied the step yet may decide who is in the majority. Those that joined later cannot.
        int open = members.Count(id => Of(id).Position <= step && !Has(id, step));
        int all = missing.Length + others.Length + open;
        TrainerId[] wrong = 2 * others.Length > all ? missing : 2 * missing.Length > all ? others : [];
        return missing.Length == 0 || others.Length == 0 || (wrong.Length == 0 && open > 0)
            ? null : new StateDifference(step, [.. wrong]);
    }

    private TrainerId[] Missing(long step, IReadOnlyCollection<TrainerId> members) =>
        [.. members.Where(id => Of(id).Position > step && Of(id).Since < step && !Has(id, step))];

    private bool Has(TrainerId id, long step) => Of(id).Digests.Any(one => one.Step == step);

    // The members' digests of a step; null while a digest is still expected. A member that is past the step and reports
    // no digest of it has joined later, so its digest is not expected.
    private List<(TrainerId Id, string? Digest)>? DigestsOf(long step, IReadOnlyCollection<TrainerId> members)
    {
        var digests = new List<(TrainerId, string?)>();
        foreach (TrainerId id in members)
        {
            (long position, _, ImmutableArray<StateDigest> own) = Of(id);
            if (own.LastOrDefault(one => one.Step == step) is { } digest)
            {
                if (digest.Digest is null)
                {
                    return null;
                }

                digests.Add((id, digest.Digest));
            }
            else if (position <= step)
            {
                return null;
            }
        }

        return digests.Count == 0 ? null : digests;
    }

    private Known Of(TrainerId id) =>
        _known.TryGetValue(id, out Known known) ? known : new Known(-1, long.MaxValue, []);

    private readonly record struct Known(long Position, long Since, ImmutableArray<StateDigest> Digests);
}
