// Work, workers and a pace for the queue's tests: simulated time, no threads.
using Atelier.Contracts;
using Atelier.Grains.Queueing;

namespace Atelier.Grains.Tests.Queueing;

internal static class Work
{
    public static readonly DateTimeOffset Start = new(2030, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public static GenerationKey Key(string tenant, int number) =>
        new(new TenantId(tenant), new GenerationId($"g{number}"));

    public static WorkItem Denoise(string tenant, int number, int steps, double stepCost = 1, double weight = 1) => new()
    {
        Generation = Key(tenant, number),
        Kind = WorkKind.Denoise,
        Weight = weight,
        Quanta = steps,
        Cost = steps * stepCost,
        AcceptedAt = Start.AddTicks(number),
    };

    public static void Offer(this WorkQueue queue, WorkItem item, DateTimeOffset now) => queue.Offer(item, admitted: true, now);
}

/// <summary>A worker that does one quantum of all that it holds between two turns.</summary>
internal sealed class SimulatedWorker(string name, int slots, WorkRoles roles = WorkRoles.All, string kind = "cpu")
{
    private readonly List<HeldWork> _held = [];

    public string Name => name;

    public IReadOnlyList<HeldWork> Held => _held;

    /// <summary>One turn, and one quantum after it. Gives what was finished.</summary>
    public List<WorkItem> Step(WorkQueue queue, DateTimeOffset now)
    {
        var turn = new WorkerTurn
        {
            Worker = name, DeviceKind = kind, Roles = roles, Free = slots - _held.Count, Held = [.. _held],
        };
        TurnAnswer answer = queue.Turn(turn, now);
        var parked = new List<HeldWork>();
        for (int i = turn.Held.Length - 1; i >= 0; i--)
        {
            if (answer.Verdicts[i] != WorkVerdict.Continue)
            {
                parked.Add(_held[i]);
                _held.RemoveAt(i);
            }
        }

        foreach (HeldWork work in parked)
        {
            int left = work.Item.Quanta - work.Done;
            WorkItem item = work.Item with { Quanta = left, Cost = work.Item.Cost / work.Item.Quanta * left };
            queue.Release(new LeaseRelease(work.Lease, item, LeaseEnd.Returned), now);
        }

        _held.AddRange(answer.Leased.Select(lease => new HeldWork(lease.Lease, lease.Item, 0)));
        var finished = new List<WorkItem>();
        for (int i = _held.Count - 1; i >= 0; i--)
        {
            _held[i] = _held[i] with { Done = _held[i].Done + 1 };
            if (_held[i].Done == _held[i].Item.Quanta)
            {
                queue.Release(new LeaseRelease(_held[i].Lease, _held[i].Item, LeaseEnd.Finished), now);
                finished.Add(_held[i].Item);
                _held.RemoveAt(i);
            }
        }

        return finished;
    }
}
