// The worker's scheduling loop. It never blocks on a single call: it collects finished tasks, starts what can be
// started, and sleeps until another task finishes. At any time there is at most one evaluation, which pictures share,
// one turn at the queue, one load of a model, and one pending call per job. A job whose picture is in the evaluation
// gets no call; a picture at the end of a step waits until its call can report the step. The loop runs on a task of its
// own, not on a grain's scheduler.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Workers;
using Atelier.Grains.Batching;
using Atelier.Grains.Models;
using Atelier.Grains.Pools;
using Atelier.Grains.Ports;
using Atelier.Grains.Telemetry;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Workers;

/// <summary>The loop of one device.</summary>
internal sealed class WorkerLoop
{
    // Number of retry pauses before a write that a blob store has refused is attempted again.
    private const int StorePauses = 10;

    private readonly DeviceDescription _device;
    private readonly IGrainFactory _grains;
    private readonly WorkerOptions _options;
    private readonly TimeProvider _clock;
    private readonly ILogger<WorkerLoop> _logger;
    private readonly WorkerCalls _calls;
    private readonly ModelResidency _models;
    private readonly DeviceShare _share;
    private readonly StepBatcher<IDenoising> _batcher;
    private readonly List<WorkerJob> _jobs = [];
    private readonly List<LeaseRelease> _releases = [];
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly WakeSignal _wake;

    private Task? _evaluation, _load, _registration, _turn;
    private WorkerJob[] _batch = [];
    private TurnResult? _turnResult;
    private DateTimeOffset _evaluateFrom, _turnFrom, _turnBy;
    private long _attempt;

    // The first is set to true by any thread, and to false only by the loop, when it takes the turn.
    private volatile bool _turnIsDue = true, _draining;
    private volatile WorkerStatus? _status;

    /// <summary>Creates a loop; <see cref="RunAsync"/> starts it.</summary>
    public WorkerLoop(
        WorkerKey key, IDeviceHost device, IBlobStore blobs, IGrainFactory grains, WorkerOptions options,
        ModelOptions models, DeviceShare share, TimeProvider clock, WorkerInstruments instruments,
        ILogger<WorkerLoop> logger)
    {
        (Key, _device, _grains, _options, _clock, _logger) = (key, device.Description, grains, options, clock, logger);
        _batcher = new StepBatcher<IDenoising>(_device.Slots, _device.Rows);
        var busy = new BusyTime(instruments, clock);
        _calls = new WorkerCalls(
            key, device, blobs, grains, options, clock, instruments, busy, logger, OnStateChanged);
        _models = new ModelResidency(key, device, grains, options, models, clock, busy, logger);
        (_wake, _share, _attempt) = (new WakeSignal(clock), share, clock.GetUtcNow().UtcTicks);
    }

    /// <summary>The worker.</summary>
    public WorkerKey Key { get; }

    /// <summary>The worker's current status.</summary>
    public WorkerStatus Status => _status ?? NewStatus();

    /// <summary>Makes the loop take a turn at the queue now.</summary>
    public void Wake() => OnStateChanged(takesTurn: true);

    /// <summary>Drains the worker: it takes no more work, returns what it holds, and its loop ends.</summary>
    public Task DrainAsync()
    {
        _logger.WorkerDrains(Key, Status.Held);
        _draining = true;
        _wake.Set();

        // The loop ends by itself after the drain timeout, but may be asleep at that time.
        return _ended.Task.WaitAsync(_options.DrainTimeout + (2 * _options.IdlePeriod), _clock);
    }

    /// <summary>Runs the loop until the worker has drained.</summary>
    public async Task RunAsync()
    {
        _logger.WorkerBegins(Key, _device.DeviceKind);
        try
        {
            DateTimeOffset? drainBy = null;
            while (true)
            {
                CollectResults();
                if (_draining)
                {
                    // Work that is not returned by then resumes elsewhere, when its lease expires.
                    drainBy ??= _clock.GetUtcNow() + _options.DrainTimeout;
                    _jobs.ForEach(job => Return(job, notifyQueue: true));
                }

                StartWork();
                _share.SetServing(_jobs.Count > 0);
                _status = NewStatus();
                bool isEmpty = _jobs.Count == 0 && _releases.Count == 0 && _turn is null && _load is null;
                if (_draining && (isEmpty || _clock.GetUtcNow() >= drainBy))
                {
                    _logger.WorkerEnds(Key, _jobs.Count);
                    break;
                }

                TimeSpan left = drainBy is { } by ? by - _clock.GetUtcNow() : _options.IdlePeriod;
                await _wake.SleepAsync(TimeSpan.FromTicks(Math.Clamp(left.Ticks, 0, _options.IdlePeriod.Ticks)));
            }
        }
        catch (Exception error)
        {
            _logger.WorkerFaulted(Key, error);
            _options.OnFault(error);
        }
        finally
        {
            _ended.TrySetResult();
        }
    }

