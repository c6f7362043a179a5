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
    private readonly Dictionary<TrainerId, (long Position, ImmutableArray<StateDigest> Digests)> _known = [];

    /// <summary>Records the digests that a trainer reports for its last audited states, newest last.</summary>
    /// <param name="id">The trainer.</param>
    /// <param name="position">Number of steps that the trainer's weights include.</param>
    /// <param name="digests">The digests, without those from worlds before the last return to a checkpoint.</param>
    public void Hear(TrainerId id, long position, ImmutableArray<StateDigest> digests) =>
        _known[id] = (position, digests);

    /// <summary>Forgets all digests, because the members return to a checkpoint.</summary>
    public void Clear() => _known.Clear();

    /// <summary>
    /// Whether all members that had the state of a step had the same state; false while one has not reported.
    /// </summary>
    /// <param name="step">The step.</param>
    /// <param name="members">The world's members.</param>
    public bool IsAgreed(long step, IReadOnlyCollection<TrainerId> members) =>
        DigestsOf(step, members) is { } digests && digests.Select(one => one.Digest).Distinct().Count() == 1;

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

    // The members' digests of a step; null while a digest is still expected. A member that is past the step and reports
    // no digest of it has joined later, so its digest is not expected.
    private List<(TrainerId Id, string? Digest)>? DigestsOf(long step, IReadOnlyCollection<TrainerId> members)
    {
        var digests = new List<(TrainerId, string?)>();
        foreach (TrainerId id in members)
        {
            (long position, ImmutableArray<StateDigest> own) = Of(id);
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

    private (long Position, ImmutableArray<StateDigest> Digests) Of(TrainerId id) =>
        _known.TryGetValue(id, out (long, ImmutableArray<StateDigest>) known) ? known : (-1, []);
}
