// A tenant's waiting work, its account with the workers of one kind, and a heap of tenants, the least served one first.
using Atelier.Contracts;

namespace Atelier.Grains.Queueing;

/// <summary>A tenant in the queue: its weight, and its waiting work by class.</summary>
internal sealed class TenantWork(TenantId tenant)
{
    private readonly Dictionary<int, WorkLane> _lanes = [];

    /// <summary>The tenant.</summary>
    public TenantId Tenant { get; } = tenant;

    /// <summary>The tenant's share relative to other tenants.</summary>
    public double Weight { get; set; } = 1;

    /// <summary>Version of the weight; a later change has a higher one.</summary>
    public long WeightVersion { get; set; }

    /// <summary>Number of the tenant's work items in the queue, waiting or leased.</summary>
    public int Count { get; set; }

    /// <summary>Numbers of the classes with waiting work.</summary>
    public IReadOnlyCollection<int> Classes => _lanes.Keys;

    /// <summary>The tenant's waiting work, one lane for each class.</summary>
    public IEnumerable<WorkLane> Lanes => _lanes.Values;

    /// <summary>The tenant's waiting work of a class; null if no work of it waits.</summary>
    public WorkLane? Lane(int number) => _lanes.GetValueOrDefault(number);

    /// <summary>Adds work to its lane.</summary>
    public void Add(WorkEntry entry)
    {
        if (!_lanes.TryGetValue(entry.Class, out WorkLane? lane))
        {
            _lanes.Add(entry.Class, lane = new WorkLane());
        }

        lane.Add(entry);
    }

    /// <summary>Removes work from its lane.</summary>
    public void Remove(WorkEntry entry)
    {
        WorkLane lane = _lanes[entry.Class];
        lane.Remove(entry);
        if (lane.Count == 0)
        {
            _lanes.Remove(entry.Class);
        }
    }
}

/// <summary>A tenant's account with workers of one kind.</summary>
internal sealed class TenantShare(TenantWork work)
{
    private readonly Dictionary<int, int> _places = [];

    /// <summary>The tenant.</summary>
    public TenantWork Work { get; set; } = work;

    /// <summary>Operations granted, over the weight: virtual time.</summary>
    public double Virtual { get; set; }

    /// <summary>Number of the tenant's latest arrival; ties in virtual time go to the most recent arrival.</summary>
    public long Since { get; set; }

    /// <summary>
    /// Whether the tenant is a newcomer: it was idle, and has been granted nothing but encodings since.
    /// </summary>
    public bool IsNew { get; set; }

    /// <summary>Number of the tenant's work items that wait for these workers.</summary>
    public int Waiting { get; set; }

    /// <summary>Number of the tenant's work items that are leased to these workers.</summary>
    public int Running { get; set; }

    /// <summary>Whether the account will be closed once the other tenants have caught up.</summary>
    public bool IsLeaving { get; set; }

    /// <summary>The tenant's index in a heap; -1 if the tenant is not in that heap.</summary>
    public int Place(int heap) => _places.GetValueOrDefault(heap, -1);

    /// <summary>Records the tenant's index in a heap.</summary>
    public void SetPlace(int heap, int place)
    {
        if (place < 0)
        {
            _places.Remove(heap);
        }
        else
        {
            _places[heap] = place;
        }
    }

    /// <summary>Whether this tenant is served before another one.</summary>
    public bool IsBefore(TenantShare other) =>
        Virtual != other.Virtual ? Virtual < other.Virtual : Since > other.Since;
}

/// <summary>
/// A heap of tenants, the next one to serve first. Each tenant stores its index, so changes take O(log n).
/// </summary>
/// <param name="number">Number of this heap among those that a tenant may be in.</param>
internal sealed class TenantHeap(int number)
{
    /// <summary>
    /// The number of the heap of all waiting tenants; the heap of a class has the number of the class.
    /// </summary>
    public const int All = -1;

    private readonly List<TenantShare> _shares = [];

    /// <summary>Number of tenants in the heap.</summary>
    public int Count => _shares.Count;

    /// <summary>The next tenant; null if the heap is empty.</summary>
    public TenantShare? First => _shares.Count == 0 ? null : _shares[0];

    /// <summary>Adds or removes a tenant, or restores the order after its account has changed.</summary>
    public void Set(TenantShare share, bool present)
    {
        int place = share.Place(number);
        if (present)
        {
            if (place < 0)
            {
                place = _shares.Count;
                _shares.Add(share);
                share.SetPlace(number, place);
            }

            Settle(place);
        }
        else if (place >= 0)
        {
            TenantShare last = _shares[^1];
            _shares.RemoveAt(_shares.Count - 1);
            share.SetPlace(number, -1);
            if (!ReferenceEquals(last, share))
            {
                Put(last, place);
                Settle(place);
            }
        }
    }

    private void Settle(int place)
    {
        TenantShare share = _shares[place];
        while (place > 0 && share.IsBefore(_shares[(place - 1) / 2]))
        {
            Put(_shares[(place - 1) / 2], place);
            place = (place - 1) / 2;
        }

        while (Child(place) is var child && child < _shares.Count && _shares[child].IsBefore(share))
        {
            Put(_shares[child], place);
            place = child;
        }

        Put(share, place);
    }

    // The index of the child that is served first; beyond the end if there is none.
    private int Child(int place)
    {
        int left = (2 * place) + 1;
        return left + 1 < _shares.Count && _shares[left + 1].IsBefore(_shares[left]) ? left + 1 : left;
    }

    private void Put(TenantShare share, int place)
    {
        _shares[place] = share;
        share.SetPlace(number, place);
    }
}
