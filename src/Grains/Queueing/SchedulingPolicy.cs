// The scheduling decisions: the next work for a free slot, whether a worker drains, and whether it loads another model.
// They are functions of the fair shares and of what the workers hold; nothing here changes the queue.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;

namespace Atelier.Grains.Queueing;

/// <summary>Decides which work is next, and on which worker.</summary>
internal sealed class SchedulingPolicy(WorkQueueOptions options, WaitingWork waiting, WorkerRoster workers)
{
    /// <summary>
    /// The work for a worker's free slot; null if there is none. Work that must run alone goes to a worker that holds
    /// nothing.
    /// </summary>
    /// <param name="worker">The worker.</param>
    /// <param name="startsAlone">Whether work that must run alone may start now.</param>
    public static WorkEntry? ForFreeSlot(QueueWorker worker, bool startsAlone)
    {
        if (worker.HeldAlone > 0 || worker.IsDraining)
        {
            return null;
        }

        WorkEntry? shared = Next(worker, alone: false);
        WorkEntry? alone = startsAlone && worker.Held == 0 ? Next(worker, alone: true) : null;
        return IsAloneFirst(worker, alone, shared) ? alone : shared;
    }

    /// <summary>The next work among the models that a worker has in memory; null if none waits.</summary>
    public static WorkEntry? Next(QueueWorker worker, bool alone)
    {
        WorkEntry? best = null;
        foreach ((ModelDigest model, ModelPlace place) in worker.Models)
        {
            if (place == ModelPlace.Loaded)
            {
                best = First(worker.Pool!.Shares, best, worker.Pool!.Shares.Next(model, alone));
            }
        }

        return best;
    }

    /// <summary>Whether work belongs to a newcomer: a tenant that was idle and has been granted no step yet.</summary>
    public static bool IsNewcomer(QueueWorker worker, WorkEntry entry) => worker.Pool!.Shares.Share(entry.Work).IsNew;

    /// <summary>
    /// Whether a worker should drain to make room for work that must run alone: true if that work is next and no idle
    /// worker can take it, false if it is not next, null to leave the worker as it is. One worker drains at a time.
    /// </summary>
    public bool? ShouldDrain(QueueWorker worker)
    {
        WorkEntry? alone = worker.Held > 0 && worker.HeldAlone == 0 ? Next(worker, alone: true) : null;
        if (alone is null || !IsAloneFirst(worker, alone, Next(worker, alone: false)))
        {
            return false;
        }

        return !workers.IsAnyDraining && !workers.HasIdle(WorkClass.Of(alone.Item), isLoaded: true) ? true : null;
    }

    /// <summary>
    /// The model that a worker should load for the next work; null if it should load none. An idle worker loads at
    /// once. A busy worker loads only if a newcomer waits that no other worker can serve, or if the tenant that it
    /// serves is more than a request ahead of a waiting tenant. A loaded model is kept for a while, which bounds the
    /// share of time that loads take. One worker at a time loads a given model.
    /// </summary>
    /// <param name="worker">The worker.</param>
    /// <param name="held">The work that the worker holds.</param>
    /// <param name="loadAge">
    /// Time since the worker's last load, divided by the duration of that load; null before the first load.
    /// </param>
    public ModelDigest? ModelToLoad(QueueWorker worker, List<WorkEntry> held, double? loadAge) =>
        worker.IsDraining ? null : ToLoad(worker, held, loadAge)?.Item.Model;

    /// <summary>
    /// Whether work that must run alone waits, and a worker should load a model for a newcomer before it makes room for
    /// that work: the newcomer would otherwise wait for it, too.
    /// </summary>
    /// <inheritdoc cref="ModelToLoad"/>
    public bool LoadsForNewcomer(QueueWorker worker, List<WorkEntry> held, double? loadAge) =>
        Next(worker, alone: true) is not null && ToLoad(worker, held, loadAge) is { } next
        && IsNewcomer(worker, next);

