// The trainers of a silo. For each device that is lent to training there is a loop, which finds a stage and trains it,
// and a grain, which represents the device.
using Atelier.Contracts.Training;
using Atelier.Contracts.Workers;
using Atelier.Grains.Ports;
using Atelier.Grains.Workers;
using Atelier.Training.Worlds;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Concurrency;
using Orleans.Placement;

namespace Atelier.Grains.Training;

/// <summary>Runs the loops of this silo's trainers.</summary>
internal sealed class TrainerService : ILifecycleParticipant<ISiloLifecycle>, IDisposable
{
    private readonly Dictionary<string, TrainerLoop> _loops;
    private readonly CancellationTokenSource _stopping = new();
    private readonly List<Task> _running = [];

    public TrainerService(
        IEnumerable<ITrainingWork> devices, IEnumerable<ITrainerNetwork> networks, IBlobStore blobs,
        IGrainFactory grains, IOptions<TrainerOptions> options, TimeProvider clock, ILocalSiloDetails silo,
        TrainingInstruments instruments, ILogger<TrainerLoop> logger)
    {
        // The generation of the silo's address distinguishes this process from earlier ones of the same silo.
        _loops = devices
            .Select(device => new TrainerLoop(
                new WorkerKey(silo.Name, device.Device), silo.SiloAddress.Generation, device, networks.First(), blobs,
                grains, options.Value, clock, instruments, logger))
            .ToDictionary(loop => loop.Key.ToString(), StringComparer.Ordinal);
    }

    /// <summary>The loop of a device of this silo; null if the silo does not lend such a device.</summary>
    public TrainerLoop? Find(string key) => _loops.GetValueOrDefault(key);

    // Starts last, like the workers, because a trainer's calls need the whole silo.
    public void Participate(ISiloLifecycle observer) => observer.Subscribe(
        nameof(TrainerService), ServiceLifecycleStage.Last, StartAsync, StopAsync);

    /// <inheritdoc/>
    public void Dispose() => _stopping.Dispose();

    private Task StartAsync(CancellationToken cancellation)
    {
        _running.AddRange(_loops.Values.Select(loop =>
            Task.Run(() => loop.RunAsync(_stopping.Token), CancellationToken.None)));
        return Task.CompletedTask;
    }

    private async Task StopAsync(CancellationToken cancellation)
    {
        await _stopping.CancelAsync();
        await Task.WhenAll(_running).WaitAsync(cancellation);
    }
}

/// <summary>The loop of one device that is lent to training.</summary>
internal sealed class TrainerLoop(
    WorkerKey key, long incarnation, ITrainingWork device, ITrainerNetwork network, IBlobStore blobs,
    IGrainFactory grains, TrainerOptions options, TimeProvider clock, TrainingInstruments instruments, ILogger logger)
{
    private readonly Dictionary<string, long> _refusedAt = new(StringComparer.Ordinal);
    private volatile StageSession? _session;
    private long _sessions;

    /// <summary>Key of the device's worker: silo and device.</summary>
    public WorkerKey Key => key;

    /// <summary>Key of the stage that the trainer is training; null if there is none.</summary>
    public string? Stage { get; private set; }

    /// <summary>Makes the trainer report to the manager of its stage at once.</summary>
    public void Wake() => _session?.Wake();

    /// <summary>Finds open stages and trains them, one after another, until the silo stops.</summary>
    public async Task RunAsync(CancellationToken stopping)
    {
        while (!stopping.IsCancellationRequested)
        {
            (string stage, StagePlan? plan) = await FindAsync();
            try
            {
                if (plan is not null)
                {
                    await TrainAsync(stage, plan, stopping);
                }
                else
                {
                    await Task.Delay(options.IdlePeriod, clock, stopping);
                }
            }
            catch (OperationCanceledException) when (stopping.IsCancellationRequested)
            {
                return;
            }
            catch (Exception error) when (GrainCalls.IsTransient(error))
            {
                await Task.Delay(options.IdlePeriod, clock, CancellationToken.None);
            }
            catch (Exception error)
            {
                logger.TrainerLoopFailed(key, stage, error);
                Pause(stage);
            }
        }
    }

    // The first open run whose stage can be trained here. A stage that is over or paused has no plan.
    private async Task<(string Stage, StagePlan? Plan)> FindAsync()
    {
        OpenRun[] runs = await GrainCalls.TryAsync(() => grains.GetGrain<ITrainingBoardGrain>(0).ListAsync()) ?? [];
        foreach (string stage in runs.Select(run => run.StageKey).Where(stage =>
            !_refusedAt.TryGetValue(stage, out long at) || clock.GetElapsedTime(at) >= options.RefusedPause))
        {
            ITrainingStageGrain grain = grains.GetGrain<ITrainingStageGrain>(stage);
            if (await GrainCalls.TryAsync(grain.PlanAsync) is { } plan)
            {
                return (stage, plan);
            }
        }

        return ("", null);
    }

    private async Task TrainAsync(string stageKey, StagePlan plan, CancellationToken stopping)
    {
        ITrainingStageGrain stage = grains.GetGrain<ITrainingStageGrain>(stageKey);
        IStageWork? opened = null;
        long beginsAt;
        try
        {
            opened = await device.OpenAsync(plan, stopping);
            beginsAt = plan.Resumes ? (await opened.ReadFolderAsync(plannedOnly: false))?.Position.Step ?? 0 : 0;
        }
        catch (StageRefusedException refusal)
        {
            await (opened?.DisposeAsync() ?? default);
            Pause(stageKey);
            await stage.RefuseAsync(key.ToString(), refusal.Message);
            return;
        }

        await using (IStageWork work = opened)
        {
            // Every session is a new trainer, because what peers remember of an earlier session is stale.
            var id = new TrainerId(key.ToString(), (incarnation << 16) + ++_sessions);
            using var session = new StageSession(
                id, key.ToString(), stageKey, plan, work, stage,
                new CheckpointBlobs(blobs, new BlobOwner(BlobOwnerType.Run, plan.Run)), options, clock, instruments,
                logger)
            {
                BeginsAt = beginsAt,
            };
            logger.TrainerJoins(id, stageKey);
            (_session, Stage) = (session, stageKey);
            SessionEnd end;
            try
            {
                end = await session.RunAsync(network, stopping);
            }
            catch (IOException error)
            {
                // The port for peers is in use, or its address is not this machine's.
                end = new SessionEnd(error.Message, IsFault: true);
            }
            finally
            {
                (_session, Stage) = (null, null);
            }

            logger.TrainerLeaves(id, stageKey, end.Reason);
            if (end.IsFault)
            {
                Pause(stageKey);
                await stage.RefuseAsync(key.ToString(), end.Reason);
            }
        }
    }

    // Delays the next attempt, so that a persistent fault does not make the trainer open the stage again and again.
    private void Pause(string stage) => _refusedAt[stage] = clock.GetTimestamp();
}

/// <summary>Represents a trainer of the silo on which the grain is activated.</summary>
[GrainType("trainer")]
[OwnSilo, Immovable, Reentrant]
internal sealed class TrainerGrain(TrainerService trainers) : Grain, ITrainerGrain
{
    private TrainerLoop _loop = null!;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _loop = trainers.Find(this.GetPrimaryKeyString())
            ?? throw new ArgumentException($"This silo does not run a trainer '{this.GetPrimaryKeyString()}'.");
        return Task.CompletedTask;
    }

    public Task WakeAsync()
    {
        _loop.Wake();
        return Task.CompletedTask;
    }

    public Task<string?> StageAsync() => Task.FromResult(_loop.Stage);
}
