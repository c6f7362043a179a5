// The queue of a cluster as a pure protocol: messages and the time in, answers out. Its state is in memory only: the
// queue orders work but does not own it, and an empty queue is refilled by asking the generations. It holds the work of
// all models, so that a tenant has one share across all of them.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Tenants;

namespace Atelier.Grains.Queueing;

/// <summary>Decides which worker does which work next.</summary>
public sealed partial class WorkQueue
{
    private readonly WorkQueueOptions _options;
    private readonly Dictionary<GenerationKey, WorkEntry> _entries = [];
    private readonly WaitingWork _waiting = new();
    private readonly WorkerRoster _workers;
    private readonly SchedulingPolicy _policy;
    private readonly LeaseBook _leases;
    private readonly PriorityQueue<WorkEntry, DateTimeOffset> _anyKind = new();
    private readonly ClaimReservations _reservations;
    private readonly QueueEstimates _estimates;
    private long _arrival;

    /// <summary>Creates an empty queue.</summary>
    /// <param name="options">The options.</param>
    /// <param name="lastLease">Upper bound of earlier queues' lease numbers, for example the time in ticks.</param>
    public WorkQueue(WorkQueueOptions options, long lastLease)
    {
        _options = options;
        _workers = new WorkerRoster(options.LeaseTime, _waiting);
        _policy = new SchedulingPolicy(options, _waiting, _workers);
        _leases = new LeaseBook(options.LeaseTime, lastLease);
        _reservations = new ClaimReservations(options.LeaseTime);
        _estimates = new QueueEstimates(_waiting);
    }

    /// <summary>Called for every grant with the tenant and the operations, for measurements.</summary>
    internal Action<TenantId, double>? Granting { get; set; }

    /// <summary>Called for every lease that expires, with the work and its worker.</summary>
    internal Action<WorkItem, string>? Expiring { get; set; }

    internal WaitingWork Waiting => _waiting;

    internal int Leases => _leases.Count;

    /// <summary>Queues work once, however often it is offered; a later phase replaces an earlier one.</summary>
    /// <exception cref="ArgumentException">Quanta, cost or weight of the work are out of range.</exception>
    public OfferAnswer Offer(WorkItem item, bool admitted, DateTimeOffset now)
    {
        Tick(now);
        if (item.Quanta is < 1 or > WorkItem.QuantaMax || !(item.Cost > 0 && double.IsFinite(item.Cost))
            || !(item.Weight > 0 && double.IsFinite(item.Weight)))
        {
            throw new ArgumentException(
                $"Work must have 1 to {WorkItem.QuantaMax} quanta, a positive cost and a positive weight, not {item}.",
                nameof(item));
        }

        _leases.ForgetEnd(item.Generation);
        SetWeight(item.Generation.Tenant, new TenantWeight(item.Weight, item.WeightVersion));
        _entries.TryGetValue(item.Generation, out WorkEntry? known);
        item = Timed(item, known?.AnyKindAt, now);
        if (known is not null)
        {
            if (known.Item.Kind.IsAfter(item.Kind) || (item.Kind == known.Item.Kind && known.Lease != 0))
            {
                return new OfferAnswer(OfferOutcome.Queued, null, null);
            }

            if (item.Kind == known.Item.Kind)
            {
                ReserveOrWait(known, item, now);
                return new OfferAnswer(OfferOutcome.Queued, PlaceOf(item.Generation, now), null);
            }

            Remove(known);
        }
        else if (!admitted && _entries.Count >= _options.SizeMax)
        {
            return new OfferAnswer(OfferOutcome.QueueFull, null, _estimates.RetryAfter(item, now));
        }
        else if (!admitted && _waiting.CountOf(item.Generation.Tenant) >= _options.TenantSizeMax)
        {
            return new OfferAnswer(OfferOutcome.TenantFull, null, _estimates.RetryAfter(item, now));
        }

        WorkEntry entry = Enter(item);
        entry.RequestCost += known?.RequestCost ?? 0;
        CountArrival(item, admitted);
        ReserveOrWait(entry, item, now);
        return new OfferAnswer(OfferOutcome.Queued, PlaceOf(item.Generation, now), null);
    }