    // The work for which a worker should load a model.
    private WorkEntry? ToLoad(QueueWorker worker, List<WorkEntry> held, double? loadAge)
    {
        if (worker.Loading is not null || worker.HeldAlone > 0)
        {
            return null;
        }

        FairShare shares = worker.Pool!.Shares;
        (WorkEntry Entry, ModelPlace Place)? best = null;
        foreach ((ModelDigest model, ModelPlace place) in worker.Models)
        {
            WorkEntry? next = place == ModelPlace.Loaded
                ? null
                : First(shares, shares.Next(model, alone: false), shares.Next(model, alone: true));
            if (next is not null && !waiting.IsSupplied(next.Item, supply => supply.Loading + supply.Spare)
                && (best is null || shares.IsBefore(next, best.Value.Entry)))
            {
                best = (next, place);
            }
        }

        if (best is not { } other || held.Count == 0)
        {
            return best?.Entry;
        }

        double kept = shares.Share(other.Entry.Work).IsNew ? options.LoadsKept / 2 : options.LoadsKept;
        bool isElsewhere = waiting.IsSupplied(other.Entry.Item, supply => supply.Workers);
        bool changes = (other.Place == ModelPlace.Beside || loadAge is null || loadAge >= kept)
            && held.Exists(entry => YieldsModel(shares, entry, other.Entry, isElsewhere))
            && !workers.HasIdle(WorkClass.Of(other.Entry.Item), isLoaded: false);
        return changes ? other.Entry : null;
    }

    /// <summary>
    /// Whether the served tenant is so far ahead of a waiting one that the served tenant's work must be parked. A
    /// newcomer is served at the end of the step, however small the lead of the served tenant is.
    /// </summary>
    public bool IsOverserved(FairShare shares, WorkEntry entry, WorkEntry other)
    {
        (TenantShare served, TenantShare next) = (shares.Share(entry.Work), shares.Share(other.Work));
        double slack = next.IsNew
            ? 0
            : options.Slack * entry.RequestCost / Math.Max(served.Work.Weight, next.Work.Weight);
        return !ReferenceEquals(served, next)
            && (next.IsNew ? served.Virtual >= next.Virtual : served.Virtual - next.Virtual > slack);
    }

    /// <summary>
    /// A busy worker that would park its work for a newcomer's entry if it took a turn now; null if there is no such
    /// worker, or the entry is not a newcomer's.
    /// </summary>
    public QueueWorker? BusyWorkerFor(WorkEntry entry)
    {
        var work = WorkClass.Of(entry.Item);
        var model = new WorkerModel(entry.Item.Model, ModelPlace.Loaded);
        return workers.All.FirstOrDefault(worker => worker is { Held: > 0, HeldAlone: 0, IsDraining: false }
            && worker.Pool!.Fits(work) && worker.Models.Contains(model) && IsNewcomer(worker, entry));
    }

    // Whether work should yield its worker to work of another model. A newcomer whose model is in another worker's
    // memory is served there.
    private bool YieldsModel(FairShare shares, WorkEntry entry, WorkEntry other, bool isElsewhere)
    {
        (TenantShare served, TenantShare next) = (shares.Share(entry.Work), shares.Share(other.Work));
        double request = (1 + options.Slack) * entry.RequestCost;
        return ReferenceEquals(served, next) ? !isElsewhere && other.Order.CompareTo(entry.Order) < 0
            : next.IsNew ? !isElsewhere && served.Virtual >= next.Virtual
            : served.Virtual - next.Virtual > request / Math.Max(served.Work.Weight, next.Work.Weight);
    }

    private static bool IsAloneFirst(QueueWorker worker, WorkEntry? alone, WorkEntry? shared) =>
        alone is not null && (shared is null || worker.Pool!.Shares.IsBefore(alone, shared));

    private static WorkEntry? First(FairShare shares, WorkEntry? one, WorkEntry? other) =>
        one is null || (other is not null && shares.IsBefore(other, one)) ? other : one;
}
