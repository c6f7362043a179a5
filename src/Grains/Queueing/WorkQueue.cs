// The queue of one model as a pure protocol: messages and the time in, answers out. Its state is only in memory, for it
// only orders work; what must not be lost is the generations' own, and an empty queue is filled again by asking them.
using Atelier.Contracts;

namespace Atelier.Grains.Queueing;

/// <summary>A worker as its queue sees it.</summary>
internal sealed class QueueWorker(string name)
{
    /// <summary>Its name.</summary>
    public string Name { get; } = name;

    /// <summary>What it may do.</summary>
    public WorkRoles Roles { get; set; }

    /// <summary>Its device kind.</summary>
    public string DeviceKind { get; set; } = "";

    /// <summary>Slots that it had left after its last turn.</summary>
    public int Spare { get; set; }

    /// <summary>When it was last heard of.</summary>
    public DateTimeOffset SeenAt { get; set; }

    /// <summary>Work leased to it.</summary>
    public int Held { get; set; }

    /// <summary>Work leased to it that must be alone.</summary>
    public int HeldAlone { get; set; }

    /// <summary>Whether it hands back what it holds, to take work that must run alone.</summary>
    public bool Emptying { get; set; }
}

/// <summary>What decides which work a worker may do. A cluster has few of these.</summary>
internal readonly record struct WorkerProfile(WorkRoles Roles, string DeviceKind);

/// <summary>Who does what next.</summary>
public sealed class WorkQueue
{
    // Throughput is averaged over about this time.
    private static readonly TimeSpan s_rateWindow = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan s_retryMin = TimeSpan.FromSeconds(1), s_retryMax = TimeSpan.FromMinutes(1);

    private readonly WorkQueueOptions _options;
    private readonly FairShare[] _pools;
    private readonly FairShare[] _poolOf = new FairShare[3];
    private readonly Dictionary<GenerationKey, WorkEntry> _entries = [];
    private readonly Dictionary<TenantId, int> _sizes = [];
    private readonly Dictionary<string, QueueWorker> _workers = new(StringComparer.Ordinal);
    private readonly Dictionary<WorkerProfile, int> _spare = [];
    private readonly Dictionary<string, List<WorkEntry>> _kept = new(StringComparer.Ordinal);
    private readonly Dictionary<GenerationKey, WorkKind> _ended = [];
    private readonly Queue<(GenerationKey Generation, DateTimeOffset At)> _endings = new();
    private readonly PriorityQueue<WorkEntry, DateTimeOffset> _expiries = new();
    private readonly PriorityQueue<WorkEntry, DateTimeOffset> _anyKind = new();
    private readonly PriorityQueue<QueueWorker, DateTimeOffset> _silences = new();
    private long _lease;
    private long _arrival;
    private int _leased;
    private int _emptying;
    private double _granted;
    private DateTimeOffset _grantedAt;
    private DateTimeOffset? _grantedSince;
    private DateTimeOffset? _keepsUntil;

    /// <summary>Makes an empty queue.</summary>
    /// <param name="options">How it behaves.</param>
    /// <param name="lastLease">
    /// A number above all leases that an earlier queue gave, for example the time in ticks.
    /// </param>
    public WorkQueue(WorkQueueOptions options, long lastLease)
    {
        _options = options.Fault() is { } fault ? throw new ArgumentException(fault, nameof(options)) : options;
        _lease = lastLease;
        _pools = [.. options.Pools.Select(_ => new FairShare())];
        for (int kind = 0; kind < _poolOf.Length; kind++)
        {
            int pool = options.Pools.ToList().FindIndex(roles => roles.HasFlag(FairShare.RoleOf((WorkKind)kind)));
            _poolOf[kind] = _pools[pool];
        }
    }

    /// <summary>Told of every grant: tenant and operations. For measurements.</summary>
    public Action<TenantId, double>? Granting { get; set; }

