// What a tenant has waiting; what it has had of the workers of one kind; and a heap of tenants, least served first.
using Atelier.Contracts;

namespace Atelier.Grains.Queueing;

/// <summary>A tenant in the queue: its weight, and its waiting work by class.</summary>
internal sealed class TenantWork(TenantId tenant)
{
    private readonly Dictionary<int, WorkLane> _lanes = [];

    /// <summary>Whose it is.</summary>
    public TenantId Tenant { get; } = tenant;

    /// <summary>Its share against other tenants'.</summary>
    public double Weight { get; set; } = 1;

    /// <summary>Number of the change that gave the weight.</summary>
    public long WeightVersion { get; set; }

    /// <summary>Pieces of its work in the queue, waiting or leased.</summary>
    public int Count { get; set; }

    /// <summary>Numbers of the classes of which work waits.</summary>
    public IReadOnlyCollection<int> Classes => _lanes.Keys;

    /// <summary>Its waiting work, in lanes of one class each.</summary>
    public IEnumerable<WorkLane> Lanes => _lanes.Values;

    /// <summary>Its waiting work of a class; null if none waits.</summary>
    public WorkLane? Lane(int number) => _lanes.GetValueOrDefault(number);

    /// <summary>Puts work into its lane.</summary>
    public void Add(WorkEntry entry)
    {
        if (!_lanes.TryGetValue(entry.Class, out WorkLane? lane))
        {
            _lanes.Add(entry.Class, lane = new WorkLane());
        }

        lane.Add(entry);
    }

    /// <summary>Takes work out of its lane.</summary>
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

    /// <summary>Number of the time it began to wait: of equals the last comer is served first.</summary>
    public long Since { get; set; }

    /// <summary>Whether it has come from idleness and was granted nothing since.</summary>
    public bool IsNew { get; set; }

    /// <summary>Pieces of its work that wait for these workers.</summary>
    public int Waiting { get; set; }

    /// <summary>Pieces of its work that are leased to them.</summary>
    public int Running { get; set; }

    /// <summary>Whether it stands among those that are forgotten once the others have caught up.</summary>
    public bool IsLeaving { get; set; }

    /// <summary>Its place in a heap; -1 if it is not there.</summary>
    public int Place(int heap) => _places.GetValueOrDefault(heap, -1);

    /// <summary>Notes its place in a heap.</summary>
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

    /// <summary>Whether it is to be served before another.</summary>
    public bool IsBefore(TenantShare other) =>
        Virtual != other.Virtual ? Virtual < other.Virtual : Since > other.Since;
}

/// <summary>Tenants, the one to be served next first. A tenant knows its place, so changes take O(log n).</summary>
/// <param name="number">Number of this heap among those that a tenant may be in.</param>
internal sealed class TenantHeap(int number)
{
    /// <summary>The number of the heap of all tenants that wait; others have the number of their class.</summary>
    public const int All = -1;

    private readonly List<TenantShare> _shares = [];

    /// <summary>Tenants in it.</summary>
    public int Count => _shares.Count;

    /// <summary>The tenant to be served next; none if it is empty.</summary>
    public TenantShare? First => _shares.Count == 0 ? null : _shares[0];

    /// <summary>Adds a tenant, takes it out, or moves it to where it now belongs.</summary>
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

    // The child to be served first; beyond the end if there is none.
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