    // Collects the results of finished tasks.
    private void CollectResults()
    {
        if (_evaluation is { IsCompleted: true })
        {
            if (!IsAnswered(_evaluation, "An evaluation"))
            {
                _evaluateFrom = _clock.GetUtcNow() + _options.RetryPause;
            }

            _turnIsDue |= Array.Exists(_batch, job => job.Picture!.IsBetweenSteps);
            (_evaluation, _batch) = (null, []);
        }

        if (_turn is { IsCompleted: true })
        {
            if (!IsAnswered(_turn, "A turn"))
            {
                // Work continues without the queue.
                _turnFrom = _clock.GetUtcNow() + _options.RetryPause;
            }

            TurnResult? result = _turnResult;
            (_turn, _turnResult) = (null, null);
            if (result is not null)
            {
                ApplyTurn(result);
            }
        }

        if (_load is { IsCompleted: true })
        {
            _models.EndLoad(IsAnswered(_load, "A load"));
            (_load, _turnIsDue) = (null, true);
        }

        if (_registration is { IsCompleted: true })
        {
            _ = IsAnswered(_registration, "A registration");
            _registration = null;
        }

        foreach (WorkerJob job in _jobs.ToArray())
        {
            if (job.Call is { IsCompleted: true } call)
            {
                job.Call = null;
                CompleteCall(job, call);
            }

            if (job.IsOver && job.Call is null && !_batch.Contains(job))
            {
                Remove(job);
            }
            else if (job is { Call: null, Picture: { } picture, Latent: null } && !_batch.Contains(job))
            {
                Place(job, picture);
            }
        }
    }

    // A picture stays in the batcher until it is done. If the slot is still held by a departing picture, the job joins
    // once that slot is free.
    private void Place(WorkerJob job, IDenoising picture)
    {
        if (picture.IsDone)
        {
            _batcher.Drop(picture);
            (job.Latent, job.IsLeaving) = (picture.Latent(), false);
        }
        else if (!job.IsJoined)
        {
            job.IsJoined = _batcher.TryJoin(picture, job.Key.Tenant.Value);
        }
    }

    // An unanswered call is retried later.
    private void CompleteCall(WorkerJob job, Task call)
    {
        using var trace = new CurrentActivity(job.Activity);
        if (!IsAnswered(call, $"A call for {job.Key}"))
        {
            // A full disk would refuse an immediate retry, so the pause is longer.
            TimeSpan pause = call.Exception?.InnerException is IOException
                ? StorePauses * _options.RetryPause : _options.RetryPause;
            (job.SentStep, job.RetryAt) = (job.ReportedStep, _clock.GetUtcNow() + pause);
        }
    }

    // Whether a task succeeded; false if its outcome is unknown. Any other failure is a fault of the loop and is
    // thrown.
    private bool IsAnswered(Task task, string what)
    {
        if (task.IsCompletedSuccessfully)
        {
            return true;
        }

        Exception error = task.Exception?.InnerException ?? new TaskCanceledException(task);
        if (!GrainCalls.IsTransient(error))
        {
            throw new InvalidOperationException($"{what} failed.", error);
        }

        _logger.CallUnanswered(Key, error);
        return false;
    }

    // Applies the queue's answer to the last turn.
    private void ApplyTurn(TurnResult result)
    {
        for (int i = 0; i < result.Asked.Length; i++)
        {
            if (result.Answer.Verdicts[i] is not WorkVerdict.Continue and var verdict)
            {
                Return(result.Asked[i], verdict == WorkVerdict.Park);
            }
        }

        foreach (LeasedWork lease in result.Answer.Leased)
        {
            _jobs.Add(new WorkerJob(lease, ++_attempt) { IsAloneHere = _jobs.Count == 0 });
            _models.MarkUsed(lease.Item.Model);
        }

        if (result.Answer.Load is { } model)
        {
            MakeRoomFor(model);
        }
    }

    // Work of the models to evict is returned at the end of its step.
    private void MakeRoomFor(ModelDigest model)
    {
        IReadOnlyList<ModelDigest> leaving = _draining
            ? [] : _models.Plan(model, one => _jobs.Exists(job => job.Item.Model == one));
        foreach (WorkerJob job in _jobs.Where(job => leaving.Contains(job.Item.Model)))
        {
            Return(job, notifyQueue: true);
        }
    }

    // Jobs that have only their output left to store are finished on this worker.
    private static void Return(WorkerJob job, bool notifyQueue)
    {
        if (job is { IsLeaving: false, Output: null, Latent: null })
        {
            (job.IsLeaving, job.NotifiesQueue) = (true, notifyQueue);
        }
    }

