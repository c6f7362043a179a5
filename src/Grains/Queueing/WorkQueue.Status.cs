// What the queue reports about its load: to operators, and to the rule that scales pools of devices.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Scaling;

namespace Atelier.Grains.Queueing;

public sealed partial class WorkQueue
{
    private readonly Dictionary<ModelDigest, double> _arrived = [];

    /// <summary>Counts and costs of all work in the queue.</summary>
    public QueueStatus Status(DateTimeOffset now) => new(
        _entries.Count - _leases.Count, _leases.Count, _waiting.TenantCount, _waiting.Cost, _estimates.Rate(now));

    /// <summary>Counts and costs of one model's work in the queue.</summary>
    public QueueStatus Status(ModelDigest model, DateTimeOffset now)
    {
        WorkEntry[] entries = [.. _entries.Values.Where(entry => entry.Item.Model == model)];
        return new QueueStatus(
            entries.Count(entry => entry.Lease == 0), entries.Count(entry => entry.Lease != 0),
            entries.Select(entry => entry.Work.Tenant).Distinct().Count(),
            entries.Where(entry => entry.Class >= 0).Sum(entry => entry.Item.Cost), _estimates.Rate(model, now));
    }

    /// <summary>
    /// The work for a pool of workers, and what they report. Takes time in proportion to the work in the queue.
    /// </summary>
    /// <param name="isMember">Whether a worker, by its name, belongs to the pool.</param>
    /// <param name="models">Models of the pool while none of its workers reports any.</param>
    /// <param name="now">The time.</param>
    public PoolWork WorkFor(Func<string, bool> isMember, IEnumerable<ModelDigest> models, DateTimeOffset now)
    {
        Tick(now);
        QueueWorker[] members = [.. _workers.All.Where(worker => isMember(worker.Name))];
        HashSet<ModelDigest> wanted = [.. members.SelectMany(one => one.Models).Select(one => one.Model)];
        if (wanted.Count == 0)
        {
            wanted.UnionWith(models);
        }

        double[] speeds = [.. members.Select(worker => worker.Speed).OfType<double>()];
        return new PoolWork
        {
            Backlog = _entries.Values.Where(entry => wanted.Contains(entry.Item.Model)).Sum(CostLeft),
            Arrived = wanted.Sum(model => _arrived.GetValueOrDefault(model)),
            Leased = members.Count(worker => worker.Held > 0),
            Speed = speeds.Length > 0 ? speeds.Average() : null,
            Models = [.. wanted],
        };
    }

    /// <summary>The work that waits for each model that has some, or that a worker may hold.</summary>
    internal IEnumerable<ModelBacklog> Backlogs()
    {
        // Operations per second that each model's workers report.
        ILookup<ModelDigest, double?> speeds = _workers.All
            .SelectMany(worker => worker.Models.Select(one => one.Model).Distinct(), (worker, model) => (worker, model))
            .ToLookup(one => one.model, one => one.worker.Speed);
        foreach (ModelDigest model in _waiting.Models.Keys.Union(speeds.Select(one => one.Key)))
        {
            (int count, double cost) = _waiting.Models.GetValueOrDefault(model);
            yield return new ModelBacklog(model, count, cost / speeds[model].Average());
        }
    }

    /// <summary>Records when workers will be there for models that no worker holds now.</summary>
    public void SetStart(PoolStart start, DateTimeOffset now) => _estimates.SetStart(start, now);

    private static double CostLeft(WorkEntry entry)
    {
        int left = entry.Lease == 0 ? entry.Item.Quanta : entry.Item.Quanta - entry.Done;
        return (entry.QuantumCost * left) + entry.Item.CostAfter;
    }

    // Work that was admitted earlier is offered again after each phase and by walks.
    private void CountArrival(WorkItem item, bool admitted)
    {
        if (!admitted)
        {
            _arrived[item.Model] = _arrived.GetValueOrDefault(item.Model) + item.Cost + item.CostAfter;
        }
    }
}

/// <summary>The work that waits for a model.</summary>
/// <param name="Model">The model.</param>
/// <param name="Waiting">Number of items.</param>
/// <param name="Seconds">
/// Predicted time in which one device would do it, with all later phases; null while the speed is unknown.
/// </param>
internal readonly record struct ModelBacklog(ModelDigest Model, int Waiting, double? Seconds);
