// The queue's estimates: the rate at which work is granted, how long an item waits, and when to retry a refused
// request.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Scaling;

namespace Atelier.Grains.Queueing;

/// <summary>Estimates from the operations that were granted recently.</summary>
internal sealed class QueueEstimates(WaitingWork waiting)
{
    private static readonly TimeSpan s_retryMin = TimeSpan.FromSeconds(1), s_retryMax = TimeSpan.FromMinutes(1);

    private readonly Dictionary<ModelDigest, Pace> _paces = [];
    private readonly Dictionary<ModelDigest, (DateTimeOffset At, double? Speed)> _starts = [];

    /// <summary>Records when workers will be there for models that no worker holds now.</summary>
    public void SetStart(PoolStart start, DateTimeOffset now)
    {
        foreach (ModelDigest model in start.Models)
        {
            _starts[model] = (now + start.In, start.Speed);
        }
    }

    /// <summary>Counts granted operations.</summary>
    public void CountGrant(WorkEntry entry, double cost, DateTimeOffset now)
    {
        entry.Pool!.Pace.Add(cost, now);
        if (!_paces.TryGetValue(entry.Item.Model, out Pace? pace))
        {
            _paces.Add(entry.Item.Model, pace = new Pace());
        }

        pace.Add(cost, now);
    }

    /// <summary>Recent rate, in operations granted per second.</summary>
    public double Rate(DateTimeOffset now) => _paces.Values.Sum(pace => pace.At(now));

    /// <summary>Recent rate of one model, in operations granted per second.</summary>
    public double Rate(ModelDigest model, DateTimeOffset now) =>
        _paces.TryGetValue(model, out Pace? pace) ? pace.At(now) : 0;

    /// <summary>
    /// The place of waiting work among its tenant's items: how many of them are ahead of it, and how long these take at
    /// the tenant's share of the recent pace of the workers that may do the work.
    /// </summary>
    public QueuePlace Place(WorkEntry entry, DateTimeOffset now)
    {
        (int count, double cost) = (0, 0);
        foreach (WorkLane lane in entry.Work.Lanes)
        {
            (int ahead, double costAhead) = lane.Before(entry.Order);
            (count, cost) = (count + ahead, cost + costAhead);
        }

        (double rate, double all, double weights) = waiting.Competition(entry.Item, now);
        double share = Math.Min(all, cost * weights / entry.Work.Weight);
        TimeSpan? wait = rate > 0 ? TimeSpan.FromSeconds(Math.Min(share / rate, 1e9))
            : _starts.TryGetValue(entry.Item.Model, out (DateTimeOffset At, double? Speed) start)
                ? TimeSpan.FromSeconds(Math.Min(
                    Math.Max(0, (start.At - now).TotalSeconds) + (start.Speed is { } speed ? cost / speed : 0), 1e9))
                : null;
        return new QueuePlace(count, waiting.HasSpare(entry.Item) && count == 0 ? TimeSpan.Zero : wait);
    }

    /// <summary>
    /// How long to wait before retrying a refused request: the time that its own work takes, limited to 1 s to 1 min.
    /// </summary>
    public TimeSpan RetryAfter(WorkItem item, DateTimeOffset now)
    {
        (double rate, _, double weights) = waiting.Competition(item, now);
        double seconds = rate > 0 ? item.Cost * Math.Max(1, weights / item.Weight) / rate : 0;
        return TimeSpan.FromSeconds(Math.Clamp(seconds, s_retryMin.TotalSeconds, s_retryMax.TotalSeconds));
    }
}