    private void Remove(WorkerJob job)
    {
        _jobs.Remove(job);
        job.EndActivity();
        if (job.Release is { } release)
        {
            _releases.Add(release);
        }

        // A job that another worker still holds is left to that worker: without the pause this one would lease it again
        // at once.
        _turnIsDue = true;
        _turnFrom = job.IsDenied ? _clock.GetUtcNow() + _options.RetryPause : _turnFrom;
        if (job.Picture is { } picture)
        {
            _batcher.Drop(picture);
            picture.Dispose();
        }
    }

    // Starts what can be started. A step is reported before the next evaluation overwrites its state.
    private void StartWork()
    {
        DateTimeOffset now = _clock.GetUtcNow();
        foreach (WorkerJob job in _jobs)
        {
            if (job is { Call: null, IsOver: false } && now >= job.RetryAt && !_batch.Contains(job)
                && _calls.Next(job) is { } call)
            {
                job.Call = _wake.RunAsync(() => WorkerCalls.RunAsync(job, call));
            }
        }

        if (_evaluation is null && now >= _evaluateFrom && NextBatch() is { Length: > 0 } batch)
        {
            _batch = batch;
            _evaluation = _wake.RunAsync(() => _calls.EvaluateAsync(batch));
        }

        if (_registration is null && !_draining && _models.IsRegistrationDue)
        {
            _registration = _wake.RunAsync(_models.RegisterAsync);
        }

        if (_models.OnlyMissing is { } only)
        {
            MakeRoomFor(only);
        }

        // A job whose output waits to be stored no longer needs its model.
        if (_load is null && !_draining && _models.BeginLoad(
            model => _jobs.Exists(job => job is { Output: null, Latent: null } && job.Item.Model == model)) is { } load)
        {
            _load = _wake.RunAsync(load);
        }

        bool asks = !_draining && now >= _turnFrom && (_turnIsDue || now >= _turnBy);
        if (_turn is null && (asks || _releases.Count > 0))
        {
            BeginTurn(asks, now);
        }
    }

    private void BeginTurn(bool asks, DateTimeOffset now)
    {
        WorkerJob[] jobs = [.. _jobs];
        LeaseRelease[] releases = [.. _releases];
        _releases.Clear();
        if (asks)
        {
            (_turnIsDue, _turnBy) = (false, now + _options.IdlePeriod);
        }

        var turn = new WorkerTurn
        {
            Worker = Key.ToString(), DeviceKind = _device.DeviceKind, Roles = _device.Roles,
            Free = _share.IsKept ? 0 : WorkerJob.FreeBeside(jobs, _device.Slots),
            Models = [.. _models.States()],
            LoadAge = _models.LoadAge, Speed = _calls.Speed,
        };
        _turn = _wake.RunAsync(() => TurnAsync(asks ? jobs : null, turn, releases));
    }

    // Leases are released before the turn, so no turn reports a lease that was released or stopped. A lease whose
    // release is lost expires.
    private async Task TurnAsync(WorkerJob[]? jobs, WorkerTurn turn, LeaseRelease[] releases)
    {
        await Task.WhenAll(releases.Select(one => GrainCalls.TryAsync(() => _grains.WorkQueue().ReleaseAsync(one))));
        if (jobs is not null)
        {
            WorkerJob[] asked = [.. jobs.Where(job => job is not { IsLeaving: true, NotifiesQueue: false })];
            HeldWork[] held = [.. asked.Select(job => new HeldWork(job.Lease, job.Item, job.Done))];
            _turnResult = new TurnResult(asked, await _grains.WorkQueue().TurnAsync(turn with { Held = held }));
        }
    }

    // Departing pictures come first, because others wait for their slots.
    private WorkerJob[] NextBatch()
    {
        var ready = _jobs.Where(job => job.CanContinue).ToDictionary(job => job.Picture!);
        bool leave = ready.Values.Any(job => job.IsLeaving);
        IReadOnlyList<IDenoising> batch = _batcher.Next(
            picture => ready.TryGetValue(picture, out WorkerJob? job) && (job.IsLeaving || !leave));
        return [.. batch.Select(picture => ready[picture])];
    }

    private void OnStateChanged(bool takesTurn)
    {
        if (takesTurn)
        {
            _turnIsDue = true;
        }

        _wake.Set();
    }

    private WorkerStatus NewStatus() => new()
    {
        Key = Key, DeviceKind = _device.DeviceKind, Roles = _device.Roles, Slots = _device.Slots, Held = _jobs.Count,
        Model = _models.Latest, Draining = _draining,
    };

    // The queue's answer to a turn, in the order of the jobs that were reported.
    private sealed record TurnResult(WorkerJob[] Asked, TurnAnswer Answer);
}
