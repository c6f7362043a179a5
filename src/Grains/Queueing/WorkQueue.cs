// The queue of a cluster as a pure protocol: messages and the time in, answers out. Its state is only in memory, for it
// only orders work; what must not be lost is the generations' own, and an empty queue is filled again by asking them.
// It holds the work of all models, so that a tenant has one share whatever it asks for, and decides when a worker
// changes to another model.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Tenants;

namespace Atelier.Grains.Queueing;

/// <summary>Who does what next.</summary>
public sealed class WorkQueue
{
    private static readonly TimeSpan s_retryMin = TimeSpan.FromSeconds(1), s_retryMax = TimeSpan.FromMinutes(1);

    private readonly WorkQueueOptions _options;
    private readonly Dictionary<WorkClass, int> _classes = [];
    private readonly Dictionary<WorkerKind, WorkerPool> _pools = [];
    private readonly Dictionary<GenerationKey, WorkEntry> _entries = [];
    private readonly Dictionary<TenantId, TenantWork> _tenants = [];
    private readonly Dictionary<string, QueueWorker> _workers = new(StringComparer.Ordinal);
    private readonly Dictionary<string, List<WorkEntry>> _kept = new(StringComparer.Ordinal);
    private readonly Dictionary<GenerationKey, WorkKind> _ended = [];
    private readonly Queue<(GenerationKey Generation, DateTimeOffset At)> _endings = new();
    private readonly PriorityQueue<WorkEntry, DateTimeOffset> _expiries = new();
    private readonly PriorityQueue<WorkEntry, DateTimeOffset> _anyKind = new();
    private readonly PriorityQueue<QueueWorker, DateTimeOffset> _silences = new();
    private readonly Dictionary<ModelDigest, Pace> _paces = [];
    private long _lease;
    private long _arrival;
    private int _waiting;
    private int _leased;
    private int _emptying;
    private double _costWaiting;
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
        Weigh(item.Generation.Tenant, new TenantWeight(item.Weight, item.WeightVersion));
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
            return new OfferAnswer(OfferOutcome.QueueFull, null, RetryAfter(item, now));
        }
        else if (!admitted && _tenants.GetValueOrDefault(item.Generation.Tenant)?.Count >= _options.TenantSizeMax)
        {
            return new OfferAnswer(OfferOutcome.TenantFull, null, RetryAfter(item, now));
        }

        WorkEntry entry = Enter(item);
        entry.RequestCost += known?.RequestCost ?? 0;
        KeepOrWait(entry, item, now);
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
        ModelDigest? load = Change(worker, [.. held.OfType<WorkEntry>(), .. leased.Select(Entry)], turn.LoadAge);
        Spared(worker, worker.Emptying || worker.HeldAlone > 0 ? 0 : turn.Free - leased.Count, load ?? worker.Loading);
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

    /// <summary>A tenant's weight has changed: it holds from now on, for what waits too.</summary>
    public void Weigh(TenantId tenant, TenantWeight weight)
    {
        if (!_tenants.TryGetValue(tenant, out TenantWork? work) || weight.Version <= work.WeightVersion)
        {
            return;
        }

        double before = work.Weight;
        (work.Weight, work.WeightVersion) = (weight.Weight, weight.Version);
        foreach (WorkerPool pool in _pools.Values)
        {
            pool.Shares.Weigh(work, before);
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

        (int count, double cost) = (0, 0);
        foreach (WorkLane lane in entry.Work.Lanes)
        {
            (int ahead, double costAhead) = lane.Before(entry.Order);
            (count, cost) = (count + ahead, cost + costAhead);
        }

        (double rate, double all, double weights) = Competition(entry.Item, now);
        double wanted = Math.Min(all, cost * weights / entry.Work.Weight);
        TimeSpan? wait = rate > 0 ? TimeSpan.FromSeconds(Math.Min(wanted / rate, 1e9)) : null;
        return new QueuePlace(count, HasSpare(entry.Item) && count == 0 ? TimeSpan.Zero : wait);
    }

    /// <summary>How full the queue is.</summary>
    public QueueStatus Status(DateTimeOffset now) => new(
        _entries.Count - _leased, _leased, _tenants.Count, _costWaiting, _paces.Values.Sum(pace => pace.At(now)));

    /// <summary>How full the queue is with work of one model.</summary>
    public QueueStatus Status(ModelDigest model, DateTimeOffset now)
    {
        var tenants = new HashSet<TenantId>();
        (int waiting, int leased, double cost) = (0, 0, 0);
        foreach (WorkEntry entry in _entries.Values.Where(entry => entry.Item.Model == model))
        {
            tenants.Add(entry.Work.Tenant);
            leased += entry.Lease != 0 ? 1 : 0;
            waiting += entry.Lease == 0 ? 1 : 0;
            cost += entry.Class >= 0 ? entry.Item.Cost : 0;
        }

        return new QueueStatus(
            waiting, leased, tenants.Count, cost, _paces.TryGetValue(model, out Pace? pace) ? pace.At(now) : 0);
    }

    /// <summary>
    /// Workers that have slots left and may do an item's work, those that hold its model first.
    /// </summary>
    public IEnumerable<string> SpareWorkers(WorkItem item)
    {
        var work = WorkClass.Of(item);
        return _workers.Values
            .Where(worker => worker.Spare > 0 && worker.Pool!.Fits(work))
            .OrderByDescending(worker => worker.Models.Contains(new WorkerModel(item.Model, ModelPlace.Loaded)))
            .Select(worker => worker.Name);
    }

    /// <summary>
    /// A busy worker that would park other work for an item if it took a turn now; null unless it is a newcomer's.
    /// </summary>
    public string? BusyWorker(WorkItem item)
    {
        var work = WorkClass.Of(item);
        var model = new WorkerModel(item.Model, ModelPlace.Loaded);
        return _entries.TryGetValue(item.Generation, out WorkEntry? entry) && entry.Class >= 0
            ? _workers.Values.FirstOrDefault(worker => worker is { Held: > 0, HeldAlone: 0, Emptying: false }
                && worker.Pool!.Fits(work) && worker.Models.Contains(model) && IsNew(worker, entry))?.Name
            : null;
    }

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
                // What its worker had reported may not be stored, so all of it waits again. The wait starts now: the
                // worker may have brought a time from a queue whose clock differs.
                Wait(entry, Timed(entry.Item, null, now));
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
                Spared(worker, 0, null);
                Emptied(worker, false);
                worker.Pool!.Count(worker, -1);
                Move(worker, null);
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

        worker.Pool?.Count(worker, -1);
        if (!IsOfKind(worker, turn))
        {
            Move(worker, PoolOf(turn));
        }

        (worker.Models, worker.Spare, worker.SeenAt) = (turn.Models, 0, now);
        worker.Loading = turn.Models.Where(model => model.Place == ModelPlace.Loading)
            .Select(model => (ModelDigest?)model.Model).FirstOrDefault();
        worker.Pool!.Count(worker, 1);
        return worker;
    }

    private static bool IsOfKind(QueueWorker worker, WorkerTurn turn) =>
        worker.Pool?.Kind is { } kind && kind.Roles == turn.Roles && kind.DeviceKind == turn.DeviceKind
        && worker.Models.Select(model => model.Model).SequenceEqual(turn.Models.Select(model => model.Model));

    // Workers of one kind. One that is new takes in all that waits for it: nobody owes anything there.
    private WorkerPool PoolOf(WorkerTurn turn)
    {
        ModelDigest[] models = [.. turn.Models.Select(model => model.Model).Distinct()];
        string names = string.Join(' ', models.Select(model => model.Value).Order(StringComparer.Ordinal));
        var kind = new WorkerKind(turn.Roles, turn.DeviceKind, names);
        if (!_pools.TryGetValue(kind, out WorkerPool? pool))
        {
            _pools.Add(kind, pool = new WorkerPool(kind, models));
            foreach ((WorkClass work, int number) in _classes.Where(one => pool.Fits(one.Key)))
            {
                pool.Shares.Admit(number, work);
            }

            foreach (TenantWork work in _tenants.Values)
            {
                foreach (int number in work.Classes.Where(pool.Shares.Serves))
                {
                    pool.Shares.Add(work, number, work.Lane(number)!.Count, work.Lane(number)!.Cost);
                }
            }
        }

        return pool;
    }

    private void Move(QueueWorker worker, WorkerPool? pool)
    {
        WorkerPool? old = worker.Pool;
        worker.Pool = pool;
        if (pool is not null)
        {
            pool.Workers++;
        }

        if (old is not null && --old.Workers == 0)
        {
            _pools.Remove(old.Kind);
        }
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
        if (entry.Lease != 0 && entry.Item.Alone && !held.Item.Alone)
        {
            // Its next snapshot is stored: it is ordinary work from now on.
            entry.Worker!.HeldAlone--;
            entry.Item = entry.Item with { Alone = false };
        }

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
        bool aloneFirst = alone is not null && (company is null || worker.Pool!.Shares.IsBefore(alone, company));
        return (aloneFirst ? alone : company) is { } next ? Lease(next, worker, now) : null;
    }

    // Where all workers are busy, one at a time hands back what it holds when work that must run alone is next.
    private void Empty(QueueWorker worker)
    {
        WorkEntry? alone = worker.Held > 0 && worker.HeldAlone == 0 ? Next(worker, alone: true) : null;
        bool isNext = alone is not null
            && (Next(worker, alone: false) is not { } company || worker.Pool!.Shares.IsBefore(alone, company));
        if (!isNext)
        {
            Emptied(worker, false);
        }
        else if (_emptying == 0 && !IsIdle(WorkClass.Of(alone!.Item), isLoaded: true))
        {
            Emptied(worker, true);
        }
    }

    // Whether a worker that holds nothing may do work of a class.
    private bool IsIdle(WorkClass work, bool isLoaded) => _workers.Values.Any(
        worker => worker.Held == 0 && worker.Spare > 0 && worker.Pool!.Fits(work)
            && (!isLoaded || worker.Models.Contains(new WorkerModel(work.Model, ModelPlace.Loaded))));

    // The model whose work is to be done next, if this worker should load it: at once if it holds nothing; else when a
    // newcomer waits that nobody else can serve, or when it serves one that is a request ahead of another that waits.
    // What it has loaded stays for a while, so that loads do not eat up its time. One worker at a time loads a model.
    private ModelDigest? Change(QueueWorker worker, List<WorkEntry> hands, double? age)
    {
        if (worker.Loading is not null || worker.Emptying || worker.HeldAlone > 0)
        {
            return null;
        }

        FairShare shares = worker.Pool!.Shares;
        (WorkEntry Entry, ModelPlace Place)? best = null;
        foreach ((ModelDigest model, ModelPlace place) in worker.Models)
        {
            WorkEntry? next = place == ModelPlace.Loaded
                ? null
                : First(shares, shares.Next(model, alone: false), shares.Next(model, alone: true));
            if (next is not null && !IsSupplied(next.Item, supply => supply.Loading + supply.Spare)
                && (best is null || shares.IsBefore(next, best.Value.Entry)))
            {
                best = (next, place);
            }
        }

        if (best is not { } other || hands.Count == 0)
        {
            return best?.Entry.Item.Model;
        }

        double kept = shares.Share(other.Entry.Work).IsNew ? _options.LoadsKept / 2 : _options.LoadsKept;
        bool isHeld = IsSupplied(other.Entry.Item, supply => supply.Workers);
        bool changes = (other.Place == ModelPlace.Beside || age is null || age >= kept)
            && hands.Exists(entry => Leads(shares, entry, other.Entry, isHeld))
            && !IsIdle(WorkClass.Of(other.Entry.Item), isLoaded: false);
        return changes ? other.Entry.Item.Model : null;
    }

    // Whether work goes on that should leave its worker to work of another model. Where that model is in memory
    // elsewhere, a newcomer is served there.
    private bool Leads(FairShare shares, WorkEntry entry, WorkEntry other, bool isHeld)
    {
        (TenantShare served, TenantShare waiting) = (shares.Share(entry.Work), shares.Share(other.Work));
        double request = (1 + _options.Slack) * entry.RequestCost;
        return ReferenceEquals(served, waiting) ? !isHeld && other.Order.CompareTo(entry.Order) < 0
            : waiting.IsNew ? !isHeld && served.Virtual >= waiting.Virtual
            : served.Virtual - waiting.Virtual > request / Math.Max(served.Work.Weight, waiting.Work.Weight);
    }

    private void Emptied(QueueWorker worker, bool emptying)
    {
        if (worker.Emptying != emptying)
        {
            worker.Emptying = emptying;
            _emptying += emptying ? 1 : -1;
        }
    }

    private static void Spared(QueueWorker worker, int spare, ModelDigest? loading)
    {
        worker.Pool!.Count(worker, -1);
        (worker.Spare, worker.Loading) = (spare, loading);
        worker.Pool!.Count(worker, 1);
    }

    private WorkVerdict Decide(
        QueueWorker worker, WorkEntry? entry, List<LeasedWork> leased, bool hasRoom, bool changes, DateTimeOffset now)
    {
        if (entry is null)
        {
            return WorkVerdict.Stop;
        }

        if (entry.Parking)
        {
            return WorkVerdict.Park;
        }

        // Within a step it yields to a newcomer only, and only after it has done a step here. Work in quarantine
        // becomes ordinary work, which may be parked for others, once its next snapshot is stored.
        WorkEntry? other = worker.HeldAlone > 0 || !hasRoom || changes ? null : Next(worker, alone: false);
        bool isWithin = entry.Done < entry.Granted || (entry.Item.Alone && entry.Done > 0);
        bool yields = entry.Done > 0 && other is not null && IsNew(worker, other);
        if (entry.Done >= entry.Item.Quanta || (isWithin && !yields))
        {
            Grant(entry, entry.Done, now);
            return WorkVerdict.Continue;
        }

        if (changes)
        {
            // The worker parks what it makes room with; the rest is charged when it has gone on.
            return WorkVerdict.Continue;
        }

        if (worker.Emptying)
        {
            entry.Parking = true;
            return WorkVerdict.Park;
        }

        if (other is not null && !HasSpare(other.Item) && IsOverserved(worker.Pool!.Shares, entry, other))
        {
            entry.Parking = true;
            leased.Add(Lease(other, worker, now));
            return WorkVerdict.Park;
        }

        Grant(entry, isWithin ? entry.Done : entry.Done + 1, now);
        return WorkVerdict.Continue;
    }

    private static bool IsNew(QueueWorker worker, WorkEntry entry) => worker.Pool!.Shares.Share(entry.Work).IsNew;

    // A newcomer does not wait for the slack to be used up, nor for the turn after the step: it is served at its end.
    private bool IsOverserved(FairShare shares, WorkEntry entry, WorkEntry other)
    {
        (TenantShare served, TenantShare waiting) = (shares.Share(entry.Work), shares.Share(other.Work));
        double slack = waiting.IsNew
            ? 0
            : _options.Slack * entry.RequestCost / Math.Max(served.Work.Weight, waiting.Work.Weight);
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
        (entry.Pool, entry.Share) = (worker.Pool, worker.Pool!.Shares.Share(entry.Work));
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
            entry.Pool!.Shares.Charge(entry.Share!, cost);
            entry.Pool.Pace.Add(cost, now);
            if (!_paces.TryGetValue(entry.Item.Model, out Pace? pace))
            {
                _paces.Add(entry.Item.Model, pace = new Pace());
            }

            pace.Add(cost, now);
            Granting?.Invoke(entry.Item.Generation.Tenant, cost);
        }
    }

    private WorkEntry Enter(WorkItem item)
    {
        if (!_tenants.TryGetValue(item.Generation.Tenant, out TenantWork? work))
        {
            work = new TenantWork(item.Generation.Tenant) { Weight = item.Weight, WeightVersion = item.WeightVersion };
            _tenants.Add(work.Tenant, work);
        }

        Weigh(work.Tenant, new TenantWeight(item.Weight, item.WeightVersion));

        var entry = new WorkEntry(item, work, ++_arrival);
        _entries.Add(item.Generation, entry);
        work.Count++;
        return entry;
    }

    private void Wait(WorkEntry entry, WorkItem item)
    {
        Unwait(entry);
        Unhold(entry);
        entry.Item = item;
        entry.RequestCost = Math.Max(entry.RequestCost, item.Cost);
        entry.Class = ClassOf(item);
        entry.Work.Add(entry);
        (_waiting, _costWaiting) = (_waiting + 1, _costWaiting + item.Cost);
        foreach (WorkerPool pool in _pools.Values.Where(pool => pool.Shares.Serves(entry.Class)))
        {
            pool.Shares.Add(entry.Work, entry.Class, 1, item.Cost);
        }

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
        if (entry.Class < 0)
        {
            return;
        }

        entry.Work.Remove(entry);
        _costWaiting = --_waiting == 0 ? 0 : _costWaiting - entry.Item.Cost;
        foreach (WorkerPool pool in _pools.Values.Where(pool => pool.Shares.Serves(entry.Class)))
        {
            pool.Shares.Remove(entry.Work, entry.Class, entry.Item.Cost);
        }

        entry.Class = -1;
    }

    private int ClassOf(WorkItem item)
    {
        var work = WorkClass.Of(item);
        if (!_classes.TryGetValue(work, out int number))
        {
            _classes.Add(work, number = _classes.Count);
            foreach (WorkerPool pool in _pools.Values.Where(pool => pool.Fits(work)))
            {
                pool.Shares.Admit(number, work);
            }
        }

        return number;
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
        _entries.Remove(entry.Item.Generation);
        if (--entry.Work.Count == 0)
        {
            _tenants.Remove(entry.Work.Tenant);
        }

        foreach (WorkerPool pool in _pools.Values)
        {
            pool.Shares.Leave(entry.Work);
        }
    }

    private bool Has(WorkEntry entry) =>
        _entries.TryGetValue(entry.Item.Generation, out WorkEntry? known) && ReferenceEquals(known, entry);

    private WorkEntry Entry(LeasedWork leased) => _entries[leased.Item.Generation];

    // The work to be done next, of the models that the worker has in memory.
    private static WorkEntry? Next(QueueWorker worker, bool alone)
    {
        WorkEntry? best = null;
        foreach ((ModelDigest model, ModelPlace place) in worker.Models)
        {
            if (place == ModelPlace.Loaded)
            {
                best = First(worker.Pool!.Shares, best, worker.Pool!.Shares.Next(model, alone));
            }
        }

        return best;
    }

    private static WorkEntry? First(FairShare shares, WorkEntry? one, WorkEntry? other) =>
        one is null || (other is not null && shares.IsBefore(other, one)) ? other : one;

    private bool HasSpare(WorkItem item) => IsSupplied(item, supply => supply.Spare);

    private bool IsSupplied(WorkItem item, Func<ModelSupply, int> count)
    {
        var work = WorkClass.Of(item);
        foreach (WorkerPool pool in _pools.Values)
        {
            if (pool.Fits(work) && count(pool.Supply(item.Model)) > 0)
            {
                return true;
            }
        }

        return false;
    }

    // What a piece of work waits for and with: the pace of the workers that may do it, and all that waits for them.
    private (double Rate, double Cost, double Weights) Competition(WorkItem item, DateTimeOffset now)
    {
        var work = WorkClass.Of(item);
        (double rate, double cost, double weights) = (0, 0, 0);
        foreach (WorkerPool pool in _pools.Values.Where(pool => pool.Fits(work)))
        {
            rate += pool.Pace.At(now);
            (cost, weights) = (Math.Max(cost, pool.Shares.CostWaiting), Math.Max(weights, pool.Shares.WeightWaiting));
        }

        return (rate, cost, weights);
    }

    private TimeSpan RetryAfter(WorkItem item, DateTimeOffset now)
    {
        (double rate, _, double weights) = Competition(item, now);
        double seconds = rate > 0 ? item.Cost * Math.Max(1, weights / item.Weight) / rate : 0;
        return TimeSpan.FromSeconds(Math.Clamp(seconds, s_retryMin.TotalSeconds, s_retryMax.TotalSeconds));
    }
}
