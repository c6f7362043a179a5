// The commit of one checkpoint, as a pure protocol without I/O. The holders of a checkpoint are the trainers that keep
// a copy of the state at its step. One holder stores each part, and a second holder, the witness of the part, computes
// the digest of that part of its own copy. A part counts only if both report the same digest. If a holder is lost,
// another holder takes over its parts. A single holder needs no witness.
using System.Collections.Immutable;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;

namespace Atelier.Training.Stages;

/// <summary>A task of a holder: to store one part of a checkpoint, or to compute its digest.</summary>
/// <param name="Step">Step of the checkpoint.</param>
/// <param name="Part">Index of the part.</param>
/// <param name="Writes">Whether to store the part; if false, the holder only computes its digest.</param>
public sealed record PartTask(long Step, int Part, bool Writes);

/// <summary>A holder's report about one part of a checkpoint.</summary>
/// <param name="Step">Step of the checkpoint.</param>
/// <param name="Number">Index of the part.</param>
/// <param name="Part">Digest and length of the part.</param>
/// <param name="IsStored">Whether the holder has stored the part in the blob store.</param>
public sealed record PartReport(long Step, int Number, CheckpointPart Part, bool IsStored);

/// <summary>A checkpoint that is not committed yet.</summary>
/// <param name="step">Step of the checkpoint.</param>
/// <param name="isPlanned">Whether a rollback may return to the checkpoint.</param>
/// <param name="vectors">Names of the vectors of the state.</param>
/// <param name="parts">Number of parts of the checkpoint.</param>
public sealed class PendingCheckpoint(long step, bool isPlanned, ImmutableArray<string> vectors, int parts)
{
    private readonly Dictionary<TrainerId, Dictionary<int, PartReport>> _reports = [];
    private readonly HashSet<TrainerId> _withoutStore = [];

    /// <summary>Number of steps that the checkpoint includes.</summary>
    public long Step => step;

    /// <inheritdoc cref="CheckpointManifest.UndoneFrom"/>
    public long? UndoneFrom { get; init; }

    /// <summary>Records a holder's reports. A later report about a part replaces an earlier one.</summary>
    /// <param name="holder">The holder.</param>
    /// <param name="reports">The reports; reports about another step or an unknown part are ignored.</param>
    public void Record(TrainerId holder, IEnumerable<PartReport> reports)
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

    /// <summary>
    /// Records whether a holder can store parts. The others store the parts of a holder that cannot, and that holder
    /// stores parts only if nobody can.
    /// </summary>
    /// <param name="holder">The holder.</param>
    /// <param name="canStore">Whether the holder's last attempt to store a part has succeeded, or was not made.</param>
    public void RecordStore(TrainerId holder, bool canStore)
    {
        if (canStore)
        {
            _withoutStore.Remove(holder);
        }
        else
        {
            _withoutStore.Add(holder);
        }
    }

    /// <summary>Returns a holder's next tasks; empty if the holder has done its share, or keeps no copy.</summary>
    /// <param name="holder">The holder.</param>
    /// <param name="holders">All holders that are alive.</param>
    public IReadOnlyList<PartTask> TasksOf(TrainerId holder, IReadOnlyCollection<TrainerId> holders)
    {
        TrainerId[] order = [.. holders.Order(TrainerId.Order)];
        if (!order.Contains(holder))
        {
            return [];
        }

        TrainerId[] able = [.. order.Where(one => !_withoutStore.Contains(one))];
        TrainerId[] writers = able.Length == 0 ? order : able;
        var tasks = new List<PartTask>();
        for (int part = 0; part < parts; part++)
        {
            PartReport? done = Of(holder, part);
            TrainerId writer = writers[part % writers.Length];
            TrainerId witness = order[(Array.IndexOf(order, writer) + 1) % order.Length];
            if (writer == holder && done is not { IsStored: true })
            {
                tasks.Add(new PartTask(step, part, Writes: true));
            }
            else if (witness == holder && writer != holder && done is null)
            {
                tasks.Add(new PartTask(step, part, Writes: false));
            }
        }

        return tasks;
    }

    /// <summary>
    /// Returns the committed checkpoint once every part is stored and two holders have reported its digest, or the only
    /// holder has. Returns null before that, and always if two holders report different digests of the same part.
    /// </summary>
    /// <param name="world">Number of the world that commits the checkpoint.</param>
    /// <param name="holders">All holders that are alive.</param>
    public CheckpointManifest? Commit(int world, IReadOnlyCollection<TrainerId> holders)
    {
        if (holders.Count == 0 || Disagreement(holders) is not null)
        {
            return null;
        }

        var committed = ImmutableArray.CreateBuilder<CheckpointPart>(parts);
        for (int part = 0; part < parts; part++)
        {
            PartReport[] named = [.. holders.Select(one => Of(one, part)).OfType<PartReport>()];
            if (!named.Any(one => one.IsStored) || named.Length < Math.Min(2, holders.Count))
            {
                return null;
            }

            committed.Add(named[0].Part);
        }

        return new CheckpointManifest(step, world, isPlanned, vectors, committed.MoveToImmutable())
        {
            UndoneFrom = UndoneFrom,
        };
    }

    /// <summary>Finds two holders that report different digests of the same part; null if there are none.</summary>
    /// <param name="holders">
    /// All holders that are alive. Reports of others, such as removed members, do not count.
    /// </param>
    public (int Part, TrainerId One, TrainerId Other)? Disagreement(IReadOnlyCollection<TrainerId> holders)
    {
        for (int part = 0; part < parts; part++)
        {
            (TrainerId Holder, PartReport Report)[] named =
            [
                .. _reports.Keys.Order(TrainerId.Order)
                    .Where(one => holders.Contains(one) && _reports[one].ContainsKey(part))
                    .Select(one => (one, _reports[one][part])),
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