    /// <summary>
    /// Puts work into the queue. The same work twice is once; a later phase takes an earlier one's place.
    /// </summary>
    public OfferAnswer Offer(WorkItem item, bool admitted, DateTimeOffset now)
    {
        Tick(now);
        if (item.Quanta is < 1 or > WorkItem.QuantaMax || !(item.Cost > 0 && double.IsFinite(item.Cost))
            || !(item.Weight > 0 && double.IsFinite(item.Weight)))
        {
            throw new ArgumentException(
                $"Work has 1 to {WorkItem.QuantaMax} quanta, a positive cost and a positive weight; {item} has not.", nameof(item));
        }

        _ended.Remove(item.Generation);
        _entries.TryGetValue(item.Generation, out WorkEntry? known);
        item = Timed(item, known?.AnyKindAt, now);
        if (known is not null)
        {
            if (item.Kind < known.Item.Kind || (item.Kind == known.Item.Kind && known.Lease != 0))
            {
                return new OfferAnswer(OfferOutcome.Queued, null, null);
            }

            if (item.Kind == known.Item.Kind)
            {
                KeepOrWait(known, item, now);
                return new OfferAnswer(OfferOutcome.Queued, Where(item.Generation, now), null);
            }

            Drop(known);
        }
        else if (!admitted && _entries.Count >= _options.SizeMax)
        {
            return new OfferAnswer(OfferOutcome.QueueFull, null, RetryAfter(item));
        }
        else if (!admitted && _sizes.GetValueOrDefault(item.Generation.Tenant) >= _options.TenantSizeMax)
        {
            return new OfferAnswer(OfferOutcome.TenantFull, null, RetryAfter(item));
        }

        KeepOrWait(Enter(item), item, now);
        return new OfferAnswer(OfferOutcome.Queued, Where(item.Generation, now), null);
    }

    /// <summary>
    /// A worker says what it holds, is told what to do with it, and takes more. Free slots are filled first; then each
    /// piece of work that stands between two quanta goes on, unless its tenant has run ahead of one that waits.
    /// </summary>
    public TurnAnswer Turn(WorkerTurn turn, DateTimeOffset now)
    {
        Tick(now);
        if (turn.Free < 0 || turn.Free + turn.Held.Length > WorkerTurn.HeldMax)
        {
            throw new ArgumentException(
                $"A worker holds 0 to {WorkerTurn.HeldMax} pieces of work, not {turn.Held.Length} and {turn.Free} more.", nameof(turn));
        }

        QueueWorker worker = Hear(turn, now);
        WorkEntry?[] held = [.. turn.Held.Select(work => Renew(worker, work, now))];
        LetGo(worker.Name);
        Empty(worker);
        List<LeasedWork> leased = Fill(worker, turn.Free, now);
        Spared(worker, worker.Emptying || worker.HeldAlone > 0 ? 0 : turn.Free - leased.Count);
        var verdicts = new WorkVerdict[held.Length];
        for (int i = 0; i < held.Length; i++)
        {
            verdicts[i] = Decide(worker, held[i], leased, held.Length + leased.Count < WorkerTurn.HeldMax, now);
        }

        return new TurnAnswer { Verdicts = verdicts, Leased = [.. leased], LeaseTime = _options.LeaseTime };
    }

