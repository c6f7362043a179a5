// The queue's leases: which worker holds which work until when, and which work ended recently.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;

namespace Atelier.Grains.Queueing;

/// <summary>The leases that are in force.</summary>
/// <param name="leaseTime">Time after which a lease expires without a renewal.</param>
/// <param name="lastLease">Upper bound of earlier queues' lease numbers.</param>
internal sealed class LeaseBook(TimeSpan leaseTime, long lastLease)
{
    private readonly PriorityQueue<WorkEntry, DateTimeOffset> _expiries = new();
    private readonly Dictionary<GenerationKey, WorkKind> _ended = [];
    private readonly Queue<(GenerationKey Generation, DateTimeOffset ForgetAt)> _endings = new();
    private long _last = lastLease;

    /// <summary>Leases in force.</summary>
    public int Count { get; private set; }

    /// <summary>A number for a new lease, higher than those of all earlier leases of this work.</summary>
    public long NextNumber(WorkItem item) => _last = Math.Max(_last, item.LastLease) + 1;

    /// <summary>Leases work to a worker.</summary>
    public void Begin(WorkEntry entry, QueueWorker worker, long lease, DateTimeOffset now)
    {
        (entry.Lease, entry.Worker, entry.Parking) = (lease, worker, false);
        (entry.Pool, entry.Share) = (worker.Pool, worker.Pool!.Shares.Share(entry.Work));
        entry.Share.Running++;
        worker.Held++;
        worker.HeldAlone += entry.Item.Alone ? 1 : 0;
        Count++;
        Renew(entry, now);
        _expiries.Enqueue(entry, entry.ExpiresAt);
    }

    /// <summary>Extends a lease.</summary>
    public void Renew(WorkEntry entry, DateTimeOffset now) => entry.ExpiresAt = now + leaseTime;

    /// <summary>Ends the lease of a work item, if it has one.</summary>
    public void End(WorkEntry entry)
    {
        if (entry.Lease != 0)
        {
            entry.Share!.Running--;
            entry.Worker!.Held--;
            entry.Worker.HeldAlone -= entry.Item.Alone ? 1 : 0;
            Count--;
            (entry.Lease, entry.Worker, entry.Parking) = (0, null, false);
        }
    }

    /// <summary>Removes and returns the work whose leases have expired.</summary>
    public IEnumerable<WorkEntry> TakeExpired(DateTimeOffset now)
    {
        while (_expiries.TryPeek(out WorkEntry? entry, out DateTimeOffset at) && at <= now)
        {
            _expiries.Dequeue();
            if (entry.Lease != 0 && entry.ExpiresAt > now)
            {
                _expiries.Enqueue(entry, entry.ExpiresAt);
            }
            else if (entry.Lease != 0)
            {
                yield return entry;
            }
        }
    }

    /// <summary>
    /// Remembers for two lease times that work has ended, so that a late turn does not revive it.
    /// </summary>
    public void RememberEnd(WorkItem item, DateTimeOffset now)
    {
        _ended[item.Generation] = item.Kind;
        _endings.Enqueue((item.Generation, now + (2 * leaseTime)));
    }

    /// <summary>Whether work, or work of a later phase of its generation, ended recently.</summary>
    public bool HasEnded(WorkItem item) =>
        _ended.TryGetValue(item.Generation, out WorkKind ended) && !item.Kind.IsAfter(ended);

    /// <summary>Stops remembering that work of a generation has ended.</summary>
    public void ForgetEnd(GenerationKey generation) => _ended.Remove(generation);

    /// <summary>Forgets ends that are too old to matter.</summary>
    public void ForgetEnds(DateTimeOffset now)
    {
        while (_endings.TryPeek(out (GenerationKey Generation, DateTimeOffset ForgetAt) end) && end.ForgetAt <= now)
        {
            _endings.Dequeue();
            _ended.Remove(end.Generation);
        }
    }
}
