// The worker's scheduling loop. It waits for nobody: it looks at what has come back, starts what can be started, and
// sleeps until something else comes back. At any time there is at most one evaluation, which pictures share, one turn
// at the queue, one load of a model, and one pending call for each piece of work. Work whose picture takes part in the
// evaluation gets no call; a picture that has ended a step rests until its call can report it. The loop runs on a task
// of its own, not on a grain's scheduler.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Workers;
using Atelier.Grains.Batching;
using Atelier.Grains.Models;
using Atelier.Grains.Ports;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Workers;

/// <summary>The loop of one device.</summary>
internal sealed class WorkerLoop
{
    // Retry pauses between two tries of what a blob store has refused.
    private const int StorePauses = 10;

    private readonly DeviceDescription _device;
    private readonly IGrainFactory _grains;
    private readonly WorkerOptions _options;
    private readonly TimeProvider _clock;
    private readonly ILogger<WorkerLoop> _logger;
    private readonly WorkerCalls _calls;
    private readonly ModelResidency _models;
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

    // Set to true by any thread, and to false by the loop alone, as it takes the turn.
    private volatile bool _turnIsDue = true;
    private volatile bool _draining;
    private volatile WorkerStatus? _status;

    /// <summary>Makes a loop; nothing runs yet.</summary>
    public WorkerLoop(
        WorkerKey key, IDeviceHost device, IBlobStore blobs, IGrainFactory grains, WorkerOptions options,
        ModelOptions models, TimeProvider clock, WorkerInstruments instruments, ILogger<WorkerLoop> logger)
    {
        (Key, _device, _grains, _options, _clock, _logger) = (key, device.Description, grains, options, clock, logger);
        _batcher = new StepBatcher<IDenoising>(_device.Slots, _device.Rows);
        var busy = new BusyTime(instruments, clock);
        _calls = new WorkerCalls(
            key, device, blobs, grains, options, clock, instruments, busy, logger, OnStateChanged);
        _wake = new WakeSignal(clock);
        _models = new ModelResidency(key, device, grains, options, models, clock, busy, logger);
        _attempt = clock.GetUtcNow().UtcTicks;
    }

    /// <summary>The worker.</summary>
    public WorkerKey Key { get; }

    /// <summary>What it is doing.</summary>
    public WorkerStatus Status => _status ?? NewStatus();

    /// <summary>Has it look for work now.</summary>
    public void Wake() => OnStateChanged(takesTurn: true);

    /// <summary>Takes no more work, returns what it holds, and ends the loop.</summary>
    public Task DrainAsync()
    {
        _logger.WorkerDrains(Key, Status.Held);
        _draining = true;
        _wake.Set();

        // The loop ends by itself when that time is over; it may be asleep then.
        return _ended.Task.WaitAsync(_options.DrainTimeout + (2 * _options.IdlePeriod), _clock);
    }

