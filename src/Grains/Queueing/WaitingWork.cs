// Waiting work by tenant and class, and the pools of workers that may do it.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Tenants;

namespace Atelier.Grains.Queueing;

/// <summary>Tenants with work in the queue, their waiting work, and their accounts with each pool of workers.</summary>
internal sealed class WaitingWork
{
    private readonly Dictionary<WorkClass, int> _classes = [];
    private readonly Dictionary<WorkerKind, WorkerPool> _pools = [];
    private readonly Dictionary<TenantId, TenantWork> _tenants = [];
    private readonly Dictionary<WorkKind, int> _kinds = [];
    private readonly Dictionary<ModelDigest, (int Count, double Cost)> _models = [];
    private int _count;

    /// <summary>Predicted operations of all waiting work.</summary>
    public double Cost { get; private set; }

    /// <summary>Tenants that have work in the queue, waiting or leased.</summary>
    public int TenantCount => _tenants.Count;

    /// <summary>
    /// Work that waits for each model, if any: the number of items, and their predicted operations with all later
    /// phases.
    /// </summary>
    public IReadOnlyDictionary<ModelDigest, (int Count, double Cost)> Models => _models;

    /// <summary>A tenant's work items in the queue, waiting or leased.</summary>
    public int CountOf(TenantId tenant) => _tenants.GetValueOrDefault(tenant)?.Count ?? 0;

    /// <summary>Work items of a kind that wait.</summary>
    public int CountOf(WorkKind kind) => _kinds.GetValueOrDefault(kind);

    /// <summary>Counts a new work item for its tenant.</summary>
    public TenantWork Enter(WorkItem item)
    {
        TenantId tenant = item.Generation.Tenant;
        if (!_tenants.TryGetValue(tenant, out TenantWork? work))
        {
            work = new TenantWork(tenant) { Weight = item.Weight, WeightVersion = item.WeightVersion };
            _tenants.Add(tenant, work);
        }

        SetWeight(tenant, new TenantWeight(item.Weight, item.WeightVersion));
        work.Count++;
        return work;
    }

    /// <summary>Stops counting a work item for its tenant.</summary>
    public void Leave(TenantWork work)
    {
        if (--work.Count == 0)
        {
            _tenants.Remove(work.Tenant);
        }

        foreach (WorkerPool pool in _pools.Values)
        {
            pool.Shares.Leave(work);
        }
    }

    /// <summary>Adds work to its lane.</summary>
    public void Add(WorkEntry entry)
    {
        entry.Class = ClassOf(entry.Item);
        entry.Work.Add(entry);
        (_count, Cost) = (_count + 1, Cost + entry.Item.Cost);
        _kinds[entry.Item.Kind] = CountOf(entry.Item.Kind) + 1;
        CountForModel(entry.Item, 1);
        foreach (WorkerPool pool in _pools.Values.Where(pool => pool.Shares.Serves(entry.Class)))
        {
            pool.Shares.Add(entry.Work, entry.Class, 1, entry.Item.Cost);
        }
    }

    /// <summary>Removes work from its lane, if it is in one.</summary>
    public void Remove(WorkEntry entry)
    {
        if (entry.Class < 0)
        {
            return;
        }

        entry.Work.Remove(entry);
        Cost = --_count == 0 ? 0 : Cost - entry.Item.Cost;
        _kinds[entry.Item.Kind]--;
        CountForModel(entry.Item, -1);
        foreach (WorkerPool pool in _pools.Values.Where(pool => pool.Shares.Serves(entry.Class)))
        {
            pool.Shares.Remove(entry.Work, entry.Class, entry.Item.Cost);
        }

        entry.Class = -1;
    }

    /// <summary>Applies a tenant's weight, also to waiting work, unless a later version was applied.</summary>
    public void SetWeight(TenantId tenant, TenantWeight weight)
    {
        if (!_tenants.TryGetValue(tenant, out TenantWork? work) || weight.Version <= work.WeightVersion)
        {
            return;
        }

        double before = work.Weight;
        (work.Weight, work.WeightVersion) = (weight.Weight, weight.Version);
        foreach (WorkerPool pool in _pools.Values)
        {
            pool.Shares.OnWeightChanged(work, before);
        }
    }

    /// <summary>Whether any pool may do an item's work and has a positive count for the item's model.</summary>
    public bool IsSupplied(WorkItem item, Func<ModelSupply, int> count)
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

    /// <summary>Whether a worker with an item's model in memory has a spare slot.</summary>
    public bool HasSpare(WorkItem item) => IsSupplied(item, supply => supply.Spare);

    /// <summary>
    /// The competition for workers: operations per second of the workers that may do an item, and the operations and
    /// weights of all work that waits for them.
    /// </summary>
    public (double Rate, double Cost, double Weights) Competition(WorkItem item, DateTimeOffset now)
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

    /// <summary>Moves a worker to the pool of its kind.</summary>
    public void Join(QueueWorker worker, WorkerTurn turn) => Move(worker, PoolOf(turn));

    /// <summary>Removes a worker from its pool.</summary>
    public void Leave(QueueWorker worker) => Move(worker, null);

    private void CountForModel(WorkItem item, int sign)
    {
        (int count, double cost) = _models.GetValueOrDefault(item.Model);
        _models[item.Model] = (count + sign, cost + (sign * (item.Cost + item.CostAfter)));
        if (count + sign == 0)
        {
            _models.Remove(item.Model);
        }
    }

    // A new pool starts with all waiting work that its workers may do, and with equal accounts.
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
}
