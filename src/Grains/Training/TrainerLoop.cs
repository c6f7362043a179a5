// The loop of a device that its silo lends to training: it asks the pool of devices for a run, and trains the run's
// stage until the stage is over, the pool moves the device, or the silo stops.
using Atelier.Contracts.Workers;
using Atelier.Grains.Pools;
using Atelier.Grains.Ports;
using Atelier.Grains.Workers;
using Atelier.Training.Worlds;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Training;

/// <summary>The loop of one device that is lent to training.</summary>
/// <param name="key">Key of the device's worker: silo and device.</param>
/// <param name="incarnation">Number of the process; a later process of the same silo has a larger number.</param>
/// <param name="device">The device.</param>
/// <param name="serves">Whether the device draws pictures, too.</param>
/// <param name="share">The device's share between pictures and training.</param>
/// <param name="network">Opens the connections between trainers.</param>
/// <param name="blobs">The store of checkpoints.</param>
/// <param name="grains">The grains.</param>
/// <param name="options">Options of trainers.</param>
/// <param name="pool">Options of the pool.</param>
/// <param name="clock">The clock.</param>
/// <param name="instruments">The metrics.</param>
/// <param name="logger">The log.</param>
internal sealed class TrainerLoop(
    WorkerKey key, long incarnation, ITrainingWork device, bool serves, DeviceShare share, ITrainerNetwork network,
    IBlobStore blobs, IGrainFactory grains, TrainerOptions options, PoolOptions pool, TimeProvider clock,
    TrainingInstruments instruments, ILogger logger)
{
    private readonly Dictionary<string, long> _refusedAt = new(StringComparer.Ordinal);
    private readonly WakeSignal _wake = new(clock);
    private volatile StageSession? _session;
    private long _sessions;

    /// <summary>Key of the device's worker: silo and device.</summary>
    public WorkerKey Key => key;

    /// <summary>Key of the stage that the trainer is training; null if there is none.</summary>
    public string? Stage { get; private set; }

    /// <summary>Makes the trainer report to the manager of its stage, and to the pool, at once.</summary>
    public void Wake()
    {
        _session?.Wake();
        _wake.Set();
    }

    /// <summary>Asks the pool for stages and trains them, one after another, until the silo stops.</summary>
    public async Task RunAsync(CancellationToken stopping)
    {
        while (!stopping.IsCancellationRequested)
        {
            string stage = "";
            try
            {
                DeviceUse use = await ReportAsync(null, null) ?? default;
                stage = use.Run ?? "";
                if (use.Run is not null
                    && await GrainCalls.TryAsync(grains.GetGrain<ITrainingStageGrain>(stage).PlanAsync) is { } plan)
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
                GrainCalls.Count(error, nameof(RunAsync));
                await Task.Delay(options.IdlePeriod, clock, CancellationToken.None);
            }
            catch (Exception error)
            {
                logger.TrainerLoopFailed(key, stage, error);
                Pause(stage);
            }
        }
    }

    // Returns what the pool uses the device for; null if the pool does not answer.
    private async Task<DeviceUse?> ReportAsync(string? stage, int? shards)
    {
        foreach ((string refused, long at) in _refusedAt)
        {
            if (clock.GetElapsedTime(at) >= options.RefusedPause)
            {
                _refusedAt.Remove(refused);
            }
        }

        var report = new PoolDevice(key.ToString())
        {
            Serves = serves, Idle = share.Idle, Run = stage, RunDevicesMax = shards, Refused = [.. _refusedAt.Keys],
        };
        DeviceUse[]? answer = await GrainCalls.TryAsync(async () =>
            (DeviceUse[])[await grains.GetGrain<IDevicePoolGrain>(0).ReportAsync(report)]);
        return answer?[0];
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
                new CheckpointBlobs(blobs, new BlobOwner(BlobOwnerType.Run, plan.Run)), options, share, clock,
                instruments, logger)
            {
                BeginsAt = beginsAt,
            };
            logger.TrainerJoins(id, stageKey);
            (_session, Stage) = (session, stageKey);
            using var leaving = CancellationTokenSource.CreateLinkedTokenSource(stopping);
            using var over = CancellationTokenSource.CreateLinkedTokenSource(stopping);
            Task following = FollowPoolAsync(stageKey, work.Facts.Shards, leaving, over.Token);
            SessionEnd end;
            try
            {
                end = await session.RunAsync(network, leaving.Token);
            }
            catch (IOException error)
            {
                // The port for peers is in use, or its address is not this machine's.
                end = new SessionEnd(error.Message, IsFault: true);
            }
            finally
            {
                (_session, Stage) = (null, null);
                await over.CancelAsync();
                await following;
                share.IsKept = false;
            }

            logger.TrainerLeaves(id, stageKey, end.Reason);
            if (end.IsFault)
            {
                Pause(stageKey);
                await stage.RefuseAsync(key.ToString(), end.Reason);
            }
        }
    }

    // Reports to the pool while the device trains, and leaves the stage if the pool needs the device elsewhere.
    private async Task FollowPoolAsync(
        string stage, int shards, CancellationTokenSource leaving, CancellationToken over)
    {
        await using CancellationTokenRegistration _ = over.Register(_wake.Set);
        while (!over.IsCancellationRequested)
        {
            if (await ReportAsync(stage, shards) is { } use)
            {
                share.IsKept = use.IsKept;
                if (use.Run != stage)
                {
                    logger.TrainerMoves(key, stage, use.Run ?? "no stage");
                    await leaving.CancelAsync();
                    return;
                }
            }

            await _wake.SleepAsync(pool.ReportPeriod);
        }
    }

    // Delays the next attempt, so that a persistent fault does not make the trainer open the stage again and again.
    private void Pause(string stage) => _refusedAt[stage] = clock.GetTimestamp();
}
