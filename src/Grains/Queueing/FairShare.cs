// Weighted fair sharing of workers of one kind between tenants: start-time fair queueing (Goyal, Vin and Cheng 1996)
// with steps, not pictures, as its packets. A tenant's virtual time is the cost of the work granted to it, divided by
// its weight. The tenant with the least virtual time is served next, whatever model it requests. A tenant that was idle
// starts at the virtual time of the waiting tenants: idle time earns neither credit nor debt.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;

namespace Atelier.Grains.Queueing;

/// <summary>A class of work: the requirements on a worker that may do it.</summary>
/// <param name="Model">The model.</param>
/// <param name="Kind">The kind of work.</param>
/// <param name="DeviceKind">The device kind that the work needs; null if any will do.</param>
/// <param name="Alone">Whether the worker may hold no other work.</param>
internal readonly record struct WorkClass(ModelDigest Model, WorkKind Kind, string? DeviceKind, bool Alone)
{
    /// <summary>The role that the worker needs.</summary>
    public WorkRoles Role => Kind.Role();

    /// <summary>The class of a work item.</summary>
    public static WorkClass Of(WorkItem item) => new(item.Model, item.Kind, item.DeviceKind, item.Alone);
}

/// <summary>The tenants' accounts with the workers of one kind, which decide whose work is next.</summary>
internal sealed class FairShare
{
    private readonly Dictionary<TenantId, TenantShare> _shares = [];
    private readonly Dictionary<int, TenantHeap> _heaps = [];
    private readonly Dictionary<(ModelDigest Model, bool Alone), List<int>> _classes = [];
    private readonly TenantHeap _waiting = new(TenantHeap.All);
    private readonly PriorityQueue<TenantShare, double> _idle = new();
    private double _virtual;
    private long _arrivals;

    /// <summary>Predicted operations of all work that waits for these workers.</summary>
    public double CostWaiting { get; private set; }

    /// <summary>Sum of the weights of all tenants that wait for these workers.</summary>
    public double WeightWaiting { get; private set; }

    /// <summary>Adds a class of work that these workers may do.</summary>
    public void Admit(int number, WorkClass workClass)
    {
        _heaps.Add(number, new TenantHeap(number));
        (ModelDigest Model, bool Alone) key = (workClass.Model, workClass.Alone);
        if (!_classes.TryGetValue(key, out List<int>? numbers))
        {
            _classes.Add(key, numbers = []);
        }

        numbers.Add(number);
    }

    /// <summary>Whether these workers may do work of the class with this number.</summary>
    public bool Serves(int number) => _heaps.ContainsKey(number);

    /// <summary>A tenant's account, which is opened if the tenant has none.</summary>
    public TenantShare Share(TenantWork work)
    {
        if (!_shares.TryGetValue(work.Tenant, out TenantShare? share))
        {
            _shares.Add(work.Tenant, share = new TenantShare(work));
        }

        // The tenant may have left the queue and returned.
        share.Work = work;
        return share;
    }

    /// <summary>Adds work of a tenant: an item that has begun to wait, or all items that wait in a lane.</summary>
    public void Add(TenantWork work, int number, int count, double cost)
    {
        TenantShare share = Share(work);
        if (share.Waiting == 0)
        {
            WeightWaiting += work.Weight;
            if (share.Virtual <= Virtual())
            {
                share.Virtual = _virtual;
                share.IsNew = share.Running == 0;
            }

            share.Since = ++_arrivals;
        }

        share.Waiting += count;
        CostWaiting += cost;
        _heaps[number].Set(share, true);
        _waiting.Set(share, true);
        Reorder(share);
    }

    /// <summary>Removes work that has left its lane.</summary>
    public void Remove(TenantWork work, int number, double cost)
    {
        TenantShare share = Share(work);
        CostWaiting -= cost;
        if (work.Lane(number) is null)
        {
            _heaps[number].Set(share, false);
        }

        if (--share.Waiting == 0)
        {
            Virtual();
            _waiting.Set(share, false);
            WeightWaiting = _waiting.Count == 0 ? 0 : WeightWaiting - work.Weight;
            CostWaiting = _waiting.Count == 0 ? 0 : CostWaiting;
        }
    }

