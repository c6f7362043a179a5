// Reservations after a restart of the queue, when it does not know which worker holds what. For one lease time, claimed
// work is reserved for the worker that claimed it. When that worker reports, it either still holds the work, or the
// work becomes available to any worker.
namespace Atelier.Grains.Queueing;

/// <summary>Work that workers had claimed before the queue started, by worker.</summary>
/// <param name="lasting">Time after the start for which work is reserved.</param>
internal sealed class ClaimReservations(TimeSpan lasting)
{
    private readonly Dictionary<string, List<WorkEntry>> _reserved = new(StringComparer.Ordinal);
    private DateTimeOffset? _until;

    /// <summary>Whether the time for reservations has not passed yet.</summary>
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

    /// <summary>Removes and returns the work that is reserved for a worker.</summary>
    public IReadOnlyList<WorkEntry> Take(string claimant) =>
        _reserved.Remove(claimant, out List<WorkEntry>? reserved) ? reserved : [];

    /// <summary>
    /// Removes and returns all reserved work once the time for reservations has passed; the first call starts that
    /// time.
    /// </summary>
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
