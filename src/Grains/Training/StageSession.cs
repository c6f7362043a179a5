// One trainer's work in one stage. A session runs the pure replica on a thread of its own, and connects it with the
// device, the peers, the manager (by heartbeats), and the copies that become checkpoints.
using System.Collections.Concurrent;
using System.Threading.Channels;
using Atelier.Grains.Pools;
using Atelier.Grains.Ports;
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Atelier.Training.Stages;
using Atelier.Training.Worlds;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Training;

/// <summary>Why a session ended.</summary>
/// <param name="Reason">The reason, for the log.</param>
/// <param name="IsFault">Whether the trainer failed or was refused; the next attempt is then delayed.</param>
internal readonly record struct SessionEnd(string Reason, bool IsFault);

/// <summary>Trains a stage until it is over, the trainer is refused, or its silo stops.</summary>
internal sealed partial class StageSession : IReplicaHost<GradientSlice>, ITrainerPeerEvents, IDisposable
{
    // The speed in shards per second that a trainer reports before it has computed one.
    private const double UnmeasuredSpeed = 1;

    // Number of steps for which the other members wait while the device draws pictures.
    private const double StepsWaited = 2;

    private readonly TrainerId _id;
    private readonly string _worker;
    private readonly StagePlan _plan;
    private readonly IStageWork _work;
    private readonly ITrainingStageGrain _stage;
    private readonly TrainerOptions _options;
    private readonly DeviceShare _share;
    private readonly TimeProvider _clock;
    private readonly TrainingInstruments _instruments;
    private readonly ILogger _logger;
    private readonly string _stageKey;
    private readonly CheckpointBlobs _blobs;
    private readonly CheckpointKeeper _keeper;
    private readonly TrainedStage _state;
    private readonly Replica<GradientSlice> _replica;
    private readonly BlockingCollection<Action> _events = [];
    private readonly Channel<ShardTask> _shards = Channel.CreateUnbounded<ShardTask>();
    private readonly SemaphoreSlim _signal = new(0);
    private readonly CancellationTokenSource _closing = new();
    private readonly TaskCompletionSource<SessionEnd> _over = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Members to which a connection of this world has ended. Frames in flight were lost with it, so the link counts as
    // broken until the next world, even if the connection is established again.
    private readonly ConcurrentDictionary<TrainerId, bool> _broken = new();

    private ITrainerPeers _peers = null!;
    private volatile Snapshot _snapshot = new(0, 0, HasState: false, 0, IsMember: false);
    private volatile string? _failure;
    private volatile bool _isLoading;
    private (int World, long At) _lastApplied;
    private TrainingState? _copy;
    private CancellationTokenSource? _restoring;
    private Task _restored = Task.CompletedTask;
    private double _speed = UnmeasuredSpeed;
    private double _stepSeconds;
    private volatile TaskCompletionSource _hasNewWorld = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _safeStep;

    /// <summary>Creates a session; <see cref="RunAsync"/> runs it.</summary>
    public StageSession(
        TrainerId id, string worker, string stageKey, StagePlan plan, IStageWork work, ITrainingStageGrain stage,
        CheckpointBlobs blobs, TrainerOptions options, DeviceShare share, TimeProvider clock,
        TrainingInstruments instruments,
        ILogger logger)
    {
        (_id, _worker, _stageKey, _plan, _work, _stage) = (id, worker, stageKey, plan, work, stage);
        (_blobs, _options, _share, _clock, _instruments, _logger) = (
            blobs, options, share, clock, instruments, logger);
        _keeper = new CheckpointKeeper(blobs, work.Facts.Metadata, logger);
        _state = new TrainedStage(work, _keeper, ReadPlannedAsync, text => _logger.StageRemark(_stageKey, text));
        _replica = new Replica<GradientSlice>(
            id, work.Facts.Shards, GradientSlice.Merge, this, work.Facts.Rules.Steps, TotalsMax(options, work.Facts));
    }

    /// <summary>The step at which the stage begins, according to this trainer.</summary>
    public long BeginsAt { get; init; }

    private sealed record Snapshot(int World, int Promised, bool HasState, long Position, bool IsMember)
    {
        public long Since { get; init; } = long.MaxValue;

        public ShardDispute? Dispute { get; init; }

        public TrialClaim? Trial { get; init; }
    }

    /// <summary>Makes the trainer report to the manager at once.</summary>
    public void Wake()
    {
        try
        {
            if (_signal.CurrentCount == 0)
            {
                _signal.Release();
            }
        }
        catch (ObjectDisposedException)
        {
            // The session is over.
        }
    }