    /// <summary>Charges a tenant for work that is granted.</summary>
    /// <param name="share">The tenant's account.</param>
    /// <param name="cost">Operations of the granted work.</param>
    /// <param name="isEncoding">
    /// Whether the work only encodes prompts; the tenant then remains a newcomer until its first step.
    /// </param>
    public void Charge(TenantShare share, double cost, bool isEncoding = false)
    {
        double now = Virtual();
        double start = share.Virtual;
        if (_waiting.Count == 0)
        {
            // While nobody waits there is no debt: virtual time follows the tenant that is served.
            start = Math.Max(start, now);
            _virtual = start;
        }

        share.Virtual = start + (cost / share.Work.Weight);
        share.IsNew &= isEncoding;
        if (share.Waiting > 0)
        {
            _waiting.Set(share, true);
            Reorder(share);
        }
    }

    /// <summary>
    /// Adjusts a tenant's account to a new weight. The tenant's lead over the waiting tenants stays the same in
    /// operations, so its lead in virtual time is rescaled.
    /// </summary>
    public void OnWeightChanged(TenantWork work, double before)
    {
        if (!_shares.TryGetValue(work.Tenant, out TenantShare? share))
        {
            return;
        }

        double now = Virtual();
        share.Virtual = share.Virtual <= now ? share.Virtual : now + ((share.Virtual - now) * before / work.Weight);
        if (share.Waiting > 0)
        {
            WeightWaiting += work.Weight - before;
            _waiting.Set(share, true);
            Reorder(share);
        }
    }

    /// <summary>The next work of a model; null if none waits.</summary>
    public WorkEntry? Next(ModelDigest model, bool alone)
    {
        WorkEntry? best = null;
        foreach (int number in _classes.GetValueOrDefault((model, alone)) ?? [])
        {
            if (_heaps[number].First?.Work.Lane(number)!.First is { } first && (best is null || IsBefore(first, best)))
            {
                best = first;
            }
        }

        return best;
    }

    /// <summary>Whether one waiting work item comes before another.</summary>
    public bool IsBefore(WorkEntry one, WorkEntry other) =>
        ReferenceEquals(one.Work, other.Work)
            ? one.Order.CompareTo(other.Order) < 0
            : Share(one.Work).IsBefore(Share(other.Work));

    /// <summary>Closes the accounts of tenants that have no work and are not ahead of the others.</summary>
    public void Leave(TenantWork work)
    {
        if (!_shares.TryGetValue(work.Tenant, out TenantShare? share))
        {
            return;
        }

        if (!share.IsLeaving && share.Waiting + share.Running == 0)
        {
            share.IsLeaving = true;
            _idle.Enqueue(share, share.Virtual);
        }

        double now = Virtual();
        while (_idle.TryPeek(out TenantShare? idle, out double at) && at <= now)
        {
            _idle.Dequeue();
            idle.IsLeaving = idle.Waiting + idle.Running == 0 && idle.Virtual > now;
            if (idle.IsLeaving)
            {
                _idle.Enqueue(idle, idle.Virtual);
            }
            else if (idle.Waiting + idle.Running == 0)
            {
                _shares.Remove(idle.Work.Tenant);
            }
        }
    }

    // The least virtual time among the tenants that wait; it never decreases.
    private double Virtual() => _virtual = Math.Max(_virtual, _waiting.First?.Virtual ?? 0);

    private void Reorder(TenantShare share)
    {
        foreach (int number in share.Work.Classes)
        {
            if (_heaps.TryGetValue(number, out TenantHeap? heap) && share.Place(number) >= 0)
            {
                heap.Set(share, true);
            }
        }
    }
}
