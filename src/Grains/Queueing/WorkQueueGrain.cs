// The queue as a grain: the pure queue, the clock, and a word to workers that sleep. It stores nothing; one
// that starts has every partition of the open set ask its generations for their work, and believes workers what they
// hold.
using Atelier.Contracts;
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Tenants;
using Atelier.Contracts.Workers;
using Atelier.Grains.Hosting;
using Atelier.Grains.OpenSets;
using Atelier.Grains.Telemetry;
using Microsoft.Extensions.Logging;
using Orleans.Placement;

namespace Atelier.Grains.Queueing;

/// <summary>Orders the work of all models.</summary>
[GrainType("workqueue")]
[ControlSilo, Immovable]
internal sealed class WorkQueueGrain(
    GrainsOptions options, OpenSetMap openSets, TimeProvider clock, IGrainFactory grains,
    IClusterMembershipService membership, QueueInstruments instruments, LogLimits limits,
    ILogger<WorkQueueGrain> logger) : Grain, IWorkQueueGrain
{
    // Partitions that are asked at a time, and how often each is asked before its own reminder has to do.
    private const int Fan = 64;
    private const int TriesMax = 8;
    private static readonly TimeSpan s_pauseMin = TimeSpan.FromSeconds(0.25), s_pauseMax = TimeSpan.FromSeconds(8);

    // One that comes and one that sleeps: more would find nothing.
    private const int WakeMax = 2;

    private readonly QueueInstruments.Levels _levels = instruments.Open();
    private WorkQueue _queue = null!;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        // While silos of an earlier version are in the cluster, they have a queue for each model.
        if (this.GetPrimaryKeyString() is var key && key != IWorkQueueGrain.Key && !ModelDigest.TryParse(key, out _))
        {
            throw new ArgumentException($"The queue's key is '{IWorkQueueGrain.Key}', not '{key}'.");
        }

        _queue = new WorkQueue(options.Queue, clock.GetUtcNow().UtcTicks)
        {
            Granting = (_, _) => instruments.Granted(), Expiring = RecordExpiry,
        };
        this.RegisterGrainTimer(TickAsync, options.Queue.LeaseTime / 4, options.Queue.LeaseTime / 4);
        RecoverAsync().Ignore();
        return Task.CompletedTask;
    }

    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        _levels.Update(null);
        return Task.CompletedTask;
    }

    public Task<OfferAnswer> OfferAsync(WorkItem item, bool admitted)
    {
        WorkItem offered = item.ClaimedBy is { } claimant && !IsUp(claimant) ? item with { ClaimedBy = null } : item;
        OfferAnswer answer = _queue.Offer(offered, admitted, clock.GetUtcNow());
        _levels.Update(_queue);
        if (answer.Outcome != OfferOutcome.Queued)
        {
            RecordRefusal(answer.Outcome, item.Generation.Tenant);
        }

        Wake(item);
        return Task.FromResult(answer);
    }

    public Task<TurnAnswer> TurnAsync(WorkerTurn turn)
    {
        TurnAnswer answer = _queue.Turn(turn, clock.GetUtcNow());
        _levels.Update(_queue);
        return Task.FromResult(answer);
    }

    public Task ReleaseAsync(LeaseRelease release)
    {
        _queue.Release(release, clock.GetUtcNow());
        _levels.Update(_queue);
        if (release.End == LeaseEnd.Returned)
        {
            Wake(release.Item);
        }

        return Task.CompletedTask;
    }

    public Task WithdrawAsync(GenerationKey generation)
    {
        _queue.Withdraw(generation, clock.GetUtcNow());
        _levels.Update(_queue);
        return Task.CompletedTask;
    }

    public Task SetWeightAsync(TenantId tenant, TenantWeight weight)
    {
        _queue.SetWeight(tenant, weight);
        return Task.CompletedTask;
    }

    public Task<QueuePlace?> PlaceOfAsync(GenerationKey generation) =>
        Task.FromResult(_queue.PlaceOf(generation, clock.GetUtcNow()));

    public Task<QueueStatus> StatusAsync() => Task.FromResult(_queue.Status(clock.GetUtcNow()));

    public Task<QueueStatus> StatusOfAsync(ModelDigest model) =>
        Task.FromResult(_queue.Status(model, clock.GetUtcNow()));

    public Task WakeAsync() => Task.CompletedTask;

    private Task TickAsync(CancellationToken cancellation)
    {
        _queue.Tick(clock.GetUtcNow());
        _levels.Update(_queue);
        return Task.CompletedTask;
    }

    // Whether the silo of a worker's name is in the cluster: nothing is kept for one that is known to be gone.
    private bool IsUp(string worker) => WorkerKey.TryParse(worker, out WorkerKey key)
        && membership.CurrentSnapshot.Members.Values.Any(
            silo => silo.Status == SiloStatus.Active && silo.Name == key.Silo);

    private void RecordExpiry(WorkItem item, string worker)
    {
        instruments.Expired();
        logger.LeaseExpired(item.Kind, item.Generation, worker);
    }

    private void RecordRefusal(OfferOutcome bound, TenantId tenant)
    {
        instruments.Refused(bound);
        if (limits.Passes(nameof(QueueLog.QueueFull), Labels<OfferOutcome>.Of(bound), out int count))
        {
            logger.QueueFull(count, bound, tenant);
        }
    }

    private async Task RecoverAsync()
    {
        try
        {
            await AskForWalksAsync();
        }
        catch (Exception error)
        {
            logger.RecoveryFailed(error);
        }
    }

    private async Task AskForWalksAsync()
    {
        int[]? left = null;
        TimeSpan pause = s_pauseMin;
        for (int attempt = 1; ; attempt++)
        {
            left ??= await GrainCalls.TryAsync(openSets.CountAsync) is > 0 and var count
                ? [.. Enumerable.Range(0, count)]
                : null;
            if (attempt == 1 && left is not null)
            {
                logger.QueueBegins(left.Length);
            }

            var failed = new List<int>();
            foreach (int[] part in left?.Chunk(Fan) ?? [])
            {
                bool[] asked = await Task.WhenAll(part.Select(AskForWalkAsync));
                failed.AddRange(part.Where((_, i) => !asked[i]));
            }

            if (left is not null && failed.Count == 0)
            {
                return;
            }

            if (attempt == TriesMax)
            {
                logger.PartitionsUnasked(left is null ? "any partition" : $"{failed.Count} partitions");
                return;
            }

            await Task.Delay(pause, clock);
            (left, pause) = (left is null ? null : [.. failed], pause < s_pauseMax ? 2 * pause : pause);
        }
    }

    private async Task<bool> AskForWalkAsync(int partition)
    {
        try
        {
            await grains.GetGrain<IOpenSetGrain>(partition).WalkAsync();
            return true;
        }
        catch (Exception error)
        {
            logger.PartitionUnanswered(partition, error);
            return false;
        }
    }

    private void Wake(WorkItem item)
    {
        string[] workers = [.. _queue.SpareWorkers(item).Take(WakeMax)];
        if (workers.Length == 0 && _queue.BusyWorker(item) is { } busy)
        {
            workers = [busy];
        }

        foreach (string worker in workers)
        {
            grains.Worker(worker).WakeAsync().Ignore();
        }
    }
}
