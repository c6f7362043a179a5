// The part of a session that serves its replica's requests: it computes shards in order, and reads, copies and loads
// states.
using System.Collections.Immutable;
using Atelier.Grains.Ports;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;

namespace Atelier.Grains.Training;

internal sealed partial class StageSession
{
    private enum ShardUse
    {
        Step,
        Verification,
        Trial,
    }

    private readonly record struct ShardTask(int World, long Step, int Shard, int Slices, ShardUse Use);

    void IReplicaHost<GradientSlice>.Send(TrainerId to, Frame frame) => _peers.Send(to, frame);

    void IReplicaHost<GradientSlice>.Compute(int world, long step, int shard, int slices) =>
        _shards.Writer.TryWrite(new ShardTask(world, step, shard, slices, ShardUse.Step));

    void IReplicaHost<GradientSlice>.Verify(int world, long step, int shard, bool isTrial) =>
        _shards.Writer.TryWrite(
            new ShardTask(world, step, shard, 1, isTrial ? ShardUse.Trial : ShardUse.Verification));

    ImmutableArray<ShardClaim> IReplicaHost<GradientSlice>.Review(
        long step, ImmutableArray<GradientSlice> totals, bool all) => Wait(_state.ReviewAsync(step, totals, all));

    bool IReplicaHost<GradientSlice>.CanApply() => _state.CanApply();

    void IReplicaHost<GradientSlice>.Apply(long step, ImmutableArray<GradientSlice> totals)
    {
        long begun = _clock.GetTimestamp();
        _copy = null;
        (bool isCheckpoint, long samples) = Wait(_state.ApplyAsync(step, _closing.Token));
        long now = _clock.GetTimestamp();
        (int World, long At) last = _lastApplied;
        _lastApplied = (_replica.IsMember ? _replica.World!.Number : 0, now);
        bool isNext = last.World > 0 && last.World == _lastApplied.World;
        if (isNext && _share.Serving == TimeSpan.Zero)
        {
            double seconds = _clock.GetElapsedTime(last.At, now).TotalSeconds;
            _stepSeconds = _stepSeconds == 0 ? seconds : (0.8 * _stepSeconds) + (0.2 * seconds);
        }

        _instruments.Applied(
            isNext ? _clock.GetElapsedTime(last.At, now) : null, _clock.GetElapsedTime(begun, now), isCheckpoint,
            samples);
    }

    object IReplicaHost<GradientSlice>.Copy(int part, int parts) =>
        new StatePart((_copy ??= Wait(_state.StateAsync())).ToCopy(), part, parts);

    bool IReplicaHost<GradientSlice>.LoadParts(IReadOnlyList<object> parts)
    {
        ReceivedPart[] received = [.. parts.Cast<ReceivedPart>()];
        try
        {
            (_copy, _isLoading) = (null, true);
            using IStateCopy copy = StateParts.Join(received);
            Wait(_state.LoadAsync(
                TrainingState.FromCopy(copy, _work.Facts.Vectors, _work.Facts.Parameters),
                _replica.World?.Number ?? 0));
            return true;
        }
        catch (InvalidDataException error)
        {
            Array.ForEach(received, part => part.Bytes.Dispose());
            _logger.CopyNotLoaded(_id, _stageKey, error.Message);
            return false;
        }
    }

    void IReplicaHost<GradientSlice>.Load(object state)
    {
        (_copy, _isLoading) = (null, true);
        switch (state)
        {
            case TrainingState restored:
                Wait(_state.LoadAsync(restored, _replica.World?.Number ?? 0));
                break;
            case Beginning beginning:
                Wait(_state.ResetAsync(beginning.From));
                break;
            default:
                throw new ArgumentException($"{state} is not the state of a stage.", nameof(state));
        }
    }

    // A later request replaces an earlier one, which is still reading.
    void IReplicaHost<GradientSlice>.Restore(long step)
    {
        CancellationTokenSource? earlier = _restoring;
        CancellationTokenSource now = _restoring = CancellationTokenSource.CreateLinkedTokenSource(_closing.Token);
        Task before = _restored;
        _restored = GuardAsync(async () =>
        {
            await (earlier?.CancelAsync() ?? Task.CompletedTask);
            await before.WaitAsync(CancellationToken.None);
            try
            {
                await RestoreAsync(step, now.Token);
            }
            catch (OperationCanceledException) when (now.IsCancellationRequested)
            {
                // Replaced, or the session is over.
            }
        });
    }

    private async Task ComputeAsync()
    {
        await foreach (ShardTask task in _shards.Reader.ReadAllAsync(_closing.Token))
        {
            if (!await MayComputeAsync(task))
            {
                continue;
            }

            int[] shards = [task.Shard, .. MoreOf(task)];
            long start = _clock.GetTimestamp();
            IReadOnlyList<ShardSum> sums = await _work.ComputeShardsAsync(task.Step, shards);
            double speed = shards.Length / Math.Max(1e-6, _clock.GetElapsedTime(start).TotalSeconds);
            _speed = _speed == UnmeasuredSpeed ? speed : (0.8 * _speed) + (0.2 * speed);
            for (int i = 0; i < shards.Length; i++)
            {
                Use(task with { Shard = shards[i] }, sums[i]);
            }
        }
    }

