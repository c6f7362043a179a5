// The parts of a queue, put together as the queue does it, for tests of one part alone.
using Atelier.Contracts.Queueing;
using Atelier.Grains.Queueing;

namespace Atelier.Grains.Tests.Queueing;

internal sealed class QueueParts
{
    private long _arrival;

    public QueueParts(WorkQueueOptions? options = null)
    {
        options ??= new WorkQueueOptions();
        Workers = new WorkerRoster(options.LeaseTime, Waiting);
        Policy = new SchedulingPolicy(options, Waiting, Workers);
        Leases = new LeaseBook(options.LeaseTime, 100);
        Estimates = new QueueEstimates(Waiting);
    }

    public WaitingWork Waiting { get; } = new();

    public WorkerRoster Workers { get; }

    public SchedulingPolicy Policy { get; }

    public LeaseBook Leases { get; }

    public QueueEstimates Estimates { get; }

    /// <summary>Work that is in the queue and does not wait.</summary>
    public WorkEntry Enter(WorkItem item) => new(item, Waiting.Enter(item), ++_arrival);

    public WorkEntry Wait(WorkItem item)
    {
        WorkEntry entry = Enter(item);
        Waiting.Add(entry);
        return entry;
    }

    /// <summary>Work that a worker holds and whose tenant has not been charged yet.</summary>
    public WorkEntry Hold(WorkItem item, QueueWorker worker)
    {
        WorkEntry entry = Enter(item);
        Leases.Begin(entry, worker, Leases.NextNumber(item), Work.Start);
        return entry;
    }

    /// <summary>
    /// A worker after a turn. If no models are given, it has the default model of <see cref="Work"/>.
    /// </summary>
    public QueueWorker Worker(
        string name, int spare = 0, WorkRoles roles = WorkRoles.All, string kind = "cpu", DateTimeOffset? now = null,
        params WorkerModel[] models)
    {
        QueueWorker worker = Workers.Update(
            new WorkerTurn
            {
                Worker = name, DeviceKind = kind, Roles = roles, Free = spare,
                Models = models.Length == 0 ? [Work.Loaded] : models,
            },
            now ?? Work.Start);
        WorkerRoster.SetSpare(worker, spare, worker.Loading, now ?? Work.Start);
        return worker;
    }
}
