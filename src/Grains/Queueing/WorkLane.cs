// One tenant's waiting work of one class, in the order of acceptance. It is a treap: a search tree by order that is
// also a heap by pseudo-random priority, which keeps it shallow. Each node knows the count and the cost of its subtree,
// so finding the first item, or measuring the work ahead of any item, takes O(log n).

using Atelier.Contracts.Queueing;

namespace Atelier.Grains.Queueing;

/// <summary>The order of a tenant's work: by acceptance, then by arrival.</summary>
/// <param name="AcceptedAt">When its generation was accepted.</param>
/// <param name="Arrival">Number of its arrival in the queue, which is unique.</param>
internal readonly record struct WorkOrder(DateTimeOffset AcceptedAt, long Arrival) : IComparable<WorkOrder>
{
    public int CompareTo(WorkOrder other)
    {
        int byTime = AcceptedAt.CompareTo(other.AcceptedAt);
        return byTime != 0 ? byTime : Arrival.CompareTo(other.Arrival);
    }
}

/// <summary>A work item in the queue, waiting in a lane or leased to a worker.</summary>
internal sealed class WorkEntry(WorkItem item, TenantWork work, long arrival)
{
    /// <summary>The work of the tenant to which the item belongs.</summary>
    public TenantWork Work { get; } = work;

    /// <summary>The current state of the item.</summary>
    public WorkItem Item { get; set; } = item;

    /// <summary>The item's position in the order of its tenant's work.</summary>
    public WorkOrder Order { get; } = new(item.AcceptedAt, arrival);

    /// <summary>Operations of the whole request: its highest reported cost, plus the phases before it.</summary>
    public double RequestCost { get; set; } = item.Cost;

    /// <summary>Operations of one quantum.</summary>
    public double QuantumCost => Item.Cost / Item.Quanta;

    /// <summary>The account that is charged for the item while it is leased.</summary>
    public TenantShare? Share { get; set; }

    /// <summary>Class of the lane in which the item waits; -1 while it does not wait.</summary>
    public int Class { get; set; } = -1;

    /// <summary>Number of the item's lease; 0 while it is not leased.</summary>
    public long Lease { get; set; }

    /// <summary>Time from which any device kind may do the work; null if it was never restricted to one kind.</summary>
    public DateTimeOffset? AnyKindAt { get; set; }

    /// <summary>The worker that holds the item; null while it is not leased.</summary>
    public QueueWorker? Worker { get; set; }

    /// <summary>The pool of the worker at the time of the lease.</summary>
    public WorkerPool? Pool { get; set; }

    /// <summary>When the lease expires.</summary>
    public DateTimeOffset ExpiresAt { get; set; }

    /// <summary>Quanta granted, and charged, under the lease.</summary>
    public int Granted { get; set; }

    /// <summary>Quanta done under the lease.</summary>
    public int Done { get; set; }

    /// <summary>Whether the worker was instructed to park the item.</summary>
    public bool Parking { get; set; }

    // The entry's node in the treap while it waits.
    internal WorkEntry? Left, Right;
    internal int Count;
    internal double Cost;

    // SplitMix64 of the arrival number: a fixed priority that is unrelated to the order.
    internal ulong Priority { get; } = Mix((ulong)arrival);

    private static ulong Mix(ulong x)
    {
        x += 0x9e3779b97f4a7c15;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
        x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
        return x ^ (x >> 31);
    }
}

/// <summary>Waiting work of one tenant and class, in order.</summary>
internal sealed class WorkLane
{
    private WorkEntry? _root;

    /// <summary>Number of work items.</summary>
    public int Count => _root?.Count ?? 0;

    /// <summary>Sum of the items' predicted operations.</summary>
    public double Cost => _root?.Cost ?? 0;

    /// <summary>The first item; null if the lane is empty.</summary>
    public WorkEntry? First
    {
        get
        {
            WorkEntry? node = _root;
            while (node?.Left is not null)
            {
                node = node.Left;
            }

            return node;
        }
    }

    /// <summary>Inserts work by its order.</summary>
    public void Add(WorkEntry entry)
    {
        (entry.Left, entry.Right) = (null, null);
        (WorkEntry? before, WorkEntry? after) = Split(_root, entry.Order);
        _root = Merge(Merge(before, Measured(entry)), after);
    }

    /// <summary>Removes work.</summary>
    public void Remove(WorkEntry entry)
    {
        _root = Without(_root, entry);
        (entry.Left, entry.Right) = (null, null);
    }

    /// <summary>The number of work items before a position, and the sum of their costs.</summary>
    public (int Count, double Cost) Before(WorkOrder order)
    {
        (int count, double cost) = (0, 0);
        WorkEntry? node = _root;
        while (node is not null)
        {
            if (node.Order.CompareTo(order) < 0)
            {
                count += 1 + (node.Left?.Count ?? 0);
                cost += node.Item.Cost + (node.Left?.Cost ?? 0);
                node = node.Right;
            }
            else
            {
                node = node.Left;
            }
        }

        return (count, cost);
    }

    private static (WorkEntry? Before, WorkEntry? After) Split(WorkEntry? node, WorkOrder order)
    {
        if (node is null)
        {
            return (null, null);
        }

        if (node.Order.CompareTo(order) < 0)
        {
            (node.Right, WorkEntry? after) = Split(node.Right, order);
            return (Measured(node), after);
        }

        (WorkEntry? before, node.Left) = Split(node.Left, order);
        return (before, Measured(node));
    }

    private static WorkEntry? Merge(WorkEntry? before, WorkEntry? after)
    {
        if (before is null || after is null)
        {
            return before ?? after;
        }

        if (before.Priority > after.Priority)
        {
            before.Right = Merge(before.Right, after);
            return Measured(before);
        }

        after.Left = Merge(before, after.Left);
        return Measured(after);
    }

    private static WorkEntry? Without(WorkEntry? node, WorkEntry entry)
    {
        if (node is null)
        {
            throw new InvalidOperationException($"The work of {entry.Item.Generation} is not in this lane.");
        }

        if (ReferenceEquals(node, entry))
        {
            return Merge(node.Left, node.Right);
        }

        if (entry.Order.CompareTo(node.Order) < 0)
        {
            node.Left = Without(node.Left, entry);
        }
        else
        {
            node.Right = Without(node.Right, entry);
        }

        return Measured(node);
    }

    private static WorkEntry Measured(WorkEntry node)
    {
        node.Count = 1 + (node.Left?.Count ?? 0) + (node.Right?.Count ?? 0);
        node.Cost = node.Item.Cost + (node.Left?.Cost ?? 0) + (node.Right?.Cost ?? 0);
        return node;
    }
}
