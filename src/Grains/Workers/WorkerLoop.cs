// What a worker does all day: one evaluation after another that its pictures share, and between them what follows from
// it. Whatever waits for others (claims, reports, blobs, the turn at the queue) is an errand or runs beside an evaluation,
// so that the device seldom waits: only where a step ends before the word of the picture's last one was taken. A job has
// one errand at a time, and the loop leaves it alone meanwhile but for evaluating its picture. It runs on a task of its
// own, not on a grain's scheduler; all it says carries the claim's epoch, so nothing that it does too late can do harm.
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
    // Captions and decodings that wait in a worker's hands, besides the pictures being denoised.
    private const int SingleMax = 2;

    private readonly DeviceDescription _device = device.Description;
    private readonly List<WorkerJob> _jobs = [];
    private readonly StepBatcher<IDenoising> _batcher = new(device.Description.Slots, device.Description.Rows);
    private readonly Dictionary<ModelDigest, DateTimeOffset> _loaded = [];
    private readonly Dictionary<ModelDigest, DateTimeOffset> _refused = [];
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Channel<bool> _woken =
        Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private long _attempt = clock.GetUtcNow().UtcTicks;
    private DateTimeOffset _queueAwayUntil;
    private bool _hasNews = true;
    private ModelDigest? _model;
    private volatile bool _draining;
    private volatile WorkerStatus? _status;

    /// <summary>Which worker it is.</summary>
    public WorkerKey Key { get; } = key;

    /// <summary>What it is doing.</summary>
    public WorkerStatus Status => _status ?? NewStatus();

    /// <summary>Ends a sleep.</summary>
    public void Wake() => _woken.Writer.TryWrite(true);

    /// <summary>Takes no more work, hands back what it holds, and ends the loop.</summary>
    public Task DrainAsync()
    {
        _draining = true;
        Wake();
        return _ended.Task.WaitAsync(options.DrainTimeout, clock);
    }

    /// <summary>The loop; it ends when the worker has drained.</summary>
    public async Task RunAsync()
    {
        try
        {
            await RegisterAsync();
            while (!_draining)
            {
                try
                {
                    await RoundAsync();
                }
                catch (Exception error) when (GrainCalls.IsTransient(error))
                {
                    LogUnanswered(Key, error);
                    await SleepAsync(options.RetryPause);
                }

                _status = NewStatus();
            }

            foreach (WorkerJob job in _jobs.ToArray())
            {
                try
                {
                    await GiveBackAsync(job, tellQueue: true);
                }
                catch (Exception error) when (GrainCalls.IsTransient(error))
                {
                    // Its lease ends by itself, and the work goes on from the last snapshot.
                    LogUnanswered(Key, error);
                }
            }

            _status = NewStatus();
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

    private async Task RegisterAsync()
    {
        foreach (ModelCard card in _device.Models)
        {
            // A model that no catalogue knows gets no work; one attempt after another until it does.
            while (!_draining && !await GrainCalls.TryAsync(() => grains.Catalogue().RegisterAsync(card)))
            {
                await SleepAsync(options.RetryPause);
            }
        }
    }

    private async Task RoundAsync()
    {
        Settle();
        WorkerJob[] asked = [.. _jobs];
        IReadOnlyList<IDenoising> batch = _batcher.Next();
        Task evaluation = batch.Count == 0 ? Task.CompletedTask : device.EvaluateAsync(batch, CancellationToken.None);
        TurnAnswer? answer = null;
        if ((_hasNews || asked.Length == 0) && clock.GetUtcNow() >= _queueAwayUntil && await ChooseModelAsync() is { } model)
        {
            answer = await TurnAsync(model, asked);
        }

        try
        {
            await evaluation;
        }
        catch (DeviceException error) when (batch.Count == 1)
        {
            await EndAsync(JobOf(batch[0]), error);
        }
        catch (DeviceException)
        {
            // Each is tried alone, so that one does not fail the others. Meanwhile the word may come that one is not wanted.
            foreach (WorkerJob job in batch.Select(JobOf).ToArray())
            {
                if (_jobs.Contains(job))
                {
                    await EvaluateAloneAsync(job);
                }
            }
        }

        _hasNews = batch.Any(picture => picture.IsBetweenSteps) || _jobs.Exists(job => job.Item.Kind != WorkKind.Denoise);
        Settle();
        await FollowAsync(asked, answer);
        await ReportAsync();
        foreach (WorkerJob job in _jobs)
        {
            if (job.Errand is null && clock.GetUtcNow() >= job.RetryAt && NextErrand(job) is { } errand)
            {
                Send(job, errand);
            }
        }

        if (batch.Count == 0 && answer?.Leased is not { Length: > 0 })
        {
            await SleepAsync(options.IdlePeriod);
            _hasNews = true;
        }
    }

    // What a job needs next besides the evaluations of its picture.
    private Func<Task>? NextErrand(WorkerJob job) => job switch
    {
        { IsClaimed: false } => () => ClaimAsync(job),
        { Item.Kind: WorkKind.Denoise, Picture: null } => () => BeginAsync(job),
        { Item.Kind: WorkKind.Encode } => () => SingleAsync(job, "captions", () => device.EncodeAsync(job.Claim.Spec!, CancellationToken.None)),
        { Item.Kind: WorkKind.Decode } => () => SingleAsync(job, "pictures", () => DecodeAsync(job)),
        { Latent: { } latent } => () => SingleAsync(job, "latents", () => Task.FromResult(latent)),
        _ => null,
    };

    private void Send(WorkerJob job, Func<Task> errand) => job.Errand = Task.Run(() => RunAsync(job, errand));

    // A device's fault is the job's end; what had no answer is asked again later.
    private async Task RunAsync(WorkerJob job, Func<Task> errand)
    {
        try
        {
            await errand();
        }
        catch (DeviceException error)
        {
            await FailAsync(job, error);
        }
        finally
        {
            Wake();
        }
    }

    // Takes in what errands have brought.
    private void Settle()
    {
        foreach (WorkerJob job in _jobs.ToArray())
        {
            if (job.Errand is not { IsCompleted: true } errand)
            {
                continue;
            }

            job.Errand = null;
            if (!errand.IsCompletedSuccessfully)
            {
                Exception error = errand.Exception?.InnerException ?? new TaskCanceledException(errand);
                if (!GrainCalls.IsTransient(error))
                {
                    throw new InvalidOperationException($"The errand of {job.Key} failed.", error);
                }

                LogUnanswered(Key, error);
                job.SentStep = job.ToldStep;
                job.RetryAt = clock.GetUtcNow() + options.RetryPause;
            }

            if (job.IsOver)
            {
                Forget(job);
            }
            else if (job is { Picture: { } picture, IsJoined: false, Latent: null })
            {
                Join(job, picture);
            }
        }
    }

    private void Join(WorkerJob job, IDenoising picture)
    {
        if (picture.IsDone)
        {
            job.Latent = picture.Latent();
        }
        else if (_batcher.TryJoin(picture, job.Key.Tenant.Value))
        {
            job.IsJoined = true;
        }
        else
        {
            throw new InvalidOperationException($"{job.Key} was leased beyond the {_device.Slots} slots of {Key}.");
        }
    }

    private void Forget(WorkerJob job)
    {
        _jobs.Remove(job);
        if (job.Picture is { } picture)
        {
            _batcher.Drop(picture);
            picture.Dispose();
        }
    }

    // While it holds work of a model it stays with it.
    private async Task<ModelDigest?> ChooseModelAsync()
    {
        if (_jobs.Count > 0)
        {
            return _jobs[0].Model;
        }

        DateTimeOffset now = clock.GetUtcNow();
        ModelCard[] usable = [.. _device.Models.Where(card => now >= _refused.GetValueOrDefault(card.Digest))];
        if (usable.Length <= 1)
        {
            _model = usable.Length == 1 ? usable[0].Digest : null;
        }
        else
        {
            var demands = new List<ModelDemand>();
            foreach (ModelCard card in usable)
            {
                QueueStatus status = await grains.WorkQueue(card.Digest).StatusAsync();
                DateTimeOffset? loadedAt = _loaded.TryGetValue(card.Digest, out DateTimeOffset at) ? at : null;
                demands.Add(new ModelDemand(card.Digest, card.MemoryBytes, status.CostWaiting, status.Leased, loadedAt));
            }

            ModelPlan plan = ModelChoice.Decide(demands, _device.MemoryBytes);
            foreach (ModelDigest old in plan.Evict)
            {
                await device.EvictAsync(old, CancellationToken.None);
                _loaded.Remove(old);
            }

            _model = plan.Serve;
        }

        if (_model is { } model)
        {
            try
            {
                await device.LoadAsync(model, CancellationToken.None);
                _loaded[model] = clock.GetUtcNow();
            }
            catch (DeviceException error)
            {
                // Its work is for others, or for later: a damaged model does not stop the sound ones.
                LogRefusedModel(Key, model, error);
                _refused[model] = clock.GetUtcNow() + options.RefusedModelPause;
                _model = null;
            }
        }

        return _model;
    }

    // None where the queue does not answer: work goes on without it.
    private async Task<TurnAnswer?> TurnAsync(ModelDigest model, WorkerJob[] asked)
    {
        bool alone = asked.Any(job => job.Item.Alone);
        int singles = asked.Count(job => job.Item.Kind != WorkKind.Denoise);
        int pictures = asked.Count(job => job.Item.Kind == WorkKind.Denoise && job.Latent is null);
        int free = alone ? 0 : Math.Max(0, _device.Slots - pictures + (singles < SingleMax ? 0 : -singles));
        var turn = new WorkerTurn
        {
            Worker = Key.ToString(),
            DeviceKind = _device.DeviceKind,
            Roles = _device.Roles,
            Free = free,
            Held = [.. asked.Select(job => new HeldWork(job.Lease, job.Item, job.Done))],
        };
        try
        {
            return await grains.WorkQueue(model).TurnAsync(turn);
        }
        catch (Exception error) when (_jobs.Count > 0 && GrainCalls.IsTransient(error))
        {
            LogUnanswered(Key, error);
            _queueAwayUntil = clock.GetUtcNow() + (4 * options.RetryPause);
            return null;
        }
    }

    // Does what the queue has said.
    private async Task FollowAsync(WorkerJob[] asked, TurnAnswer? answer)
    {
        for (int i = 0; answer is not null && i < asked.Length; i++)
        {
            // What is as good as done is finished here.
            if (answer.Verdicts[i] != WorkVerdict.Continue && asked[i] is { Output: null, Latent: null })
            {
                await GiveBackAsync(asked[i], answer.Verdicts[i] == WorkVerdict.Park);
            }
        }

        foreach (LeasedWork lease in answer?.Leased ?? [])
        {
            _jobs.Add(new WorkerJob(lease, _model!.Value) { IsAloneHere = _jobs.Count == 0 });
        }
    }

    private async Task ClaimAsync(WorkerJob job)
    {
        var request = new ClaimRequest(
            Key.ToString(), job.Lease, job.Item.Kind, _device.DeviceKind, job.Item.Alone && job.IsAloneHere, Interlocked.Increment(ref _attempt));
        ClaimAnswer? answer = await PersistAsync(() => grains.Generation(job.Key).ClaimAsync(request));
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
                job.IsOver = true;
                await ReleaseLeaseAsync(job.Model, new LeaseRelease(job.Lease, answer.Item!, LeaseEnd.Returned));
                break;
            default:
                job.IsOver = true;
                await ReleaseLeaseAsync(job.Model, new LeaseRelease(job.Lease, job.Item, LeaseEnd.Finished));
                break;
        }
    }

    private async Task BeginAsync(WorkerJob job)
    {
        byte[] caption = await ReadAsync(job.Claim.Caption!.Value);
        byte[]? snapshot = job.Claim.Snapshot is { } name ? await ReadAsync(name) : null;
        job.Picture = await device.BeginAsync(job.Claim.Spec!, caption, snapshot, CancellationToken.None);
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
            job.Output = await PersistAsync(() => PutAsync(kind, job, bytes));
        }

        BlobName output = job.Output.Value;
        await PersistAsync(() => grains.Generation(job.Key).CompleteAsync(job.Claim.Epoch, output));
        job.IsOver = true;
        await ReleaseLeaseAsync(job.Model, new LeaseRelease(job.Lease, job.Item, LeaseEnd.Finished));
    }

    private async Task EvaluateAloneAsync(WorkerJob job)
    {
        try
        {
            await device.EvaluateAsync([job.Picture!], CancellationToken.None);
        }
        catch (DeviceException error)
        {
            await EndAsync(job, error);
        }
    }

    // The device has failed a job that the loop has in its hands.
    private async Task EndAsync(WorkerJob job, DeviceException error)
    {
        await QuietAsync(job);
        if (!job.IsOver)
        {
            await FailAsync(job, error);
            Forget(job);
        }
    }

    // After a step: a preview where one is due, a snapshot where it is time, and a word to the generation. Each step is told
    // of, so a step waits for the word of the one before it.
    private async Task ReportAsync()
    {
        foreach (WorkerJob job in _jobs.Where(HasNews).ToArray())
        {
            await QuietAsync(job);
            try
            {
                await PreviewAsync(job);
            }
            catch (DeviceException error)
            {
                await EndAsync(job, error);
            }

            if (job.IsOver)
            {
                continue;
            }

            StepNews news = NewsOf(job, snapshot: false);
            if (job.Picture!.IsDone)
            {
                job.Latent = job.Picture.Latent();
                _batcher.Drop(job.Picture);
            }

            job.SentStep = news.Step;
            Send(job, () => TellAsync(job, news));
        }
    }

    private static bool HasNews(WorkerJob job) => job.Picture is { IsBetweenSteps: true } picture && picture.Step > job.SentStep;

    private async Task PreviewAsync(WorkerJob job)
    {
        IDenoising picture = job.Picture!;
        if (!job.IsOver && job.Claim.PreviewSteps.Contains(picture.Step) && !job.Previews.ContainsKey(picture.Step))
        {
            job.Previews[picture.Step] = await device.PreviewAsync(job.Claim.Spec!, picture, CancellationToken.None);
        }
    }

    // What there is to say of a picture as it stands now; it moves on before all of it is said.
    private StepNews NewsOf(WorkerJob job, bool snapshot)
    {
        bool isTime = job.StoredAt is not { } at || clock.GetUtcNow() - at >= options.SnapshotPeriod || job.Item.Alone;
        bool isStored = job.Picture is not null && job.Step > job.StoredStep && (snapshot || isTime || job.Previews.Count > 0);
        return new StepNews(job.Step, isStored ? job.Picture!.Snapshot() : null, new Dictionary<int, byte[]>(job.Previews));
    }

    private async Task TellAsync(WorkerJob job, StepNews news)
    {
        StepReport report = await StoreAsync(job, news);
        ReportOutcome outcome = await PersistAsync(() => grains.Generation(job.Key).ReportAsync(report));
        foreach (int step in news.Previews.Keys)
        {
            job.Previews.Remove(step);
        }

        job.ToldStep = news.Step;
        job.IsOver = outcome == ReportOutcome.Refused;
    }

    private async Task<StepReport> StoreAsync(WorkerJob job, StepNews news)
    {
        var previews = new Dictionary<int, BlobName>();
        foreach ((int step, byte[] bytes) in news.Previews)
        {
            previews[step] = await PersistAsync(() => PutAsync("previews", job, bytes));
        }

        BlobName? stored = null;
        if (news.Snapshot is not null)
        {
            stored = await PersistAsync(() => PutAsync("snapshots", job, news.Snapshot));
            (job.StoredStep, job.StoredAt) = (news.Step, clock.GetUtcNow());
        }

        return new StepReport { Epoch = job.Claim.Epoch, Step = news.Step, Snapshot = stored, Previews = previews };
    }

    // Waits for a job's errand; what it brings is taken in.
    private async Task QuietAsync(WorkerJob job)
    {
        while (job.Errand is { } errand)
        {
            await errand.ContinueWith(_ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
            Settle();
        }
    }

    // A step is finished before its picture leaves: only there can it be stored.
    private async Task GiveBackAsync(WorkerJob job, bool tellQueue)
    {
        await QuietAsync(job);
        while (_jobs.Contains(job) && job.Picture is { IsBetweenSteps: false })
        {
            await EvaluateAloneAsync(job);
        }

        if (!_jobs.Contains(job))
        {
            return;
        }

        if (job.IsClaimed)
        {
            StepReport last = await StoreAsync(job, NewsOf(job, snapshot: true));
            await PersistAsync(() => grains.Generation(job.Key).ReleaseAsync(last));
        }

        if (tellQueue)
        {
            await ReleaseLeaseAsync(job.Model, new LeaseRelease(job.Lease, job.Rest(), LeaseEnd.Returned));
        }

        Forget(job);
    }

    private async Task FailAsync(WorkerJob job, DeviceException error)
    {
        LogFailed(Key, job.Key, error);
        await PersistAsync(() => grains.Generation(job.Key).FailAsync(job.Claim.Epoch, error.Error, error.Message));
        job.IsOver = true;
    }

    private Task<bool> ReleaseLeaseAsync(ModelDigest model, LeaseRelease release) =>
        GrainCalls.TryAsync(() => grains.WorkQueue(model).ReleaseAsync(release));

    private Task<BlobName> PutAsync(string kind, WorkerJob job, byte[] bytes) =>
        blobs.PutAsync(kind, job.Key, bytes, CancellationToken.None);

    private async Task<byte[]> ReadAsync(BlobName name) =>
        await blobs.GetAsync(name, CancellationToken.None)
        ?? throw new DeviceException(GenerationError.BlobLost, $"The bytes {name} are gone from the store.");

    // A call or a write is made again until its outcome is known, or until it has failed often enough for the round to
    // fail.
    private async Task<T> PersistAsync<T>(Func<Task<T>> call)
    {
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                return await call();
            }
            catch (Exception error) when (attempt < options.TriesMax && GrainCalls.IsTransient(error))
            {
                LogUnanswered(Key, error);
                await Task.Delay(options.RetryPause, clock);
            }
        }
    }

    private async Task SleepAsync(TimeSpan time)
    {
        using var enough = new CancellationTokenSource(time, clock);
        try
        {
            await _woken.Reader.ReadAsync(enough.Token);
        }
        catch (OperationCanceledException)
        {
            // Nobody woke it.
        }
    }

    private WorkerJob JobOf(IDenoising picture) => _jobs.Find(job => ReferenceEquals(job.Picture, picture))
        ?? throw new InvalidOperationException($"{Key} evaluated a picture that it does not hold.");

    private WorkerStatus NewStatus() => new()
    {
        Key = Key, DeviceKind = _device.DeviceKind, Roles = _device.Roles, Slots = _device.Slots, Held = _jobs.Count,
        Model = _model, Draining = _draining,
    };

    // A step's state and previews, as bytes that nobody changes.
    private sealed record StepNews(int Step, byte[]? Snapshot, IReadOnlyDictionary<int, byte[]> Previews);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Worker {Worker} has no answer and will ask again")]
    private partial void LogUnanswered(WorkerKey worker, Exception error);

    [LoggerMessage(Level = LogLevel.Error, Message = "Worker {Worker} cannot load the model {Model} and leaves its work alone for a while")]
    private partial void LogRefusedModel(WorkerKey worker, ModelDigest model, Exception error);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Worker {Worker} could not do the work of {Generation}")]
    private partial void LogFailed(WorkerKey worker, GenerationKey generation, Exception error);
}