    /// <summary>
    /// A worker reports the work that it holds, gets a verdict on each item, and leases more. Free slots are filled
    /// first; then each item between two quanta continues, unless its tenant is too far ahead of a waiting tenant.
    /// </summary>
    /// <exception cref="ArgumentException">The worker reports more work than it may hold.</exception>
    public TurnAnswer Turn(WorkerTurn turn, DateTimeOffset now)
    {
        Tick(now);
        if (turn.Free < 0 || turn.Free + turn.Held.Length > WorkerTurn.HeldMax)
        {
            throw new ArgumentException(
                $"A worker holds 0 to {WorkerTurn.HeldMax} items, not {turn.Held.Length} and {turn.Free} more.",
                nameof(turn));
        }

        QueueWorker worker = _workers.Update(turn, now);
        WorkEntry?[] held = [.. turn.Held.Select(work => Renew(worker, work, now))];
        WaitAgain(_reservations.Take(worker.Name));
        bool loadsFirst = _policy.LoadsForNewcomer(worker, [.. held.OfType<WorkEntry>()], turn.LoadAge);
        if ((loadsFirst ? false : _policy.ShouldDrain(worker)) is { } drains)
        {
            _workers.SetDraining(worker, drains);
        }

        var leased = new List<LeasedWork>();
        while (leased.Count < turn.Free && SchedulingPolicy.ForFreeSlot(worker, !loadsFirst) is { } next)
        {
            leased.Add(Lease(next, worker, now));
        }

        ModelDigest? load = _policy.ModelToLoad(
            worker, [.. held.OfType<WorkEntry>(), .. leased.Select(work => _entries[work.Item.Generation])],
            turn.LoadAge);
        int spare = worker.IsDraining || worker.HeldAlone > 0 ? 0 : turn.Free - leased.Count;
        WorkerRoster.SetSpare(worker, spare, load ?? worker.Loading, now);
        var verdicts = new WorkVerdict[held.Length];
        for (int i = 0; i < held.Length; i++)
        {
            bool hasRoom = held.Length + leased.Count < WorkerTurn.HeldMax;
            verdicts[i] = Decide(worker, held[i], leased, hasRoom, load is not null, now);
        }

        return new TurnAnswer
        {
            Verdicts = verdicts, Leased = [.. leased], LeaseTime = _options.LeaseTime, Load = load,
        };
    }

    /// <summary>A worker releases a lease. A release of a lease that the worker no longer holds is ignored.</summary>
    public void Release(LeaseRelease release, DateTimeOffset now)
    {
        Tick(now);
        if (!_entries.TryGetValue(release.Item.Generation, out WorkEntry? entry))
        {
            if (release.End == LeaseEnd.Returned)
            {
                WorkItem item = Timed(release.Item, null, now);
                Wait(Enter(item), item);
            }
        }
        else if (entry.Lease == release.Lease && entry.Item.Kind == release.Item.Kind)
        {
            if (release.End == LeaseEnd.Finished)
            {
                Remove(entry);
                _leases.RememberEnd(entry.Item, now);
            }
            else
            {
                Wait(entry, Timed(release.Item, null, now));
            }
        }
    }

    /// <summary>Changes a tenant's weight, also for waiting work.</summary>
    public void SetWeight(TenantId tenant, TenantWeight weight) => _waiting.SetWeight(tenant, weight);

    /// <summary>Removes a generation's work; a worker that holds it must stop at its next turn.</summary>
    public void Withdraw(GenerationKey generation, DateTimeOffset now)
    {
        Tick(now);
        if (_entries.TryGetValue(generation, out WorkEntry? entry))
        {
            Remove(entry);
            _leases.RememberEnd(entry.Item, now);
        }
    }

