// Compares the states of a world's members, which are equal to the bit unless one of them is wrong.
using System.Collections.Immutable;
using Atelier.Training.Worlds;

namespace Atelier.Training.Stages;

/// <summary>The digest of a trainer's state.</summary>
/// <param name="World">The world in which the state's last step was added up.</param>
/// <param name="Step">Steps that are in the state.</param>
/// <param name="Digest">SHA-256 of vectors and position; null while it is computed.</param>
public sealed record StateDigest(int World, long Step, string? Digest);

/// <summary>Members that have different states.</summary>
/// <param name="Step">The step at which they were compared.</param>
/// <param name="Wrong">
/// Those who differ from a majority; empty if there is none, so that it is not known who is wrong.
/// </param>
public sealed record StateDifference(long Step, ImmutableArray<TrainerId> Wrong);

/// <summary>What is known of the members' states.</summary>
public sealed class StateAudit
{
    private readonly Dictionary<TrainerId, (long Position, ImmutableArray<StateDigest> Digests)> _known = [];

    /// <summary>A trainer reports the digests of its last audited states, the newest last.</summary>
    /// <param name="id">The trainer.</param>
    /// <param name="position">Steps that are in its weights.</param>
    /// <param name="digests">Digests of worlds after the last return; the caller leaves out the others.</param>
    public void Hear(TrainerId id, long position, ImmutableArray<StateDigest> digests) =>
        _known[id] = (position, digests);

    /// <summary>Forgets all: the members return to a checkpoint.</summary>
    public void Clear() => _known.Clear();

    /// <summary>Whether all members that had the state of a step had the same.</summary>
    /// <param name="step">The step.</param>
    /// <param name="members">The world's members.</param>
    public bool IsAgreed(long step, IReadOnlyCollection<TrainerId> members) =>
        DigestsOf(step, members) is { } digests && digests.Select(one => one.Digest).Distinct().Count() == 1;

    /// <summary>The first difference between members; null if they agree, or not all have reported.</summary>
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

    // The members' digests of a step: null while one is missing that will come. A member that is past the step and
    // reports no digest has joined after it.
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
