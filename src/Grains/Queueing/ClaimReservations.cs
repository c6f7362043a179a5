// A queue that has just started does not know who holds what. For one lease time it reserves work that a worker has
// claimed for that worker, until the worker reports: then it holds the work, or somebody else may have it.
namespace Atelier.Grains.Queueing;

/// <summary>Work that workers had claimed before the queue started, by worker.</summary>
/// <param name="lasting">How long work is reserved after the start.</param>
internal sealed class ClaimReservations(TimeSpan lasting)
{
    private readonly Dictionary<string, List<WorkEntry>> _reserved = new(StringComparer.Ordinal);
    private DateTimeOffset? _until;

    /// <summary>Whether work may still be reserved.</summary>
    public bool AreOpen(DateTimeOffset now) => now < _until;

    /// <summary>Reserves work for the worker that claimed it.</summary>
    public void Add(string claimant, WorkEntry entry)
    {
        if (!_reserved.TryGetValue(claimant, out List<WorkEntry>? reserved))
        {
            _reserved.Add(claimant, reserved = []);
        }

        reserved.Add(entry);
    }

    /// <summary>Takes out what is reserved for a worker.</summary>
    public IReadOnlyList<WorkEntry> Take(string claimant) =>
        _reserved.Remove(claimant, out List<WorkEntry>? reserved) ? reserved : [];

    /// <summary>Takes out everything once the time is over; the first call starts the time.</summary>
    public IReadOnlyList<WorkEntry> TakeOverdue(DateTimeOffset now)
    {
        _until ??= now + lasting;
        if (_reserved.Count == 0 || AreOpen(now))
        {
            return [];
        }

        WorkEntry[] all = [.. _reserved.Values.SelectMany(reserved => reserved)];
        _reserved.Clear();
        return all;
    }
}
