// The queue as a grain: the pure queue, the clock, and wake-up calls to idle workers. It stores nothing. After it has
// started, it has every partition of the open set ask its generations for their work, and it trusts the workers'
// reports of what they hold.
using Atelier.Contracts;
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Scaling;
using Atelier.Contracts.Tenants;
using Atelier.Contracts.Workers;
using Atelier.Grains.OpenSets;
using Atelier.Grains.Placement;
using Atelier.Grains.Telemetry;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Placement;

namespace Atelier.Grains.Queueing;

/// <summary>Orders the work of all models.</summary>
[GrainType("workqueue")]
[ControlSilo, Immovable]
internal sealed class WorkQueueGrain(
    IOptions<WorkQueueOptions> options, OpenSetMap openSets, TimeProvider clock, IGrainFactory grains,
    IClusterMembershipService membership, QueueInstruments instruments, LogLimits limits,
    ILogger<WorkQueueGrain> logger) : Grain, IWorkQueueGrain
{
    // Maximum numbers of partitions that are asked at once, and of attempts before a partition is left to its own
    // reminder.
    private const int Fan = 64;
    private const int TriesMax = 8;
    private static readonly TimeSpan s_pauseMin = TimeSpan.FromSeconds(0.25), s_pauseMax = TimeSpan.FromSeconds(8);

    // Number of workers to wake for an item. The first may be about to take a turn anyway, hence a second one; more
    // would find no work.
    private const int WakeMax = 2;

    private readonly QueueInstruments.Levels _levels = instruments.Open();
    private WorkQueue _queue = null!;
    private bool _isDeactivated;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        // Silos of an earlier version in the same cluster use one queue for each model.
        if (this.GetPrimaryKeyString() is var key && key != IWorkQueueGrain.Key && !ModelDigest.TryParse(key, out _))
        {
            throw new ArgumentException($"The queue's key is '{IWorkQueueGrain.Key}', not '{key}'.");
        }

        _queue = new WorkQueue(options.Value, clock.GetUtcNow().UtcTicks)
        {
            Granting = (_, _) => instruments.Granted(), Expiring = RecordExpiry,
        };
        this.RegisterGrainTimer(TickAsync, options.Value.LeaseTime / 4, options.Value.LeaseTime / 4);
        RecoverAsync().Ignore();
        return Task.CompletedTask;
    }

    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        _levels.Update(null);
        _levels.UpdateModels([]);
        _isDeactivated = true;
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

    public Task<PoolWork> WorkForAsync(string[] silos, ModelDigest[] models)
    {
        HashSet<string> names = new(silos, StringComparer.Ordinal);
        return Task.FromResult(_queue.WorkFor(
            worker => WorkerKey.TryParse(worker, out WorkerKey key) && names.Contains(key.Silo), models,
            clock.GetUtcNow()));
    }

    public Task SetStartAsync(PoolStart start)
    {
        _queue.SetStart(start, clock.GetUtcNow());
        return Task.CompletedTask;
    }

    private Task TickAsync(CancellationToken cancellation)
    {
        _queue.Tick(clock.GetUtcNow());
        _levels.Update(_queue);
        _levels.UpdateModels(_queue.Backlogs());
        return Task.CompletedTask;
    }

    // Whether the silo in a worker's name is in the cluster. Work is not reserved for a worker whose silo has left.
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
        for (int attempt = 1; !_isDeactivated; attempt++)
        {
            left ??= await GrainCalls.TryAsync(openSets.CountAsync) is > 0 and var count
                ? [.. Enumerable.Range(0, count)]
                : null;
            if (attempt == 1 && left is not null)
            {
                logger.QueueBegins(left.Length);
            }

            var failed = new List<(int Partition, Exception Error)>();
            foreach (int[] part in left?.Chunk(Fan) ?? [])
            {
                Exception?[] errors = await Task.WhenAll(part.Select(AskForWalkAsync));
                failed.AddRange(part.Zip(errors).Where(one => one.Second is not null)!);
            }

            if (_isDeactivated || (left is not null && failed.Count == 0))
            {
                return;
            }

            if (failed.Count > 0)
            {
                logger.PartitionsUnanswered(failed.Count, failed[0].Partition, failed[0].Error);
            }

            if (attempt == TriesMax)
            {
                logger.PartitionsUnasked(left is null ? "any partition" : $"{failed.Count} partitions");
                return;
            }

            await Task.Delay(pause, clock);
            left = left is null ? null : [.. failed.Select(one => one.Partition)];
            pause = pause < s_pauseMax ? 2 * pause : pause;
        }
    }

    // Returns why the partition did not answer; null if it did.
    private async Task<Exception?> AskForWalkAsync(int partition)
    {
        try
        {
            await grains.GetGrain<IOpenSetGrain>(partition).WalkAsync();
            return null;
        }
        catch (Exception error)
        {
            return error;
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