    /// <summary>A worker gives work back. What it says of a lease that is no longer its own is not heard.</summary>
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
                End(entry, now);
            }
            else
            {
                Wait(entry, Timed(release.Item, null, now));
            }
        }
    }

    /// <summary>Takes a generation's work out; whoever holds it is told to stop at its next turn.</summary>
    public void Withdraw(GenerationKey generation, DateTimeOffset now)
    {
        Tick(now);
        if (_entries.TryGetValue(generation, out WorkEntry? entry))
        {
            End(entry, now);
        }
    }

    /// <summary>
    /// Where a generation's work stands: how many of the tenant's own come first, and how long that will take at the
    /// pace that the queue sees and the tenant's share of it. None if it does not wait.
    /// </summary>
    public QueuePlace? Where(GenerationKey generation, DateTimeOffset now)
    {
        if (!_entries.TryGetValue(generation, out WorkEntry? entry) || entry.Class < 0)
        {
            return null;
        }

        FairShare pool = PoolOf(entry.Item);
        (int count, double cost) = (0, 0);
        foreach (WorkLane lane in entry.Share!.Lanes)
        {
            (int ahead, double costAhead) = lane.Before(entry.Order);
            (count, cost) = (count + ahead, cost + costAhead);
        }

        double rate = Rate(now);
        double wanted = Math.Min(pool.CostWaiting, cost * pool.WeightWaiting / entry.Share.Weight);
        TimeSpan? wait = rate > 0 ? TimeSpan.FromSeconds(Math.Min(wanted / rate, 1e9)) : null;
        return new QueuePlace(count, HasSpare(entry.Item) && count == 0 ? TimeSpan.Zero : wait);
    }

    /// <summary>How full the queue is.</summary>
    public QueueStatus Status(DateTimeOffset now) => new(
        _entries.Count - _leased, _leased, _sizes.Count, _pools.Sum(pool => pool.CostWaiting), Rate(now));

    /// <summary>Workers that have slots left for work of an item's class.</summary>
    public IEnumerable<string> SpareWorkers(WorkItem item) =>
        _workers.Values.Where(worker => worker.Spare > 0 && Fits(worker, item)).Select(worker => worker.Name);

    /// <summary>Lets time pass: leases that have run out go back to their places, which are at the head.</summary>
    public void Tick(DateTimeOffset now)
    {
        _keepsUntil ??= now + _options.LeaseTime;
        if (_kept.Count > 0 && now >= _keepsUntil)
        {
            _kept.Keys.ToList().ForEach(LetGo);
        }

        while (_expiries.TryPeek(out WorkEntry? entry, out DateTimeOffset at) && at <= now)
        {
            _expiries.Dequeue();
            if (entry.Lease != 0 && entry.ExpiresAt > now)
            {
                _expiries.Enqueue(entry, entry.ExpiresAt);
            }
            else if (entry.Lease != 0 && Has(entry))
            {
                // What its worker had reported may not be stored, so all of it waits again.
                Wait(entry, entry.Item);
            }
        }

        while (_anyKind.TryPeek(out WorkEntry? entry, out DateTimeOffset at) && at <= now)
        {
            _anyKind.Dequeue();
            if (entry.Class >= 0 && Has(entry) && entry.Item.AnyKindFrom <= now)
            {
                Wait(entry, entry.Item with { DeviceKind = null, AnyKindFrom = null });
            }
        }

        while (_endings.TryPeek(out (GenerationKey Generation, DateTimeOffset At) ending) && ending.At <= now)
        {
            _endings.Dequeue();
            _ended.Remove(ending.Generation);
        }

        while (_silences.TryPeek(out QueueWorker? worker, out DateTimeOffset at) && at <= now)
        {
            _silences.Dequeue();
            if (worker.SeenAt + _options.LeaseTime > now || worker.Held > 0)
            {
                Watch(worker, now);
            }
            else
            {
                Spared(worker, 0);
                Emptied(worker, false);
                _workers.Remove(worker.Name);
            }
        }
    }

    private QueueWorker Hear(WorkerTurn turn, DateTimeOffset now)
    {
        if (!_workers.TryGetValue(turn.Worker, out QueueWorker? worker))
        {
            _workers.Add(turn.Worker, worker = new QueueWorker(turn.Worker));
            worker.SeenAt = now;
            Watch(worker, now);
        }

        Spared(worker, 0);
        (worker.Roles, worker.DeviceKind, worker.SeenAt) = (turn.Roles, turn.DeviceKind, now);
        return worker;
    }

    private void Watch(QueueWorker worker, DateTimeOffset now)
    {
        DateTimeOffset at = worker.SeenAt + _options.LeaseTime;
        _silences.Enqueue(worker, at > now ? at : now + _options.LeaseTime);
    }

    // The work that a worker says it holds, if it may hold it. A queue that does not know it, because it has just
    // started or let the lease run out, believes the worker: were it wrong, the generation would refuse what the worker
    // brings.
    private WorkEntry? Renew(QueueWorker worker, HeldWork held, DateTimeOffset now)
    {
        bool known = _entries.TryGetValue(held.Item.Generation, out WorkEntry? entry);
        if (known && (entry!.Item.Kind != held.Item.Kind || (entry.Lease != 0 && entry.Lease != held.Lease)))
        {
            return null;
        }

        if (!known && _ended.TryGetValue(held.Item.Generation, out WorkKind ended) && held.Item.Kind <= ended)
        {
            return null;
        }

        entry ??= Enter(held.Item);
        if (entry.Lease == 0)
        {
            Unwait(entry);
            entry.Item = held.Item;
            int done = Math.Clamp(held.Done, 0, held.Item.Quanta);
            (entry.Granted, entry.Done) = (Math.Min(done + 1, held.Item.Quanta), done);
            Hold(entry, worker, held.Lease, now);
        }

        entry.ExpiresAt = now + _options.LeaseTime;
        entry.Done = Math.Max(entry.Done, Math.Min(held.Done, entry.Item.Quanta));
        return entry;
    }

    private List<LeasedWork> Fill(QueueWorker worker, int free, DateTimeOffset now)
    {
        var leased = new List<LeasedWork>();
        while (leased.Count < free && Take(worker, now) is { } work)
        {
            leased.Add(work);
        }

        return leased;
    }

    // Leases the next work to a worker. What must run alone goes to a worker that holds nothing.
    private LeasedWork? Take(QueueWorker worker, DateTimeOffset now)
    {
        if (worker.HeldAlone > 0 || worker.Emptying)
        {
            return null;
        }

        WorkEntry? company = Next(worker, alone: false), alone = worker.Held == 0 ? Next(worker, alone: true) : null;
        bool aloneFirst = alone is not null && (company is null || FairShare.IsBefore(alone, company));
        return (aloneFirst ? alone : company) is { } next ? Lease(next, worker, now) : null;
    }

    // Where all workers are busy, one at a time hands back what it holds when work that must run alone is next.
    private void Empty(QueueWorker worker)
    {
        WorkEntry? alone = worker.Held > 0 && worker.HeldAlone == 0 ? Next(worker, alone: true) : null;
        if (alone is null)
        {
            Emptied(worker, false);
        }
        else if (_emptying == 0 && (Next(worker, alone: false) is not { } company || FairShare.IsBefore(alone, company))
            && !_workers.Values.Any(other => other.Held == 0 && other.Spare > 0 && Fits(other, alone.Item)))
        {
            Emptied(worker, true);
        }
    }

    private void Emptied(QueueWorker worker, bool emptying)
    {
        if (worker.Emptying != emptying)
        {
            worker.Emptying = emptying;
            _emptying += emptying ? 1 : -1;
        }
    }

    private void Spared(QueueWorker worker, int spare)
    {
        var profile = new WorkerProfile(worker.Roles, worker.DeviceKind);
        _spare[profile] = _spare.GetValueOrDefault(profile) + spare - worker.Spare;
        worker.Spare = spare;
    }

    private WorkVerdict Decide(
        QueueWorker worker, WorkEntry? entry, List<LeasedWork> leased, bool hasRoom, DateTimeOffset now)
    {
        if (entry is null)
        {
            return WorkVerdict.Stop;
        }

        if (entry.Parking)
        {
            return WorkVerdict.Park;
        }

        if (entry.Done < entry.Granted || entry.Done >= entry.Item.Quanta)
        {
            Grant(entry, entry.Done, now);
            return WorkVerdict.Continue;
        }

        if (worker.Emptying)
        {
            entry.Parking = true;
            return WorkVerdict.Park;
        }

        WorkEntry? other = worker.HeldAlone > 0 || !hasRoom ? null : Next(worker, alone: false);
        if (other is not null && !HasSpare(other.Item) && IsOverserved(entry, other))
        {
            entry.Parking = true;
            leased.Add(Lease(other, worker, now));
            return WorkVerdict.Park;
        }

        Grant(entry, entry.Done + 1, now);
        return WorkVerdict.Continue;
    }

    // A newcomer does not wait for the slack to be used up: it is served at the next step.
    private bool IsOverserved(WorkEntry entry, WorkEntry other)
    {
        (TenantShare served, TenantShare waiting) = (entry.Share!, other.Share!);
        double slack = waiting.IsNew ? 0 : _options.Slack * entry.RequestCost / Math.Max(served.Weight, waiting.Weight);
        return !ReferenceEquals(served, waiting) && (waiting.IsNew
            ? served.Virtual >= waiting.Virtual
            : served.Virtual - waiting.Virtual > slack);
    }

    private LeasedWork Lease(WorkEntry entry, QueueWorker worker, DateTimeOffset now)
    {
        Unwait(entry);
        (entry.Granted, entry.Done) = (0, 0);
        Hold(entry, worker, _lease = Math.Max(_lease, entry.Item.LastLease) + 1, now);
        Grant(entry, 1, now);
        return new LeasedWork(entry.Lease, entry.Item);
    }

    private void Hold(WorkEntry entry, QueueWorker worker, long lease, DateTimeOffset now)
    {
        (entry.Lease, entry.Worker, entry.Parking) = (lease, worker, false);
        entry.ExpiresAt = now + _options.LeaseTime;
        entry.Share = PoolOf(entry.Item).Share(entry.Item.Generation.Tenant);
        entry.Share.Running++;
        worker.Held++;
        worker.HeldAlone += entry.Item.Alone ? 1 : 0;
        _leased++;
        _expiries.Enqueue(entry, entry.ExpiresAt);
    }

    private void Unhold(WorkEntry entry)
    {
        if (entry.Lease != 0)
        {
            entry.Share!.Running--;
            entry.Worker!.Held--;
            entry.Worker.HeldAlone -= entry.Item.Alone ? 1 : 0;
            _leased--;
            (entry.Lease, entry.Worker, entry.Parking) = (0, null, false);
        }
    }

    private void Grant(WorkEntry entry, int quanta, DateTimeOffset now)
    {
        if (quanta > entry.Granted)
        {
            double cost = entry.QuantumCost * (quanta - entry.Granted);
            entry.Granted = quanta;
            PoolOf(entry.Item).Charge(entry.Share!, cost);
            _grantedSince ??= now;
            _granted = (_granted * Decay(now)) + cost;
            _grantedAt = now;
            Granting?.Invoke(entry.Item.Generation.Tenant, cost);
        }
    }

    private WorkEntry Enter(WorkItem item)
    {
        var entry = new WorkEntry(item, ++_arrival);
        _entries.Add(item.Generation, entry);
        _sizes[item.Generation.Tenant] = _sizes.GetValueOrDefault(item.Generation.Tenant) + 1;
        return entry;
    }

    private void Wait(WorkEntry entry, WorkItem item)
    {
        Unwait(entry);
        Unhold(entry);
        entry.Item = item;
        entry.RequestCost = Math.Max(entry.RequestCost, item.Cost);
        PoolOf(item).Add(entry);
        if (item is { DeviceKind: not null, AnyKindFrom: { } at })
        {
            entry.AnyKindAt = at;
            _anyKind.Enqueue(entry, at);
        }
    }

    // What is offered again goes on waiting; what comes back from a worker begins to.
    private static WorkItem Timed(WorkItem item, DateTimeOffset? began, DateTimeOffset now) =>
        item.AnyKindAfter is { } after ? item with { AnyKindFrom = began ?? now + after } : item;

    // A queue that has just started does not know who holds what. For one lease time it keeps work that a worker has
    // claimed for that worker, until it has spoken: then it holds the work, or somebody else may have it.
    private void KeepOrWait(WorkEntry entry, WorkItem item, DateTimeOffset now)
    {
        if (item.ClaimedBy is { } claimant && now < _keepsUntil && !_workers.ContainsKey(claimant))
        {
            Unwait(entry);
            entry.Item = item;
            if (!_kept.TryGetValue(claimant, out List<WorkEntry>? kept))
            {
                _kept.Add(claimant, kept = []);
            }

            kept.Add(entry);
        }
        else
        {
            Wait(entry, item);
        }
    }

    private void LetGo(string claimant)
    {
        _kept.Remove(claimant, out List<WorkEntry>? kept);
        foreach (WorkEntry entry in kept ?? [])
        {
            if (entry is { Class: < 0, Lease: 0 } && Has(entry))
            {
                Wait(entry, entry.Item);
            }
        }
    }

    private void Unwait(WorkEntry entry)
    {
        if (entry.Class >= 0)
        {
            PoolOf(entry.Item).Remove(entry);
        }
    }

    // Remembers for two lease times what has ended, so that a late turn does not bring it back.
    private void End(WorkEntry entry, DateTimeOffset now)
    {
        Drop(entry);
        _ended[entry.Item.Generation] = entry.Item.Kind;
        _endings.Enqueue((entry.Item.Generation, now + (2 * _options.LeaseTime)));
    }

    private void Drop(WorkEntry entry)
    {
        Unwait(entry);
        Unhold(entry);
        GenerationKey key = entry.Item.Generation;
        _entries.Remove(key);
        if (--System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(_sizes, key.Tenant, out _) == 0)
        {
            _sizes.Remove(key.Tenant);
        }

        if (entry.Share is { } share)
        {
            PoolOf(entry.Item).Leave(share);
        }
    }

    private bool Has(WorkEntry entry) =>
        _entries.TryGetValue(entry.Item.Generation, out WorkEntry? known) && ReferenceEquals(known, entry);

    private FairShare PoolOf(WorkItem item) => _poolOf[(int)item.Kind];

    private WorkEntry? Next(QueueWorker worker, bool alone)
    {
        WorkEntry? best = null;
        foreach (FairShare pool in _pools)
        {
            // Between pools there is no common measure: the older work goes first.
            if (pool.Next(worker.Roles, worker.DeviceKind, alone) is { } next
                && (best is null || next.Order.CompareTo(best.Order) < 0))
            {
                best = next;
            }
        }

        return best;
    }

    private static bool Fits(QueueWorker worker, WorkItem item) => Fits(worker.Roles, worker.DeviceKind, item);

    private static bool Fits(WorkRoles roles, string deviceKind, WorkItem item) =>
        roles.HasFlag(FairShare.RoleOf(item.Kind)) && (item.DeviceKind is null || item.DeviceKind == deviceKind);

    private bool HasSpare(WorkItem item)
    {
        foreach ((WorkerProfile profile, int slots) in _spare)
        {
            if (slots > 0 && Fits(profile.Roles, profile.DeviceKind, item))
            {
                return true;
            }
        }

        return false;
    }

    private double Decay(DateTimeOffset now) => Math.Exp(-Math.Max(0, (now - _grantedAt) / s_rateWindow));

    // Operations a second: what was granted, fading, over the time that it stands for.
    private double Rate(DateTimeOffset now)
    {
        if (_grantedSince is not { } since || now <= since)
        {
            return 0;
        }

        double seconds = s_rateWindow.TotalSeconds * (1 - Math.Exp(-((now - since) / s_rateWindow)));
        return seconds > 0 ? _granted * Decay(now) / seconds : 0;
    }

    private TimeSpan RetryAfter(WorkItem item)
    {
        double rate = Rate(_grantedAt);
        double weight = PoolOf(item).WeightWaiting;
        double seconds = rate > 0 ? item.Cost * Math.Max(1, weight / item.Weight) / rate : 0;
        return TimeSpan.FromSeconds(Math.Clamp(seconds, s_retryMin.TotalSeconds, s_retryMax.TotalSeconds));
    }
}