    /// <summary>
    /// A generation's place in the queue: how many of the tenant's own items come first, and how long they will take at
    /// the queue's current pace and the tenant's share of it. Null if the work does not wait.
    /// </summary>
    public QueuePlace? PlaceOf(GenerationKey generation, DateTimeOffset now) =>
        _entries.TryGetValue(generation, out WorkEntry? entry) && entry.Class >= 0
            ? _estimates.Place(entry, now) with { Loading = _workers.LoadingTime(entry.Item.Model, now) } : null;

    /// <summary>Workers with spare slots for an item's work, those that have its model in memory first.</summary>
    public IEnumerable<string> SpareWorkers(WorkItem item) => _workers.WithSpareFor(item);

    /// <summary>A busy worker that would park its work for an item; null unless the item is a newcomer's.</summary>
    public string? BusyWorker(WorkItem item) =>
        _entries.TryGetValue(item.Generation, out WorkEntry? entry) && entry.Class >= 0
            ? _policy.BusyWorkerFor(entry)?.Name : null;

    /// <summary>Applies the effects of time: work whose lease has expired waits again, first in its lane.</summary>
    public void Tick(DateTimeOffset now)
    {
        WaitAgain(_reservations.TakeOverdue(now));
        foreach (WorkEntry entry in _leases.TakeExpired(now).Where(Has))
        {
            // Progress that its worker reported may not be stored, so the whole item waits again. The wait for a device
            // kind starts now, because the reported time may be from a queue whose clock differs.
            Expiring?.Invoke(entry.Item, entry.Worker!.Name);
            Wait(entry, Timed(entry.Item, null, now));
        }

        while (_anyKind.TryPeek(out WorkEntry? entry, out DateTimeOffset at) && at <= now)
        {
            _anyKind.Dequeue();
            if (entry.Class >= 0 && Has(entry) && entry.Item.AnyKindFrom <= now)
            {
                Wait(entry, entry.Item with { DeviceKind = null, AnyKindFrom = null });
            }
        }

        _leases.ForgetEnds(now);
        _workers.RemoveSilent(now);
    }

    // Returns the work that a worker reports as held; null if it may not hold it. If the queue does not know the lease,
    // because it has just started or let it expire, it trusts the worker. The generation rejects wrong reports.
    private WorkEntry? Renew(QueueWorker worker, HeldWork held, DateTimeOffset now)
    {
        bool known = _entries.TryGetValue(held.Item.Generation, out WorkEntry? entry);
        if (known && (entry!.Item.Kind != held.Item.Kind || (entry.Lease != 0 && entry.Lease != held.Lease)))
        {
            return null;
        }

        if (!known && _leases.HasEnded(held.Item))
        {
            return null;
        }

        entry ??= Enter(held.Item);
        if (entry.Lease != 0 && entry.Item.Alone && !held.Item.Alone)
        {
            // The worker has stored the next snapshot, which ends the quarantine.
            entry.Worker!.HeldAlone--;
            entry.Item = entry.Item with { Alone = false };
        }

        if (entry.Lease == 0)
        {
            _waiting.Remove(entry);
            entry.Item = held.Item;
            int done = Math.Clamp(held.Done, 0, held.Item.Quanta);
            (entry.Granted, entry.Done) = (Math.Min(done + 1, held.Item.Quanta), done);
            _leases.Begin(entry, worker, held.Lease, now);
        }

        _leases.Renew(entry, now);
        entry.Done = Math.Max(entry.Done, Math.Min(held.Done, entry.Item.Quanta));
        return entry;
    }

