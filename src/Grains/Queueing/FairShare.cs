// Weighted fair sharing of workers of one kind between tenants: start-time fair queueing (Goyal, Vin and Cheng 1996)
// with steps, not pictures, as its packets. A tenant's virtual time is what it was granted over its weight; the tenant
// with the least is served next, whatever model it asks for. One that comes from idleness starts at the virtual time of
// those who wait: it owes nothing for the time before, and is owed nothing.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;

namespace Atelier.Grains.Queueing;

/// <summary>A class of work: what a worker must be, and hold, to do it.</summary>
/// <param name="Model">The model.</param>
/// <param name="Kind">The kind of work.</param>
/// <param name="DeviceKind">The device kind that it needs; none if any will do.</param>
/// <param name="Alone">Whether its worker may hold nothing else.</param>
internal readonly record struct WorkClass(ModelDigest Model, WorkKind Kind, string? DeviceKind, bool Alone)
{
    /// <summary>The worker's role that it needs.</summary>
    public WorkRoles Role => Kind.Role();

    /// <summary>The class of a piece of work.</summary>
    public static WorkClass Of(WorkItem item) => new(item.Model, item.Kind, item.DeviceKind, item.Alone);
}

/// <summary>The accounts of tenants with workers of one kind, and whose work these may do next.</summary>
internal sealed class FairShare
{
    private readonly Dictionary<TenantId, TenantShare> _shares = [];
    private readonly Dictionary<int, TenantHeap> _heaps = [];
    private readonly Dictionary<(ModelDigest Model, bool Alone), List<int>> _classes = [];
    private readonly TenantHeap _waiting = new(TenantHeap.All);
    private readonly PriorityQueue<TenantShare, double> _idle = new();
    private double _virtual;
    private long _comers;

    /// <summary>Predicted operations of all that waits for these workers.</summary>
    public double CostWaiting { get; private set; }

    /// <summary>Weights of all tenants that wait for them.</summary>
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

    /// <summary>Whether these workers may do work of a class.</summary>
    public bool Serves(int number) => _heaps.ContainsKey(number);

    /// <summary>A tenant's account.</summary>
    public TenantShare Share(TenantWork work)
    {
        if (!_shares.TryGetValue(work.Tenant, out TenantShare? share))
        {
            _shares.Add(work.Tenant, share = new TenantShare(work));
        }

        // The tenant may have left the queue and come back.
        share.Work = work;
        return share;
    }

    /// <summary>Takes in work of a tenant that has just begun to wait, or all that waits in one of its lanes.</summary>
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

            share.Since = ++_comers;
        }

        share.Waiting += count;
        CostWaiting += cost;
        _heaps[number].Set(share, true);
        _waiting.Set(share, true);
        Reorder(share);
    }

    /// <summary>Takes out work that has left its lane.</summary>
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
    public void Charge(TenantShare share, double cost)
    {
        double now = Virtual();
        double start = share.Virtual;
        if (_waiting.Count == 0)
        {
            // While nobody waits, nobody owes: time runs with whoever is served.
            start = Math.Max(start, now);
            _virtual = start;
        }

        share.Virtual = start + (cost / share.Work.Weight);
        share.IsNew = false;
        if (share.Waiting > 0)
        {
            _waiting.Set(share, true);
            Reorder(share);
        }
    }

    /// <summary>
    /// A tenant's weight has changed. What it was granted more than those who wait stays the same, so that over the new
    /// weight it is another lead in virtual time.
    /// </summary>
    public void Weigh(TenantWork work, double before)
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

    /// <summary>The work of a model to be done next; null if none waits.</summary>
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

    /// <summary>Whether one piece of waiting work is to be done before another.</summary>
    public bool IsBefore(WorkEntry one, WorkEntry other) =>
        ReferenceEquals(one.Work, other.Work)
            ? one.Order.CompareTo(other.Order) < 0
            : Share(one.Work).IsBefore(Share(other.Work));

    /// <summary>Forgets tenants that have no work and are not ahead of the others.</summary>
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

    // The least virtual time among those who wait; it never runs back.
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