    // Waits while the device draws pictures. A shard that another trainer's result depends on is computed between two
    // pictures instead. Returns false if the task is stale, as it is once the members no longer wait for this trainer.
    private async Task<bool> MayComputeAsync(ShardTask task)
    {
        while (true)
        {
            Task changed = _hasNewWorld.Task;
            if (task.World < _snapshot.World)
            {
                return false;
            }

            if (task.Use != ShardUse.Step)
            {
                return true;
            }

            using var waiting = CancellationTokenSource.CreateLinkedTokenSource(_closing.Token);
            Task free = _share.WhenFreeAsync(waiting.Token);
            if (await Task.WhenAny(free, changed) == free)
            {
                await free;
                return task.World >= _snapshot.World;
            }

            await waiting.CancelAsync();
        }
    }

    // Takes the shards that wait behind a task and can be computed together with it.
    private IEnumerable<int> MoreOf(ShardTask task)
    {
        for (int count = 1; count < _work.ParallelShards; count++)
        {
            if (!_shards.Reader.TryPeek(out ShardTask next) || next with { Shard = task.Shard } != task)
            {
                yield break;
            }

            _shards.Reader.TryRead(out _);
            yield return next.Shard;
        }
    }

    private void Use(ShardTask task, ShardSum sum)
    {
        var claim = ShardClaim.Of(task.Shard, sum.Sums.LossSum, sum.Gradient);
        if (task.Use == ShardUse.Step)
        {
            GradientSlice[] slices = new SliceLayout(sum.Gradient.Length, task.Slices).Cut(
                sum.Gradient, sum.Sums with { World = task.World, Claims = [claim] });
            Post(() => _replica.Computed(task.World, task.Step, task.Shard, slices));
        }
        else
        {
            Post(() => _replica.Verified(task.World, task.Step, claim, task.Use == ShardUse.Trial));
            Post(Wake); // Runs after the snapshot is updated.
        }
    }

    private async Task RestoreAsync(long step, CancellationToken cancellation)
    {
        object state = await RetryAsync(
            step, () => ReadAsync(step, cancellation), error => error is InvalidDataException, cancellation);
        Post(() =>
        {
            _replica.Restored(step, state);
            Post(Wake);
        });
    }

    private async Task<object> ReadAsync(long step, CancellationToken cancellation)
    {
        if (step > 0)
        {
            return await ReadCheckpointAsync(step, cancellation);
        }

        if (_plan.From is not { } from)
        {
            return new Beginning(null);
        }

        TrainingState before = await _blobs.ReadAsync(
            from, from.Vectors, _work.Facts.Parameters, cancellation);
        return new Beginning(before.Vectors);
    }

    // For a rollback, which all members make at the same time: a call that fails is retried.
    private Task<TrainingState> ReadPlannedAsync(long step, CancellationToken cancellation) =>
        RetryAsync(
            step, () => ReadCheckpointAsync(step, cancellation), error => error is IOException, cancellation);

    private async Task<T> RetryAsync<T>(
        long step, Func<Task<T>> read, Func<Exception, bool> isRetried, CancellationToken cancellation)
    {
        while (true)
        {
            try
            {
                return await read();
            }
            catch (Exception error) when (!cancellation.IsCancellationRequested
                && (GrainCalls.IsTransient(error) || isRetried(error)))
            {
                _logger.CheckpointNotRead(_id, step, error.Message);
                await Task.Delay(_options.IdlePeriod, _clock, cancellation);
            }
        }
    }

    private async Task<TrainingState> ReadCheckpointAsync(long step, CancellationToken cancellation)
    {
        if (await _stage.CheckpointAsync(step) is not { } manifest)
        {
            return _plan.Resumes ? await ReadFolderAsync(step) : throw NotKept(step);
        }

        return await _blobs.ReadAsync(manifest, _work.Facts.Vectors, _work.Facts.Parameters, cancellation);
    }

    // Before the cluster's first checkpoint, the last checkpoint is the one in the stage's folder.
    private async Task<TrainingState> ReadFolderAsync(long step)
    {
        foreach (bool plannedOnly in new[] { false, true })
        {
            if (await _work.ReadFolderAsync(plannedOnly) is { } state && state.Position.Step == step)
            {
                return state;
            }
        }

        throw NotKept(step);
    }

    private static InvalidDataException NotKept(long step) => new($"The checkpoint of step {step} is not available.");

    // The state with which a stage begins: the vectors of the earlier stage; null if it does not start from one.
    private sealed record Beginning(IReadOnlyList<StateVector>? From);
}