    /// <summary>The loop; it ends when the worker has drained.</summary>
    public async Task RunAsync()
    {
        _logger.WorkerBegins(Key, _device.DeviceKind);
        try
        {
            DateTimeOffset? drainBy = null;
            while (true)
            {
                Settle();
                if (_draining)
                {
                    // What is not returned by then is resumed elsewhere when its lease expires, from its last snapshot.
                    drainBy ??= _clock.GetUtcNow() + _options.DrainTimeout;
                    _jobs.ForEach(job => Leave(job, tellQueue: true));
                }

                Start();
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

    // Takes in what has come back.
    private void Settle()
    {
        if (_evaluation is { IsCompleted: true })
        {
            if (!IsAnswered(_evaluation, "An evaluation"))
            {
                _evaluateFrom = _clock.GetUtcNow() + _options.RetryPause;
            }

            if (Array.Exists(_batch, job => job.Picture!.IsBetweenSteps))
            {
                _turnIsDue = true;
            }

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
                Follow(result);
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
                TakeIn(job, call);
            }

            if (job.IsOver && job.Call is null && !_batch.Contains(job))
            {
                Forget(job);
            }
            else if (job is { Call: null, Picture: { } picture, Latent: null } && !_batch.Contains(job))
            {
                Place(job, picture);
            }
        }
    }

    // A picture is among those that share evaluations until it is done. Where a slot is still held by one that is about
    // to leave, it joins when that is gone.
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

    // A call without an answer is made again later.
    private void TakeIn(WorkerJob job, Task call)
    {
        if (!IsAnswered(call, $"A call for {job.Key}"))
        {
            // What a full disk refuses, it refuses again: it is left alone for a while.
            TimeSpan pause = call.Exception?.InnerException is IOException
                ? StorePauses * _options.RetryPause : _options.RetryPause;
            (job.SentStep, job.RetryAt) = (job.ToldStep, _clock.GetUtcNow() + pause);
        }
    }

    // Whether a task ended well; false if its outcome is unknown. Any other failure is a fault of the loop.
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

    // Does what the queue said in the last turn.
    private void Follow(TurnResult result)
    {
        for (int i = 0; i < result.Asked.Length; i++)
        {
            if (result.Answer.Verdicts[i] is not WorkVerdict.Continue and var verdict)
            {
                Leave(result.Asked[i], verdict == WorkVerdict.Park);
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

    // The work of models that leave goes back at its step's end.
    private void MakeRoomFor(ModelDigest model)
    {
        IReadOnlyList<ModelDigest> leaving = _draining
            ? [] : _models.Plan(model, one => _jobs.Exists(job => job.Item.Model == one));
        foreach (WorkerJob job in _jobs.Where(job => leaving.Contains(job.Item.Model)))
        {
            Leave(job, tellQueue: true);
        }
    }

    // What is as good as done is finished here.
    private static void Leave(WorkerJob job, bool tellQueue)
    {
        if (job is { IsLeaving: false, Output: null, Latent: null })
        {
            (job.IsLeaving, job.TellsQueue) = (true, tellQueue);
        }
    }

    private void Forget(WorkerJob job)
    {
        _jobs.Remove(job);
        job.EndActivity();
        if (job.Release is { } release)
        {
            _releases.Add(release);
        }

        // Work that is another worker's for now is left to others: this worker would be given it again at once.
        _turnIsDue = true;
        _turnFrom = job.IsForOthers ? _clock.GetUtcNow() + _options.RetryPause : _turnFrom;
        if (job.Picture is { } picture)
        {
            _batcher.Drop(picture);
            picture.Dispose();
        }
    }

    // Starts what can be started. Reports of a step come before the next evaluation, which changes what they report.
    private void Start()
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

        // What has its outcome, and waits to be stored, no longer needs its model.
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
            Worker = Key.ToString(),
            DeviceKind = _device.DeviceKind,
            Roles = _device.Roles,
            Free = WorkerJob.FreeBeside(jobs, _device.Slots),
            Models = [.. _models.States()],
            LoadAge = _models.LoadAge,
        };
        _turn = _wake.RunAsync(() => TurnAsync(asks ? jobs : null, turn, releases));
    }

    // Leases are released before the queue is asked: it never hears again of one that it has back, nor of what it has
    // told this worker to stop. One whose release is lost expires.
    private async Task TurnAsync(WorkerJob[]? jobs, WorkerTurn turn, LeaseRelease[] releases)
    {
        await Task.WhenAll(releases.Select(one => GrainCalls.TryAsync(() => _grains.WorkQueue().ReleaseAsync(one))));
        if (jobs is not null)
        {
            WorkerJob[] asked = [.. jobs.Where(job => job is not { IsLeaving: true, TellsQueue: false })];
            HeldWork[] held = [.. asked.Select(job => new HeldWork(job.Lease, job.Item, job.Done))];
            _turnResult = new TurnResult(asked, await _grains.WorkQueue().TurnAsync(turn with { Held = held }));
        }
    }

    // Pictures that leave come first: others wait for their places.
    private WorkerJob[] NextBatch()
    {
        var ready = _jobs.Where(job => job.CanGoOn).ToDictionary(job => job.Picture!);
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

    // The queue's answer to a turn, in the order of what was asked.
    private sealed record TurnResult(WorkerJob[] Asked, TurnAnswer Answer);
}
