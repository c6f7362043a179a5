// Weighted fair sharing of one pool of workers between tenants: start-time fair queueing (Goyal, Vin and Cheng 1996)
// with steps, not pictures, as its packets. A tenant's virtual time is what it was granted over its weight; the tenant
// with the least is served next. One that comes from idleness starts at the virtual time of those who wait: it owes
// nothing for the time before, and is owed nothing.
using Atelier.Contracts;

namespace Atelier.Grains.Queueing;

/// <summary>A class of work: what a worker must be to do it.</summary>
/// <param name="Kind">The kind of work.</param>
/// <param name="DeviceKind">The device kind that it needs; none if any will do.</param>
/// <param name="Alone">Whether its worker may hold nothing else.</param>
internal readonly record struct WorkClass(WorkKind Kind, string? DeviceKind, bool Alone);

/// <summary>The tenants of one pool, and their waiting work.</summary>
internal sealed class FairShare
{
    private readonly Dictionary<TenantId, TenantShare> _shares = [];
    private readonly Dictionary<WorkClass, int> _classes = [];
    private readonly List<TenantHeap> _heaps = [];
    private readonly TenantHeap _waiting = new(0);
    private readonly PriorityQueue<TenantShare, double> _idle = new();
    private double _virtual;
    private long _comers;

    /// <summary>Tenants known: those with work, and those that are still ahead of the others.</summary>
    public int Count => _shares.Count;

    /// <summary>Predicted operations of all that waits.</summary>
    public double CostWaiting { get; private set; }

    /// <summary>Weights of all tenants that wait.</summary>
    public double WeightWaiting { get; private set; }

    /// <summary>A tenant's account.</summary>
    public TenantShare Share(TenantId tenant)
    {
        if (!_shares.TryGetValue(tenant, out TenantShare? share))
        {
            _shares.Add(tenant, share = new TenantShare(tenant));
        }

        return share;
    }

    /// <summary>Lets work wait.</summary>
    public void Add(WorkEntry entry)
    {
        TenantShare share = entry.Share = Share(entry.Item.Generation.Tenant);
        if (share.Waiting++ == 0)
        {
            share.Weight = entry.Item.Weight;
            WeightWaiting += share.Weight;
            if (share.Virtual <= Virtual())
            {
                share.Virtual = _virtual;
                share.IsNew = share.Running == 0;
            }

            share.Since = ++_comers;
        }

        CostWaiting += entry.Item.Cost;
        entry.Class = ClassOf(entry.Item);
        share.Lane(entry.Class).Add(entry);
        _waiting.Set(share, true);
        Reorder(share);
    }

    /// <summary>Takes work out of its lane.</summary>
    public void Remove(WorkEntry entry)
    {
        TenantShare share = entry.Share!;
        share.Lane(entry.Class).Remove(entry);
        CostWaiting -= entry.Item.Cost;
        if (share.Lane(entry.Class).Count == 0)
        {
            _heaps[entry.Class].Set(share, false);
        }

        entry.Class = -1;
        if (--share.Waiting == 0)
        {
            Virtual();
            _waiting.Set(share, false);
            WeightWaiting = _waiting.Count == 0 ? 0 : WeightWaiting - share.Weight;
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

        share.Virtual = start + (cost / share.Weight);
        share.IsNew = false;
        if (share.Waiting > 0)
        {
            _waiting.Set(share, true);
            Reorder(share);
        }
    }

    /// <summary>The work to be done next by a worker, of those classes that it may do; none if none waits.</summary>
    public WorkEntry? Next(WorkRoles roles, string deviceKind, bool alone)
    {
        WorkEntry? best = null;
        foreach ((WorkClass workClass, int number) in _classes)
        {
            bool fits = workClass.Alone == alone && roles.HasFlag(RoleOf(workClass.Kind))
                && (workClass.DeviceKind is null || workClass.DeviceKind == deviceKind);
            if (fits && _heaps[number].First is { } share && share.Lane(number).First is { } first
                && (best is null || IsBefore(first, best)))
            {
                best = first;
            }
        }

        return best;
    }

    /// <summary>Whether one piece of waiting work is to be done before another.</summary>
    public static bool IsBefore(WorkEntry one, WorkEntry other) =>
        ReferenceEquals(one.Share, other.Share)
            ? one.Order.CompareTo(other.Order) < 0
            : one.Share!.IsBefore(other.Share!);

    /// <summary>Forgets tenants that have no work and are not ahead of the others.</summary>
    public void Leave(TenantShare share)
    {
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
                _shares.Remove(idle.Tenant);
            }
        }
    }

    /// <summary>The worker's role that a kind of work needs.</summary>
    public static WorkRoles RoleOf(WorkKind kind) => (WorkRoles)(1 << (int)kind);

    // The least virtual time among those who wait; it never runs back.
    private double Virtual() => _virtual = Math.Max(_virtual, _waiting.First?.Virtual ?? 0);

    private void Reorder(TenantShare share)
    {
        for (int number = 0; number < share.Lanes.Count; number++)
        {
            if (share.Lanes[number].Count > 0)
            {
                _heaps[number].Set(share, true);
            }
        }
    }

    private int ClassOf(WorkItem item)
    {
        var workClass = new WorkClass(item.Kind, item.DeviceKind, item.Alone);
        if (!_classes.TryGetValue(workClass, out int number))
        {
            number = _heaps.Count;
            _classes.Add(workClass, number);
            _heaps.Add(new TenantHeap(number + 1));
        }

        return number;
    }
}
