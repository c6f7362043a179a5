// Work, workers and speeds for the queue's tests: simulated time, no threads.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

internal static class Work
{
    public static readonly DateTimeOffset Start = new(2030, 1, 1, 0, 0, 0, TimeSpan.Zero);

    /// <summary>The model of work that does not name one; it is in memory.</summary>
    public static readonly WorkerModel Loaded = new(default, ModelPlace.Loaded);

    public static ModelDigest Model(int number) => new(new string((char)('a' + number), 64));

    public static GenerationKey Key(string tenant, int number) =>
        new(new TenantId(tenant), new GenerationId($"g{number}"));

    public static WorkItem Denoise(string tenant, int number, int steps, double stepCost = 1, double weight = 1) =>
        new()
        {
            Generation = Key(tenant, number),
            Kind = WorkKind.Denoise,
            Weight = weight,
            Quanta = steps,
            Cost = steps * stepCost,
            AcceptedAt = Start.AddTicks(number),
        };

    /// <summary>Another phase of a request: one quantum.</summary>
    public static WorkItem Phase(this WorkItem denoising, WorkKind kind, double cost) =>
        denoising with { Kind = kind, Quanta = 1, Cost = cost };

    public static void Offer(this WorkQueue queue, WorkItem item, DateTimeOffset now) =>
        queue.Offer(item, admitted: true, now);
}

/// <summary>
/// A worker that does one quantum of everything it holds between two turns, and nothing while it loads a model.
/// </summary>
internal sealed class SimulatedWorker(string name, int slots, WorkRoles roles = WorkRoles.All, string kind = "cpu")
{
    private readonly List<HeldWork> _held = [];
    private readonly List<ModelDigest> _memory = [default];
    private (ModelDigest Model, DateTimeOffset Until)? _loading;
    private DateTimeOffset? _loadedAt;

    public string Name => name;

    public IReadOnlyList<HeldWork> Held => _held;

    /// <summary>Models that it may hold.</summary>
    public IReadOnlyList<ModelDigest> Models { get; init; } = [default];

    /// <summary>How many models fit into its memory.</summary>
    public int Fitting { get; init; } = 1;

    public TimeSpan LoadTime { get; init; }

    public int Loads { get; private set; }

    /// <summary>One turn and one quantum after it. Returns the finished work.</summary>
    public List<WorkItem> Step(WorkQueue queue, DateTimeOffset now)
    {
        if (_loading is { } done && now >= done.Until)
        {
            (_loading, _loadedAt) = (null, now);
            _memory.Add(done.Model);
        }

        TurnAnswer answer = queue.Turn(Turn(now), now);
        HeldWork[] held = [.. _held];
        for (int i = 0; i < held.Length; i++)
        {
            if (answer.Verdicts[i] != WorkVerdict.Continue)
            {
                GiveBack(queue, held[i], now);
            }
        }

        _held.AddRange(answer.Leased.Select(lease => new HeldWork(lease.Lease, lease.Item, 0)));
        if (answer.Load is { } model)
        {
            Load(queue, model, now);
        }

        var finished = new List<WorkItem>();
        for (int i = _held.Count - 1; _loading is null && i >= 0; i--)
        {
            // Quarantined work stores a snapshot with its step.
            HeldWork one = _held[i];
            _held[i] = one = one with { Done = one.Done + 1, Item = one.Item with { Alone = false } };
            if (one.Done == one.Item.Quanta)
            {
                queue.Release(new LeaseRelease(one.Lease, one.Item, LeaseEnd.Finished), now);
                finished.Add(one.Item);
                _held.RemoveAt(i);
            }
        }

        return finished;
    }

    private WorkerTurn Turn(DateTimeOffset now) => new()
    {
        Worker = name, DeviceKind = kind, Roles = roles, Held = [.. _held],
        Free = _held.Exists(work => work.Item.Alone) ? 0 : slots - _held.Count,
        Models =
        [
            .. Models.Select(model => new WorkerModel(model, _memory.Contains(model) ? ModelPlace.Loaded
                : model == _loading?.Model ? ModelPlace.Loading
                : _memory.Count < Fitting ? ModelPlace.Beside : ModelPlace.Instead)),
        ],
        LoadAge = _loadedAt is { } at && LoadTime > TimeSpan.Zero ? (now - at) / LoadTime : null,
    };

    private void GiveBack(WorkQueue queue, HeldWork work, DateTimeOffset now)
    {
        _held.Remove(work);
        int left = work.Item.Quanta - work.Done;
        WorkItem item = work.Item with { Quanta = left, Cost = work.Item.Cost / work.Item.Quanta * left };
        queue.Release(new LeaseRelease(work.Lease, item, LeaseEnd.Returned), now);
    }

    // The model that was loaded first is evicted.
    private void Load(WorkQueue queue, ModelDigest model, DateTimeOffset now)
    {
        Assert.Null(_loading);
        Loads++;
        _loading = (model, now + LoadTime);
        while (_memory.Count >= Fitting)
        {
            foreach (HeldWork work in _held.Where(work => work.Item.Model == _memory[0]).ToArray())
            {
                GiveBack(queue, work, now);
            }

            _memory.RemoveAt(0);
        }
    }
}
