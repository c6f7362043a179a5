// What a worker does all day. The loop itself never waits for anybody: it looks at what has come back, starts what can be
// started, and sleeps until something else comes back. At any time there is at most one evaluation, which pictures share,
// one turn at the queue, and one errand for each job: a claim, a report, the end of a phase. A job whose picture takes
// part in the evaluation gets no errand; a picture that has ended a step rests until its errand can tell of it, and the
// others go on. The loop runs on a task of its own, not on a grain's scheduler; all it says carries the claim's epoch, so
// nothing that it does too late can do harm.
using System.Threading.Channels;
using Atelier.Contracts;
using Atelier.Grains.Batching;
using Atelier.Grains.Models;
using Atelier.Grains.Ports;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Workers;

/// <summary>The loop of one device.</summary>
internal sealed partial class WorkerLoop(
    WorkerKey key, IDeviceHost device, IBlobStore blobs, IGrainFactory grains, WorkerOptions options, TimeProvider clock,
    ILogger<WorkerLoop> logger)
{
    // Retry pauses between two tries of what a blob store has refused.
    private const int StorePauses = 10;

    // Captions and decodings that wait in a worker's hands, besides the pictures being denoised.
    private const int SingleMax = 2;

    private readonly DeviceDescription _device = device.Description;
    private readonly List<WorkerJob> _jobs = [];
    private readonly List<LeaseRelease> _releases = [];
    private readonly StepBatcher<IDenoising> _batcher = new(device.Description.Slots, device.Description.Rows);
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Channel<bool> _signals =
        Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    // Models in memory, since when, and when work of them was last taken; those that could not be loaded, and when.
    private readonly Dictionary<ModelDigest, (long At, long UsedAt)> _loaded = [];
    private readonly Dictionary<ModelDigest, long> _refused = [];

    private Task? _evaluation;
    private WorkerJob[] _batch = [];
    private ModelChange? _change;
    private Task? _load;
    private DateTimeOffset _loadFrom;
    private long _loadEndedAt;
    private TimeSpan _loadTook;
    private Task? _registration;
    private long _registeredAt;
    private TimeSpan _registersAfter;
    private Task? _turn;
    private TurnNews? _turnNews;
    private DateTimeOffset _evaluateFrom;
    private DateTimeOffset _turnFrom;
    private DateTimeOffset _turnBy;
    private long _attempt = clock.GetUtcNow().UtcTicks;
    private volatile bool _turnIsDue = true;
    private volatile bool _draining;
    private volatile WorkerStatus? _status;
    private ModelDigest? _model;

    /// <summary>Which worker it is.</summary>
    public WorkerKey Key { get; } = key;

    /// <summary>What it is doing.</summary>
    public WorkerStatus Status => _status ?? NewStatus();

    /// <summary>Has it look for work now.</summary>
    public void Wake()
    {
        _turnIsDue = true;
        Signal();
    }

    /// <summary>Takes no more work, hands back what it holds, and ends the loop.</summary>
    public Task DrainAsync()
    {
        _draining = true;
        Signal();

        // The loop ends by itself when that time is over; it may be asleep then.
        return _ended.Task.WaitAsync(options.DrainTimeout + (2 * options.IdlePeriod), clock);
    }

    /// <summary>The loop; it ends when the worker has drained.</summary>
    public async Task RunAsync()
    {
        try
        {
            DateTimeOffset? drainBy = null;
            while (true)
            {
                Settle();
                if (_draining)
                {
                    // What is not handed back by then goes on elsewhere when its lease ends, from its last snapshot.
                    drainBy ??= clock.GetUtcNow() + options.DrainTimeout;
                    _jobs.ForEach(job => Leave(job, tellQueue: true));
                }

                Start();
                _status = NewStatus();
                bool isEmpty = _jobs.Count == 0 && _releases.Count == 0 && _turn is null && _load is null;
                if (_draining && (isEmpty || clock.GetUtcNow() >= drainBy))
                {
                    break;
                }

                TimeSpan left = drainBy is { } by ? by - clock.GetUtcNow() : options.IdlePeriod;
                await SleepAsync(TimeSpan.FromTicks(Math.Clamp(left.Ticks, 0, options.IdlePeriod.Ticks)));
            }
        }
        catch (Exception error)
        {
            options.OnFault(error);
        }
        finally
        {
            _ended.TrySetResult();
        }
    }

    // Confirms what it can hold. A model that no catalogue knows gets no work; it holds up neither the others nor the
    // loop.
    private async Task RegisterAsync()
    {
        _registersAfter = options.ConfirmPeriod;
        foreach (ModelCard card in _device.Models)
        {
            try
            {
                if (!await grains.Catalog().RegisterAsync(card))
                {
                    LogCatalogFull(Key, card.Name, card.Digest, IModelCatalogGrain.SizeMax);
                }
            }
            catch (Exception error) when (GrainCalls.IsTransient(error))
            {
                LogUnanswered(Key, error);
                _registersAfter = options.RetryPause;
            }
            catch (Exception error)
            {
                LogUnregistered(Key, card.Name, card.Digest, error);
            }
        }

        _registeredAt = clock.GetTimestamp();
    }

    // Takes in what has come back.
    private void Settle()
    {
        if (_evaluation is { IsCompleted: true })
        {
            if (Check(_evaluation, "An evaluation") is { } error)
            {
                LogUnanswered(Key, error);
                _evaluateFrom = clock.GetUtcNow() + options.RetryPause;
            }

            if (Array.Exists(_batch, job => job.Picture!.IsBetweenSteps))
            {
                _turnIsDue = true;
            }

            (_evaluation, _batch) = (null, []);
        }

        if (_turn is { IsCompleted: true })
        {
            if (Check(_turn, "A turn") is { } error)
            {
                // Work goes on without the queue.
                LogUnanswered(Key, error);
                _turnFrom = clock.GetUtcNow() + options.RetryPause;
            }

            _turn = null;
            Follow();
        }

        if (_load is { IsCompleted: true })
        {
            if (Check(_load, "A load") is { } error)
            {
                LogUnanswered(Key, error);
                _loadFrom = clock.GetUtcNow() + options.RetryPause;
            }
            else if (_change!.Took is { } took)
            {
                _model = _change.Model;
                (_loadEndedAt, _loadTook) = (clock.GetTimestamp(), took);
                _loaded[_change.Model] = (_loadEndedAt, _loadEndedAt);
            }
            else
            {
                _refused[_change.Model] = clock.GetTimestamp();
            }

            (_load, _change, _turnIsDue) = (null, null, true);
        }

        if (_registration is { IsCompleted: true })
        {
            _ = Check(_registration, "A registration");
            _registration = null;
        }

        foreach (WorkerJob job in _jobs.ToArray())
        {
            if (job.Errand is { IsCompleted: true } errand)
            {
                job.Errand = null;
                TakeIn(job, errand);
            }

            if (job.IsOver && job.Errand is null && !_batch.Contains(job))
            {
                Forget(job);
            }
            else if (job is { Errand: null, Picture: { } picture, Latent: null } && !_batch.Contains(job))
            {
                Place(job, picture);
            }
        }
    }

    // A picture is among those that share evaluations until it is done. Where a slot is still held by one that is about to
    // leave, it joins when that is gone.
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

    // What had no answer is asked again later.
    private void TakeIn(WorkerJob job, Task errand)
    {
        if (Check(errand, $"The errand of {job.Key}") is { } error)
        {
            LogUnanswered(Key, error);

            // What a full disk refuses, it refuses again: it is left alone for a while.
            TimeSpan pause = error is IOException ? StorePauses * options.RetryPause : options.RetryPause;
            (job.SentStep, job.RetryAt) = (job.ToldStep, clock.GetUtcNow() + pause);
        }
    }

    // What a task had no answer to; none if it ended well. Whatever else it met is a fault of the loop.
    private static Exception? Check(Task task, string what)
    {
        Exception? error = task.IsCompletedSuccessfully ? null : task.Exception?.InnerException ?? new TaskCanceledException(task);
        return error is null || GrainCalls.IsTransient(error) ? error : throw new InvalidOperationException($"{what} failed.", error);
    }

    private void Follow()
    {
        if (_turnNews is not { } news)
        {
            return;
        }

        _turnNews = null;
        for (int i = 0; i < news.Asked.Length; i++)
        {
            (WorkerJob job, WorkVerdict verdict) = (news.Asked[i], news.Answer.Verdicts[i]);
            if (verdict != WorkVerdict.Continue)
            {
                Leave(job, verdict == WorkVerdict.Park);
            }
        }

        foreach (LeasedWork lease in news.Answer.Leased)
        {
            _jobs.Add(new WorkerJob(lease, ++_attempt) { IsAloneHere = _jobs.Count == 0 });
            if (_loaded.TryGetValue(lease.Item.Model, out (long At, long UsedAt) loaded))
            {
                _loaded[lease.Item.Model] = loaded with { UsedAt = clock.GetTimestamp() };
            }
        }

        if (news.Answer.Load is { } model)
        {
            Change(model, clock.GetUtcNow());
        }
    }

    // Makes room for a model: the work of those that leave goes back at its step's end.
    private void Change(ModelDigest model, DateTimeOffset now)
    {
        if (_change is not null || _draining || now < _loadFrom)
        {
            return;
        }

        LoadedModel[] loaded =
        [
            .. _loaded.Select(one => new LoadedModel(
                one.Key, BytesOf(one.Key), _jobs.Exists(job => job.Item.Model == one.Key),
                clock.GetElapsedTime(0, one.Value.At), clock.GetElapsedTime(0, one.Value.UsedAt))),
        ];
        _change = new ModelChange(model, ModelChoice.Evictions(loaded, BytesOf(model), _device.MemoryBytes));
        foreach (WorkerJob job in _jobs.Where(job => _change.Evict.Contains(job.Item.Model)))
        {
            Leave(job, tellQueue: true);
        }
    }

    private long BytesOf(ModelDigest model) => _device.Models.First(card => card.Digest == model).MemoryBytes;

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
        if (job.Release is { } release)
        {
            _releases.Add(release);
        }

        // Work that is somebody else's for now is left to others: this worker would be given it again at once.
        _turnIsDue = true;
        _turnFrom = job.IsForOthers ? clock.GetUtcNow() + options.RetryPause : _turnFrom;
        if (job.Picture is { } picture)
        {
            _batcher.Drop(picture);
            picture.Dispose();
        }
    }

    // Starts what can be started. Words of a step come before the next evaluation, which changes what they tell of.
    private void Start()
    {
        DateTimeOffset now = clock.GetUtcNow();
        foreach (WorkerJob job in _jobs)
        {
            if (job is { Errand: null, IsOver: false } && now >= job.RetryAt && !_batch.Contains(job) && NextErrand(job) is { } errand)
            {
                job.Errand = Watched(ApartAsync(() => RunAsync(job, errand)));
            }
        }

        if (_evaluation is null && now >= _evaluateFrom && NextBatch() is { Length: > 0 } batch)
        {
            _batch = batch;
            _evaluation = Watched(ApartAsync(() => EvaluateAsync(batch)));
        }

        if (_registration is null && !_draining && clock.GetElapsedTime(_registeredAt) >= _registersAfter)
        {
            _registration = Watched(ApartAsync(RegisterAsync));
        }

        // A worker of one model loads it without being told.
        if (_device.Models.Count == 1
            && Models().ToArray() is [{ Place: ModelPlace.Beside or ModelPlace.Instead } only])
        {
            Change(only.Model, now);
        }

        // What has its outcome, and waits to be stored, needs its model no more.
        if (_change is { } change && _load is null && !_draining
            && !_jobs.Exists(job => job is { Output: null, Latent: null } && change.Evict.Contains(job.Item.Model)))
        {
            change.Evict.ToList().ForEach(old => _loaded.Remove(old));
            _load = Watched(ApartAsync(() => LoadAsync(change)));
        }

        bool asks = !_draining && now >= _turnFrom && (_turnIsDue || now >= _turnBy);
        if (_turn is null && (asks || _releases.Count > 0))
        {
            WorkerJob[] jobs = [.. _jobs];
            LeaseRelease[] releases = [.. _releases];
            _releases.Clear();
            if (asks)
            {
                (_turnIsDue, _turnBy) = (false, now + options.IdlePeriod);
            }

            var turn = new WorkerTurn
            {
                Worker = Key.ToString(),
                DeviceKind = _device.DeviceKind,
                Roles = _device.Roles,
                Free = FreeBeside(jobs),
                Models = [.. Models()],
                LoadAge = _loadTook > TimeSpan.Zero ? clock.GetElapsedTime(_loadEndedAt) / _loadTook : null,
            };
            _turn = Watched(ApartAsync(() => TurnAsync(asks ? jobs : null, turn, releases)));
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

    // What a job needs next besides the evaluations of its picture. What an errand tells of a picture is taken here.
    private Func<Task>? NextErrand(WorkerJob job)
    {
        switch (job)
        {
            case { IsClaimed: false, IsLeaving: false } or { IsClaimed: false, IsAsking: true }:
                return () => ClaimAsync(job);
            case { Fault: { } fault }:
                return () => FailAsync(job, fault);
            case { IsLeaving: true, Picture.IsBetweenSteps: false }:
                // A step is finished before its picture leaves: only there can it be stored.
                return null;
            case { IsLeaving: true }:
                StepNews last = NewsOf(job);
                return () => GiveBackAsync(job, last);
            case { HasNews: true }:
                StepNews news = NewsOf(job);
                job.SentStep = news.Step;
                return () => TellAsync(job, news);
            case { Latent: { } latent }:
                return () => SingleAsync(job, "latents", () => Task.FromResult(latent));
            case { Item.Kind: WorkKind.Denoise, Picture: null }:
                return () => BeginAsync(job);
            case { Item.Kind: WorkKind.Encode }:
                return () => SingleAsync(job, "captions", () => EncodeAsync(job));
            case { Item.Kind: WorkKind.Decode }:
                return () => SingleAsync(job, "pictures", () => DecodeAsync(job));
            default:
                return null;
        }
    }

    // A device's fault is the job's end, which is its next errand.
    private static async Task RunAsync(WorkerJob job, Func<Task> errand)
    {
        try
        {
            await errand();
        }
        catch (DeviceException error)
        {
            job.Fault = error;
        }
    }

    private async Task EvaluateAsync(WorkerJob[] batch)
    {
        try
        {
            await device.EvaluateAsync([.. batch.Select(job => job.Picture!)], CancellationToken.None);
        }
        catch (DeviceException error) when (batch.Length == 1)
        {
            batch[0].Fault = error;
        }
        catch (DeviceException)
        {
            // Each is tried alone, so that one does not fail the others.
            foreach (WorkerJob job in batch)
            {
                await EvaluateAsync([job]);
            }
        }
    }

    // Leases are given back before the queue is asked: it never hears of one again that it has back, nor of what it has
    // told this worker to stop. One whose way back is lost ends by itself.
    private async Task TurnAsync(WorkerJob[]? jobs, WorkerTurn turn, LeaseRelease[] releases)
    {
        await Task.WhenAll(releases.Select(one => GrainCalls.TryAsync(() => grains.WorkQueue().ReleaseAsync(one))));
        if (jobs is not null)
        {
            WorkerJob[] asked = [.. jobs.Where(job => job is not { IsLeaving: true, TellsQueue: false })];
            HeldWork[] held = [.. asked.Select(job => new HeldWork(job.Lease, job.Item, job.Done))];
            _turnNews = new TurnNews(asked, await grains.WorkQueue().TurnAsync(turn with { Held = held }));
        }
    }

    // Models that it may hold, where they are. One that could not be loaded is left alone for a while; one that is
    // larger than the memory always, unless it is the only one.
    private IEnumerable<WorkerModel> Models()
    {
        long free = _device.MemoryBytes - _loaded.Keys.Sum(BytesOf);
        foreach (ModelCard card in _device.Models)
        {
            bool isRefused = _refused.TryGetValue(card.Digest, out long at)
                && clock.GetElapsedTime(at) < options.RefusedModelPause;
            if (!isRefused && (card.MemoryBytes <= _device.MemoryBytes || _device.Models.Count == 1))
            {
                yield return new WorkerModel(card.Digest, card.Digest switch
                {
                    var model when model == _change?.Model => ModelPlace.Loading,
                    var model when _loaded.ContainsKey(model) && _change?.Evict.Contains(model) != true =>
                        ModelPlace.Loaded,
                    _ => card.MemoryBytes <= free ? ModelPlace.Beside : ModelPlace.Instead,
                });
            }
        }
    }

    private int FreeBeside(WorkerJob[] jobs)
    {
        int singles = jobs.Count(job => job.Item.Kind != WorkKind.Denoise);
        int ended = jobs.Count(job => job.Latent is not null);
        int pictures = jobs.Length - singles - ended;

        // Pictures that have ended and wait to be stored leave their slots to others, but not without end.
        int beside = (singles < SingleMax ? 0 : singles) + Math.Max(0, ended - _device.Slots);
        return jobs.Any(job => job.Item.Alone)
            ? 0
            : Math.Clamp(_device.Slots - pictures - beside, 0, Math.Max(0, WorkerTurn.HeldMax - jobs.Length));
    }

    // Work of a model that cannot be loaded is for others, or for later: a damaged model does not stop the sound ones.
    private async Task LoadAsync(ModelChange change)
    {
        foreach (ModelDigest old in change.Evict)
        {
            await device.EvictAsync(old, CancellationToken.None);
        }

        long began = clock.GetTimestamp();
        try
        {
            await device.LoadAsync(change.Model, CancellationToken.None);
            change.Took = clock.GetElapsedTime(began);
        }
        catch (DeviceException error)
        {
            LogRefusedModel(Key, change.Model, error);
        }
    }

    // Asked again it is the same claim, which may have been granted without anybody hearing of it.
    private async Task ClaimAsync(WorkerJob job)
    {
        var request = new ClaimRequest(
            Key.ToString(), job.Lease, job.Item.Kind, _device.DeviceKind, job.Item.Alone && job.IsAloneHere, job.Attempt);
        job.IsAsking = true;
        ClaimAnswer? answer = await PersistAsync(() => grains.Generation(job.Key).ClaimAsync(request));
        job.IsAsking = false;
        switch (answer?.Outcome)
        {
            case ClaimOutcome.Granted:
                job.Claim = answer;
                if (job.Item.Kind == WorkKind.Denoise)
                {
                    await BeginAsync(job);
                }

                break;
            case ClaimOutcome.NotYou:
                job.IsForOthers = true;
                job.End(new LeaseRelease(job.Lease, answer.Item!, LeaseEnd.Returned));
                break;
            default:
                job.End(new LeaseRelease(job.Lease, job.Item, LeaseEnd.Finished));
                break;
        }
    }

    private async Task BeginAsync(WorkerJob job)
    {
        byte[] caption = await ReadAsync(job.Claim.Caption!.Value);
        byte[]? snapshot = job.Claim.Snapshot is { } name ? await ReadAsync(name) : null;
        job.Picture = await device.BeginAsync(job.Claim.Spec!, caption, snapshot, CancellationToken.None);
    }

    private async Task<byte[]> EncodeAsync(WorkerJob job)
    {
        // Asked for together, so that no other work of the device comes between them.
        Task<byte[]> encoding = device.EncodeAsync(job.Claim.Spec!, CancellationToken.None);
        Task<EncodedPrompts?> counting = device.CountAsync(job.Claim.Spec!, CancellationToken.None);
        await Task.WhenAll(encoding, counting);
        job.Encoded = await counting;
        return await encoding;
    }

    private async Task<byte[]> DecodeAsync(WorkerJob job)
    {
        byte[] latent = await ReadAsync(job.Claim.Latent!.Value);
        return await device.DecodeAsync(job.Claim.Spec!, latent, CancellationToken.None);
    }

    // A phase's end: its outcome is stored, and its generation told.
    private async Task SingleAsync(WorkerJob job, string kind, Func<Task<byte[]>> work)
    {
        if (job.Output is null)
        {
            byte[] bytes = await work();
            job.Output = await PutAsync(kind, job, bytes);
        }

        // Where it is refused, the generation releases the bytes, unless it has the same from another worker.
        BlobName output = job.Output.Value;
        IGenerationGrain generation = grains.Generation(job.Key);
        ReportOutcome outcome = await PersistAsync(() => job.Encoded is { } encoded
            ? generation.CompleteEncodingAsync(job.Claim.Epoch, output, encoded)
            : generation.CompleteAsync(job.Claim.Epoch, output));
        job.End(outcome == ReportOutcome.Taken ? new LeaseRelease(job.Lease, job.Item, LeaseEnd.Finished) : null);
    }

    // What there is to say of a picture as it stands now; it moves on before all of it is said.
    private StepNews NewsOf(WorkerJob job)
    {
        bool isTime = job.StoredAt is not { } at || clock.GetUtcNow() - at >= options.SnapshotPeriod || job.Item.Alone;
        job.IsShowing = job.HasNews && job.Claim.PreviewSteps.Contains(job.Step) && !job.Previews.ContainsKey(job.Step);
        bool stores = job.Picture is not null && job.Step > job.StoredStep
            && (job.IsLeaving || isTime || job.IsShowing || job.Previews.Count > 0);
        return new StepNews(job.Step, stores ? job.Picture!.Snapshot() : null, job.IsShowing);
    }

    // After a step: a preview where one is due, a snapshot where it is time, and a word to the generation. Each step is told
    // of, so a step waits for the word of the one before it.
    private async Task TellAsync(WorkerJob job, StepNews news)
    {
        if (await ReportAsync(job, await StoreAsync(job, news)) == ReportOutcome.Refused)
        {
            job.End(null);
            return;
        }

        job.ToldStep = news.Step;
        job.Previews.Clear();
        if (news.Snapshot is not null)
        {
            (job.StoredStep, job.StoredAt) = (news.Step, clock.GetUtcNow());
            _turnIsDue |= job.EndQuarantine();
        }
    }

    private async Task<StepReport> StoreAsync(WorkerJob job, StepNews news)
    {
        if (news.Shows)
        {
            job.Previews[news.Step] = await device.PreviewAsync(job.Claim.Spec!, job.Picture!, CancellationToken.None);
            job.IsShowing = false;
            Signal();
        }

        var previews = new Dictionary<int, BlobName>();
        foreach ((int step, byte[] bytes) in job.Previews)
        {
            previews[step] = await PutAsync("previews", job, bytes);
        }

        BlobName? stored = news.Snapshot is { } snapshot ? await PutAsync("snapshots", job, snapshot) : null;
        return new StepReport
        {
            Epoch = job.Claim.Epoch, Step = news.Step, Snapshot = stored, Previews = previews, Untold = [.. job.Untold],
        };
    }

    private async Task<ReportOutcome> ReportAsync(WorkerJob job, StepReport report)
    {
        ReportOutcome outcome = await PersistAsync(() => grains.Generation(job.Key).ReportAsync(report));
        job.Untold.Clear();
        return outcome;
    }

    private async Task GiveBackAsync(WorkerJob job, StepNews last)
    {
        if (job.IsClaimed)
        {
            StepReport report = await StoreAsync(job, last);
            await PersistAsync(() => grains.Generation(job.Key).ReleaseAsync(report));
        }

        job.End(job.TellsQueue ? new LeaseRelease(job.Lease, job.Rest(), LeaseEnd.Returned) : null);
    }

    private async Task FailAsync(WorkerJob job, DeviceException error)
    {
        LogFailed(Key, job.Key, error);
        await ProbeAsync(error);
        if (job.Untold.Count > 0)
        {
            await ReportAsync(
                job, new StepReport { Epoch = job.Claim.Epoch, Step = job.ToldStep, Untold = [.. job.Untold] });
        }

        await PersistAsync(() => grains.Generation(job.Key).FailAsync(job.Claim.Epoch, error.Error, error.Message));
        job.End(null); // It is tried again when its lease has run out: elsewhere, or later.
    }

    // Before a request is blamed, the device shows that it works. One that does not ends the process with all that it holds:
    // that goes on elsewhere, from its last snapshots, and nothing is recorded against it.
    private async Task ProbeAsync(DeviceException error)
    {
        if (error.Error is GenerationError.KernelFailed or GenerationError.OutOfMemory or GenerationError.NonFinite)
        {
            try
            {
                await device.ProbeAsync(CancellationToken.None);
            }
            catch (Exception broken)
            {
                throw new InvalidOperationException($"The device of {Key} does not work any more: {broken.Message}", error);
            }
        }
    }

    // A write without an answer may have been made.
    private async Task<BlobName> PutAsync(string kind, WorkerJob job, byte[] bytes)
    {
        BlobName name = BlobStoreExtensions.NameOf(kind, job.Key.Tenant, bytes);
        job.Untold.Add(name);
        await PersistAsync(async () =>
        {
            await blobs.PutAsync(name, job.Key.Id, bytes, CancellationToken.None);
            return true;
        });
        return name;
    }

    private async Task<byte[]> ReadAsync(BlobName name) =>
        await blobs.GetAsync(name, CancellationToken.None)
        ?? throw new DeviceException(GenerationError.BlobLost, $"The bytes {name} are gone from the store.");

    // A call or a write is made again until its outcome is known, or until it has failed often enough for the errand to
    // fail.
    private async Task<T> PersistAsync<T>(Func<Task<T>> call)
    {
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                return await call();
            }
            catch (Exception error) when (attempt < options.TriesMax && GrainCalls.IsTransient(error) && error is not IOException)
            {
                LogUnanswered(Key, error);
                await Task.Delay(options.RetryPause, clock);
            }
        }
    }

    // Runs on the thread pool, or where the loop was started in a synchronization context, there.
    private static async Task ApartAsync(Func<Task> work)
    {
        await Task.Yield();
        await work();
    }

    // The loop is woken when it is over, not before.
    private T Watched<T>(T task)
        where T : Task
    {
        _ = task.ContinueWith(
            _ => Signal(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        return task;
    }

    private void Signal() => _signals.Writer.TryWrite(true);

    private async Task SleepAsync(TimeSpan time)
    {
        using var enough = new CancellationTokenSource(time, clock);
        try
        {
            await _signals.Reader.ReadAsync(enough.Token);
        }
        catch (OperationCanceledException)
        {
            // Nothing has come back.
        }
    }

    private WorkerStatus NewStatus() => new()
    {
        Key = Key, DeviceKind = _device.DeviceKind, Roles = _device.Roles, Slots = _device.Slots, Held = _jobs.Count,
        Model = _model, Draining = _draining,
    };

    // A step's state, as bytes that nobody changes, and whether its preview is yet to be made.
    private sealed record StepNews(int Step, byte[]? Snapshot, bool Shows);

    // What the queue said to a turn, in the order of what was asked.
    private sealed record TurnNews(WorkerJob[] Asked, TurnAnswer Answer);

    // The model to load, those to evict for it, and how long the load took; null if the device refused it.
    private sealed class ModelChange(ModelDigest model, IReadOnlyList<ModelDigest> evict)
    {
        public ModelDigest Model { get; } = model;

        public IReadOnlyList<ModelDigest> Evict { get; } = evict;

        public TimeSpan? Took { get; set; }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Worker {Worker} has no answer and will ask again")]
    private partial void LogUnanswered(WorkerKey worker, Exception error);

    [LoggerMessage(
        Level = LogLevel.Error,
        Message = "Worker {Worker} cannot register the model {Name}, {Model}: the catalogue is full with {SizeMax} models in use")]
    private partial void LogCatalogFull(WorkerKey worker, string name, ModelDigest model, int sizeMax);

    [LoggerMessage(Level = LogLevel.Error, Message = "Worker {Worker} cannot register the model {Name}, {Model}")]
    private partial void LogUnregistered(WorkerKey worker, string name, ModelDigest model, Exception error);

    [LoggerMessage(Level = LogLevel.Error, Message = "Worker {Worker} cannot load the model {Model} and leaves its work alone for a while")]
    private partial void LogRefusedModel(WorkerKey worker, ModelDigest model, Exception error);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Worker {Worker} could not do the work of {Generation}")]
    private partial void LogFailed(WorkerKey worker, GenerationKey generation, Exception error);
}
