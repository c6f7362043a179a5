// The commit of one checkpoint, as a pure protocol. Trainers that took a copy of the state at a step are its holders.
// Each part is stored by one holder, and another one, its witness, computes the digest of its own copy; the part counts
// when both name the same digest. A holder that is lost is replaced. A holder that is alone needs no witness.
using System.Collections.Immutable;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;

namespace Atelier.Training.Stages;

/// <summary>What a holder is asked to do for a checkpoint.</summary>
/// <param name="Step">Step of the checkpoint.</param>
/// <param name="Part">The part.</param>
/// <param name="Writes">Whether to store it, or only to compute its digest.</param>
public sealed record PartTask(long Step, int Part, bool Writes);

/// <summary>What a holder has done.</summary>
/// <param name="Step">Step of the checkpoint.</param>
/// <param name="Number">The part.</param>
/// <param name="Part">Its digest and length.</param>
/// <param name="IsStored">Whether the blob store has it.</param>
public sealed record PartReport(long Step, int Number, CheckpointPart Part, bool IsStored);

/// <summary>A checkpoint that is not committed yet.</summary>
/// <param name="step">Its step.</param>
/// <param name="isPlanned">Whether a rollback may return to it.</param>
/// <param name="vectors">Names of the vectors of the state.</param>
/// <param name="parts">Number of its parts.</param>
public sealed class PendingCheckpoint(long step, bool isPlanned, ImmutableArray<string> vectors, int parts)
{
    private readonly Dictionary<TrainerId, Dictionary<int, PartReport>> _reports = [];

    /// <summary>Steps that are in it.</summary>
    public long Step => step;

    /// <summary>Takes a holder's reports; later ones replace earlier ones.</summary>
    /// <param name="holder">The holder.</param>
    /// <param name="reports">What it has done; reports of other steps or parts are ignored.</param>
    public void Hear(TrainerId holder, IEnumerable<PartReport> reports)
    {
        foreach (PartReport report in reports.Where(one =>
            one.Step == step && one.Number >= 0 && one.Number < parts && one.Part.Length >= 0))
        {
            if (!_reports.TryGetValue(holder, out Dictionary<int, PartReport>? own))
            {
                _reports.Add(holder, own = []);
            }

            own[report.Number] = report;
        }
    }

    /// <summary>What a holder is to do next; nothing if it has done its share, or does not hold a copy.</summary>
    /// <param name="holder">The holder.</param>
    /// <param name="holders">All living holders.</param>
    public IReadOnlyList<PartTask> TasksOf(TrainerId holder, IReadOnlyCollection<TrainerId> holders)
    {
        TrainerId[] order = [.. holders.Order(TrainerId.Order)];
        int place = Array.IndexOf(order, holder);
        if (place < 0)
        {
            return [];
        }

        var tasks = new List<PartTask>();
        for (int part = 0; part < parts; part++)
        {
            PartReport? done = Of(holder, part);
            if (part % order.Length == place && done is not { IsStored: true })
            {
                tasks.Add(new PartTask(step, part, Writes: true));
            }
            else if (order.Length > 1 && (part + 1) % order.Length == place && done is null)
            {
                tasks.Add(new PartTask(step, part, Writes: false));
            }
        }

        return tasks;
    }

    /// <summary>
    /// The committed checkpoint, once every part is stored and has a witness among the living holders, or the only
    /// holder has stored it; null before that, and for ever if two holders name different digests.
    /// </summary>
    /// <param name="world">The world that commits it.</param>
    /// <param name="holders">All living holders.</param>
    public CheckpointManifest? Commit(int world, IReadOnlyCollection<TrainerId> holders)
    {
        if (holders.Count == 0 || Disagreement() is not null)
        {
            return null;
        }

        var committed = ImmutableArray.CreateBuilder<CheckpointPart>(parts);
        for (int part = 0; part < parts; part++)
        {
            PartReport[] named = [.. _reports.Keys.Select(one => Of(one, part)).OfType<PartReport>()];
            if (!named.Any(one => one.IsStored) || named.Length < Math.Min(2, holders.Count))
            {
                return null;
            }

            committed.Add(named[0].Part);
        }

        return new CheckpointManifest(step, world, isPlanned, vectors, committed.MoveToImmutable());
    }

    /// <summary>Two holders that name different digests of one part; null if there are none.</summary>
    public (int Part, TrainerId One, TrainerId Other)? Disagreement()
    {
        for (int part = 0; part < parts; part++)
        {
            (TrainerId Holder, PartReport Report)[] named =
            [
                .. _reports.Keys.Order(TrainerId.Order)
                    .Where(one => _reports[one].ContainsKey(part)).Select(one => (one, _reports[one][part])),
            ];
            foreach ((TrainerId holder, PartReport report) in named.Skip(1))
            {
                if (report.Part != named[0].Report.Part)
                {
                    return (part, named[0].Holder, holder);
                }
            }
        }

        return null;
    }

    private PartReport? Of(TrainerId holder, int part) => _reports.GetValueOrDefault(holder)?.GetValueOrDefault(part);
}