    private WorkVerdict Decide(
        QueueWorker worker, WorkEntry? entry, List<LeasedWork> leased, bool hasRoom, bool changes, DateTimeOffset now)
    {
        if (entry is null or { Parking: true })
        {
            return entry is null ? WorkVerdict.Stop : WorkVerdict.Park;
        }

        // Within a granted quantum, work yields to a newcomer only, and only after it has done a step here. Quarantined
        // work becomes ordinary work, which may be parked for others, once its next snapshot is stored.
        WorkEntry? other = worker.HeldAlone > 0 || !hasRoom || changes
            ? null : SchedulingPolicy.Next(worker, alone: false);
        bool isWithin = entry.Done < entry.Granted || (entry.Item.Alone && entry.Done > 0);
        bool yields = entry.Done > 0 && other is not null && SchedulingPolicy.IsNewcomer(worker, other);
        if (entry.Done >= entry.Item.Quanta || (isWithin && !yields))
        {
            Grant(entry, entry.Done, now);
            return WorkVerdict.Continue;
        }

        if (changes)
        {
            // The worker returns work to make room for the model; work that stays is charged when it continues.
            return WorkVerdict.Continue;
        }

        if (worker.IsDraining)
        {
            entry.Parking = true;
            return WorkVerdict.Park;
        }

        FairShare shares = worker.Pool!.Shares;
        if (other is not null && !_waiting.HasSpare(other.Item) && _policy.IsOverserved(shares, entry, other))
        {
            entry.Parking = true;
            leased.Add(Lease(other, worker, now));
            return WorkVerdict.Park;
        }

        Grant(entry, isWithin ? entry.Done : entry.Done + 1, now);
        return WorkVerdict.Continue;
    }

    private LeasedWork Lease(WorkEntry entry, QueueWorker worker, DateTimeOffset now)
    {
        _waiting.Remove(entry);
        (entry.Granted, entry.Done) = (0, 0);
        _leases.Begin(entry, worker, _leases.NextNumber(entry.Item), now);
        Grant(entry, 1, now);
        return new LeasedWork(entry.Lease, entry.Item);
    }

    private void Grant(WorkEntry entry, int quanta, DateTimeOffset now)
    {
        if (quanta > entry.Granted)
        {
            double cost = entry.QuantumCost * (quanta - entry.Granted);
            entry.Granted = quanta;
            entry.Pool!.Shares.Charge(entry.Share!, cost, entry.Item.Kind == WorkKind.Encode);
            _estimates.CountGrant(entry, cost, now);
            Granting?.Invoke(entry.Item.Generation.Tenant, cost);
        }
    }

    private WorkEntry Enter(WorkItem item)
    {
        var entry = new WorkEntry(item, _waiting.Enter(item), ++_arrival);
        _entries.Add(item.Generation, entry);
        return entry;
    }

    private void Wait(WorkEntry entry, WorkItem item)
    {
        _waiting.Remove(entry);
        _leases.End(entry);
        entry.Item = item;
        entry.RequestCost = Math.Max(entry.RequestCost, item.Cost);
        _waiting.Add(entry);
        if (item is { DeviceKind: not null, AnyKindFrom: { } at })
        {
            entry.AnyKindAt = at;
            _anyKind.Enqueue(entry, at);
        }
    }

    // The wait for a device kind continues if the work is offered again, and starts over if a worker returns it.
    private static WorkItem Timed(WorkItem item, DateTimeOffset? began, DateTimeOffset now) =>
        item.AnyKindAfter is { } after ? item with { AnyKindFrom = began ?? now + after } : item;

    private void ReserveOrWait(WorkEntry entry, WorkItem item, DateTimeOffset now)
    {
        if (item.ClaimedBy is { } claimant && _reservations.AreOpen(now) && !_workers.Has(claimant))
        {
            _waiting.Remove(entry);
            entry.Item = item;
            _reservations.Add(claimant, entry);
        }
        else
        {
            Wait(entry, item);
        }
    }

    private void WaitAgain(IReadOnlyList<WorkEntry> reserved)
    {
        foreach (WorkEntry entry in reserved)
        {
            if (entry is { Class: < 0, Lease: 0 } && Has(entry))
            {
                Wait(entry, entry.Item);
            }
        }
    }

    private void Remove(WorkEntry entry)
    {
        _waiting.Remove(entry);
        _leases.End(entry);
        _entries.Remove(entry.Item.Generation);
        _waiting.Leave(entry.Work);
    }

    private bool Has(WorkEntry entry) =>
        _entries.TryGetValue(entry.Item.Generation, out WorkEntry? known) && ReferenceEquals(known, entry);
}