    /// <summary>Trains the stage; returns why the session ended.</summary>
    /// <param name="network">Opens the connections.</param>
    /// <param name="stopping">
    /// Canceled when the silo stops or the device is needed elsewhere; the trainer then leaves the stage.
    /// </param>
    public async Task<SessionEnd> RunAsync(ITrainerNetwork network, CancellationToken stopping)
    {
        await using ITrainerPeers peers = await network.ListenAsync(
            _id, _stageKey, _work.Facts, this, _closing.Token);
        _peers = peers;
        using CancellationTokenRegistration _ = stopping.Register(Wake);
        Task acting = Task.Factory.StartNew(
            Act, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        Task[] running =
        [
            GuardAsync(ComputeAsync), GuardAsync(() => _keeper.RunAsync(_closing.Token)),
            GuardAsync(() => ReportAsync(stopping)),
        ];
        try
        {
            return await _over.Task.WaitAsync(CancellationToken.None);
        }
        finally
        {
            await _closing.CancelAsync();
            _events.CompleteAdding();
            await acting;
            await Task.WhenAll([.. running, _restored]);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _restoring?.Dispose();
        _closing.Dispose();
        _signal.Dispose();
        _events.Dispose();
    }

    void ITrainerPeerEvents.Received(TrainerId from, Frame frame, IDisposable credit) => Post(() =>
    {
        using (credit)
        {
            if (SliceLayout.Fits(frame, (int)_work.Facts.Parameters, _replica.World?.Members.Length ?? 1)
                || frame.World != _replica.World?.Number)
            {
                _replica.Receive(from, frame);
            }
        }
    });

    void ITrainerPeerEvents.Disconnected(TrainerId peer)
    {
        _broken[peer] = true;
        Post(() => _replica.Disconnected(peer));
        Wake();
    }

    // These waits may block, because the thread belongs to the session alone.
#pragma warning disable VSTHRD002
    private static void Wait(Task task) => task.GetAwaiter().GetResult();

    private static T Wait<T>(Task<T> task) => task.GetAwaiter().GetResult();
#pragma warning restore VSTHRD002

    private static int TotalsMax(TrainerOptions options, StageFacts facts)
    {
        long inMemory = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 8 / (sizeof(float) * facts.Parameters);
        return (int)Math.Clamp(inMemory, 2, options.TotalsMax);
    }

    private void Post(Action action)
    {
        try
        {
            _events.Add(action);
        }
        catch (InvalidOperationException)
        {
            // The session is over.
        }
    }

    private void Act()
    {
        try
        {
            foreach (Action action in _events.GetConsumingEnumerable())
            {
                action();
                Snapshot before = _snapshot;
                _snapshot = new Snapshot(
                    _replica.World?.Number ?? 0, _replica.Promised, _replica.HasState && CanRollBack(),
                    _replica.Position, _replica.IsMember)
                {
                    Since = _replica.Since, Dispute = _replica.Dispute, Trial = _replica.Trial,
                };
                _isLoading = false;
                if (_snapshot.World != before.World)
                {
                    SignalWorld();
                }

                if (_snapshot.World != before.World || _snapshot.Promised != before.Promised
                    || (_snapshot.Dispute is not null && before.Dispute is null)
                    || (_snapshot.HasState && !before.HasState))
                {
                    Wake();
                }
            }
        }
        catch (TrainingFailedException failure)
        {
            // All replicas fail in the same way, and the manager ends the stage.
            _failure = failure.Message;
            Wake();
        }
        catch (Exception) when (_closing.IsCancellationRequested)
        {
            // The session is over.
        }
        catch (Exception error)
        {
            Fail(error);
        }
    }

    private void SignalWorld()
    {
        TaskCompletionSource changed = _hasNewWorld;
        _hasNewWorld = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        changed.SetResult();
    }

    private void Fail(Exception error)
    {
        _logger.TrainerFailed(_id, _stageKey, error);
        string reason = error is StageRefusedException ? error.Message : $"the trainer failed: {error.Message}";
        _over.TrySetResult(new SessionEnd(reason, IsFault: true));
    }

    // A member must be able to roll back to the last planned checkpoint, from the store or from its own copy.
    private bool CanRollBack() =>
        _state.LastPlanned <= Interlocked.Read(ref _safeStep) || _keeper.Find(_state.LastPlanned) is not null;

    private async Task GuardAsync(Func<Task> work)
    {
        try
        {
            await Task.Run(work, _closing.Token);
        }
        catch (Exception) when (_closing.IsCancellationRequested)
        {
            // The session is over.
        }
        catch (Exception error)
        {
            Fail(error);
        }
    }

    private async Task ReportAsync(CancellationToken stopping)
    {
        long? leavingSince = null;
        while (!_over.Task.IsCompleted)
        {
            if (stopping.IsCancellationRequested)
            {
                leavingSince ??= _clock.GetTimestamp();
            }

            StageAnswer? answer = await AskAsync(Report(leavingSince is not null));
            if (answer is not null)
            {
                Take(answer);
            }

            if (leavingSince is { } since && (HasLeft(answer) || _clock.GetElapsedTime(since) > _options.LeaveTimeout))
            {
                _over.TrySetResult(new SessionEnd("it was asked to leave", IsFault: false));
            }

            TimeSpan pause = leavingSince is null ? _options.HeartbeatPeriod : _options.HeartbeatPeriod / 5;
            await _signal.WaitAsync(pause, _closing.Token);
        }
    }

    // Returns null if the manager is unavailable. Training continues meanwhile.
    private async Task<StageAnswer?> AskAsync(StageReport report)
    {
        try
        {
            Task<StageAnswer> call = _stage.ReportAsync(report);
            if (await Task.WhenAny(call, Task.Delay(_options.LostAfter, _clock)) != call)
            {
                Post(_replica.ManagerIsSilent);
            }

            return await call;
        }
        catch (Exception error) when (GrainCalls.IsTransient(error) || error is InvalidOperationException)
        {
            GrainCalls.Count(error, nameof(ReportAsync));
            Post(_replica.ManagerIsSilent);
            return null;
        }
    }

    // A loan of the device to pictures that is shorter than two steps is waited for.
    private bool IsServing
    {
        get
        {
            double step = Volatile.Read(ref _stepSeconds);
            return _share.Serving.TotalSeconds is > 0 and var time
                && time > StepsWaited * Math.Max(step, _options.HeartbeatPeriod.TotalSeconds / StepsWaited);
        }
    }

    private bool HasLeft(StageAnswer? answer) =>
        !_snapshot.IsMember && answer?.Manager is { World: null } manager && manager.LastWorld <= _snapshot.World;

    private StageReport Report(bool isLeaving)
    {
        Snapshot now = _snapshot;
        StateReport state = _keeper.Report;

        // While a state is loaded, digests are missing that belong to the snapshot.
        bool isSame = !_isLoading && ReferenceEquals(now, _snapshot);
        return new StageReport(new TrainerReport
        {
            Id = _id, Address = _peers.Address, Speed = _speed, IsMeasured = _speed != UnmeasuredSpeed,
            World = now.World, Promised = now.Promised, HasState = now.HasState, Position = now.Position,
            IsLeaving = isLeaving, IsServing = IsServing,
            Unreachable = [.. now.IsMember ? _peers.Unreachable.Union(_broken.Keys) : _peers.Unreachable],
            Dispute = now.Dispute, Trial = now.Trial,
        })
        {
            Worker = _worker, Identity = _work.Facts.Identity, Parameters = _work.Facts.Parameters,
            Vectors = [.. _work.Facts.Vectors], Shards = _work.Facts.Shards, Steps = _work.Facts.Rules.Steps,
            CheckpointsKept = _work.Facts.CheckpointsKept, PanelInterval = _work.Facts.PanelInterval,
            BeginsAt = BeginsAt,
            State = state with { Failure = _failure, Since = isSame ? now.Since : long.MaxValue }, Loss = _state.Loss,
            End = now.HasState ? _state.End : null, Batch = _work.Facts.Batch,
            StepSeconds = Volatile.Read(ref _stepSeconds) is > 0 and var seconds ? seconds : null,
        };
    }

    private void Take(StageAnswer answer)
    {
        Interlocked.Exchange(ref _safeStep, answer.SafeStep);
        if (_keeper.Drop(answer.SafeStep, answer.Returned))
        {
            Post(_replica.Continue);
        }

        _keeper.Add(answer.Tasks);
        if (answer.Refusal is { } refusal)
        {
            _over.TrySetResult(new SessionEnd(refusal, IsFault: true));
        }
        else if (answer.IsOver)
        {
            _over.TrySetResult(new SessionEnd("the stage is over", IsFault: false));
        }
        else if (answer.Manager is { } manager)
        {
            if (_failure is { } failure && manager.LastWorld > _snapshot.World)
            {
                _over.TrySetResult(new SessionEnd(failure, IsFault: true)); // The others continue without this trainer.
                return;
            }

            Post(() => TakeAnswer(manager));
        }
    }

    private void TakeAnswer(ManagerAnswer manager)
    {
        if (manager.World is { } world && world.Number > (_replica.World?.Number ?? 0))
        {
            _broken.Clear();
            _peers.Connect(world.Members.ToDictionary(member => member.Id, member => member.Address));
        }

        _replica.TakeAnswer(manager);
    }
}
