// The workers that take turns at the queue: what each one may do and holds, and when it last reported.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;

namespace Atelier.Grains.Queueing;

/// <summary>The workers that are alive, as of their last turns.</summary>
/// <param name="silenceMax">Time without a turn after which a worker that holds nothing is presumed dead.</param>
/// <param name="waiting">The pools that the workers belong to.</param>
internal sealed class WorkerRoster(TimeSpan silenceMax, WaitingWork waiting)
{
    private readonly Dictionary<string, QueueWorker> _workers = new(StringComparer.Ordinal);
    private readonly PriorityQueue<QueueWorker, DateTimeOffset> _silences = new();
    private int _draining;

    /// <summary>All workers.</summary>
    public IEnumerable<QueueWorker> All => _workers.Values;

    /// <summary>Whether a worker drains for work that must run alone.</summary>
    public bool IsAnyDraining => _draining > 0;

    /// <summary>Whether a worker has taken a turn and is alive.</summary>
    public bool Has(string name) => _workers.ContainsKey(name);

    /// <summary>Records what a worker reports in its turn.</summary>
    public QueueWorker Update(WorkerTurn turn, DateTimeOffset now)
    {
        if (!_workers.TryGetValue(turn.Worker, out QueueWorker? worker))
        {
            _workers.Add(turn.Worker, worker = new QueueWorker(turn.Worker));
            Watch(worker, now);
        }

        worker.Pool?.Count(worker, -1);
        if (!IsOfKind(worker, turn))
        {
            waiting.Join(worker, turn);
        }

        (worker.Models, worker.Spare, worker.Speed, worker.SeenAt) = (turn.Models, 0, turn.Speed, now);
        worker.SetLoading(
            turn.Models.Where(model => model.Place == ModelPlace.Loading)
                .Select(model => (ModelDigest?)model.Model).FirstOrDefault(),
            now);
        worker.Pool!.Count(worker, 1);
        return worker;
    }

    /// <summary>Records a worker's spare slots after its turn, and the model that it loads.</summary>
    public static void SetSpare(QueueWorker worker, int spare, ModelDigest? loading, DateTimeOffset now)
    {
        worker.Pool!.Count(worker, -1);
        worker.Spare = spare;
        worker.SetLoading(loading, now);
        worker.Pool!.Count(worker, 1);
    }

    /// <summary>Records whether a worker is draining so that it can take work that must run alone.</summary>
    public void SetDraining(QueueWorker worker, bool drains)
    {
        if (worker.IsDraining != drains)
        {
            worker.IsDraining = drains;
            _draining += drains ? 1 : -1;
        }
    }

    /// <summary>The longest time for which a worker has been loading a model; null if none is.</summary>
    public TimeSpan? LoadingTime(ModelDigest model, DateTimeOffset now) => _workers.Values
        .Where(worker => worker.Loading == model).Select(worker => (TimeSpan?)(now - worker.LoadingSince)).Max();

    /// <summary>Whether a worker that holds nothing may do work of a class.</summary>
    public bool HasIdle(WorkClass work, bool isLoaded) => _workers.Values.Any(
        worker => worker.Held == 0 && worker.Spare > 0 && worker.Pool!.Fits(work)
            && (!isLoaded || worker.Models.Contains(new WorkerModel(work.Model, ModelPlace.Loaded))));

    /// <summary>
    /// Workers that have spare slots and may do an item's work, those that have its model in memory first.
    /// </summary>
    public IEnumerable<string> WithSpareFor(WorkItem item)
    {
        var work = WorkClass.Of(item);
        return _workers.Values
            .Where(worker => worker.Spare > 0 && worker.Pool!.Fits(work))
            .OrderByDescending(worker => worker.Models.Contains(new WorkerModel(item.Model, ModelPlace.Loaded)))
            .Select(worker => worker.Name);
    }

    /// <summary>Removes workers that hold nothing and have been silent for too long.</summary>
    public void RemoveSilent(DateTimeOffset now)
    {
        while (_silences.TryPeek(out QueueWorker? worker, out DateTimeOffset at) && at <= now)
        {
            _silences.Dequeue();
            if (worker.SeenAt + silenceMax > now || worker.Held > 0)
            {
                Watch(worker, now);
            }
            else
            {
                SetSpare(worker, 0, null, now);
                SetDraining(worker, false);
                worker.Pool!.Count(worker, -1);
                waiting.Leave(worker);
                _workers.Remove(worker.Name);
            }
        }
    }

    private static bool IsOfKind(QueueWorker worker, WorkerTurn turn) =>
        worker.Pool?.Kind is { } kind && kind.Roles == turn.Roles && kind.DeviceKind == turn.DeviceKind
        && worker.Models.Select(model => model.Model).SequenceEqual(turn.Models.Select(model => model.Model));

    private void Watch(QueueWorker worker, DateTimeOffset now)
    {
        DateTimeOffset at = worker.SeenAt + silenceMax;
        _silences.Enqueue(worker, at > now ? at : now + silenceMax);
    }
}
