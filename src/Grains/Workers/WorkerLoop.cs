// What a worker does all day: takes a turn at the queue, claims what it is given, does one round of work (a decoding,
// an encoding, an evaluation that its pictures share), and reports. It runs on a task of its own, not on a grain's
// scheduler; all it says carries the claim's epoch, so nothing that it does too late can do harm.
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
    private readonly StepBatcher<IDenoising> _batcher = new(device.Description.Slots);
    private readonly Dictionary<ModelDigest, DateTimeOffset> _loaded = [];
    private readonly Dictionary<ModelDigest, DateTimeOffset> _refused = [];
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Channel<bool> _woken =
        Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private long _attempt = clock.GetUtcNow().UtcTicks;
    private DateTimeOffset _queueAwayUntil;
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
                await FinishStepAsync(job);
                await GiveBackAsync(job, tellQueue: true);
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
        // Between the evaluations of a step there is nothing to say, and while the queue is away work goes on without
        // it.
        bool speaks = _jobs.Count == 0 || _jobs.Exists(job => job.Picture is null or { IsBetweenSteps: true });
        if (speaks && clock.GetUtcNow() >= _queueAwayUntil && await ChooseModelAsync() is { } model)
        {
            try
            {
                await TurnAsync(model);
            }
            catch (Exception error) when (_jobs.Count > 0 && GrainCalls.IsTransient(error))
            {
                LogUnanswered(Key, error);
                _queueAwayUntil = clock.GetUtcNow() + (4 * options.RetryPause);
            }
        }

        if (_jobs.Count == 0)
        {
            await SleepAsync(options.IdlePeriod);
            return;
        }

        foreach (WorkerJob job in _jobs.Where(job => job.Output is null && job.Item.Kind != WorkKind.Denoise).Take(1).ToArray())
        {
            await DoAsync(job, () => SingleAsync(job));
        }

        await EvaluateAsync();
        await ReportAsync();
        foreach (WorkerJob job in _jobs.Where(job => job.Output is not null).ToArray())
        {
            await CompleteAsync(job);
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

    private async Task TurnAsync(ModelDigest model)
    {
        WorkerJob[] asked = [.. _jobs];
        bool alone = asked.Any(job => job.Item.Alone);
        int singles = asked.Count(job => job.Item.Kind != WorkKind.Denoise);
        int free = alone ? 0 : Math.Max(0, Math.Min(_batcher.Free, _device.Slots) + (singles < SingleMax ? 0 : -singles));
        var turn = new WorkerTurn
        {
            Worker = Key.ToString(),
            DeviceKind = _device.DeviceKind,
            Roles = _device.Roles,
            Free = free,
            Held = [.. asked.Select(job => new HeldWork(job.Lease, job.Item, job.Done))],
        };
        TurnAnswer answer = await grains.WorkQueue(model).TurnAsync(turn);
        for (int i = 0; i < asked.Length; i++)
        {
            if (answer.Verdicts[i] != WorkVerdict.Continue && asked[i].Output is null)
            {
                await FinishStepAsync(asked[i]);
                await GiveBackAsync(asked[i], answer.Verdicts[i] == WorkVerdict.Park);
            }
        }

        foreach (LeasedWork lease in answer.Leased)
        {
            await ClaimAsync(lease, model);
        }
    }

    private async Task ClaimAsync(LeasedWork lease, ModelDigest model)
    {
        WorkItem item = lease.Item;
        var request = new ClaimRequest(
            Key.ToString(), lease.Lease, item.Kind, _device.DeviceKind, item.Alone && _jobs.Count == 0, ++_attempt);
        ClaimAnswer? answer = await PersistAsync(() => grains.Generation(item.Generation).ClaimAsync(request));
        switch (answer?.Outcome)
        {
            case ClaimOutcome.Granted:
                var job = new WorkerJob(lease, model, answer);
                _jobs.Add(job);
                if (item.Kind == WorkKind.Denoise)
                {
                    await DoAsync(job, () => BeginAsync(job));
                }

                break;
            case ClaimOutcome.NotYou:
                await ReleaseLeaseAsync(model, new LeaseRelease(lease.Lease, answer.Item!, LeaseEnd.Returned));
                break;
            case ClaimOutcome.Nothing:
                await ReleaseLeaseAsync(model, new LeaseRelease(lease.Lease, item, LeaseEnd.Finished));
                break;
        }
    }

    private async Task BeginAsync(WorkerJob job)
    {
        byte[] caption = await ReadAsync(job.Claim.Caption!.Value);
        byte[]? snapshot = job.Claim.Snapshot is { } name ? await ReadAsync(name) : null;
        job.Picture = await device.BeginAsync(job.Claim.Spec!, caption, snapshot, CancellationToken.None);
        if (!_batcher.TryJoin(job.Picture))
        {
            throw new InvalidOperationException($"{job.Key} was leased beyond the {_device.Slots} slots of {Key}.");
        }
    }

    private async Task SingleAsync(WorkerJob job)
    {
        GenerationSpec spec = job.Claim.Spec!;
        if (job.Item.Kind == WorkKind.Encode)
        {
            await StoreOutputAsync(job, "captions", await device.EncodeAsync(spec, CancellationToken.None));
        }
        else
        {
            byte[] latent = await ReadAsync(job.Claim.Latent!.Value);
            await StoreOutputAsync(job, "pictures", await device.DecodeAsync(spec, latent, CancellationToken.None));
        }
    }

    // One evaluation. Where it fails for several pictures, each is tried alone, so that one does not fail the others.
    private async Task EvaluateAsync()
    {
        IReadOnlyList<IDenoising> batch = _batcher.Next();
        if (batch.Count == 0)
        {
            return;
        }

        try
        {
            await device.EvaluateAsync(batch, CancellationToken.None);
        }
        catch (DeviceException) when (batch.Count > 1)
        {
            foreach (IDenoising picture in batch)
            {
                await DoAsync(JobOf(picture), () => device.EvaluateAsync([picture], CancellationToken.None));
            }
        }
        catch (DeviceException error)
        {
            await FailAsync(JobOf(batch[0]), error);
        }
    }

    // After a step: a preview where one is due, a snapshot where it is time, and a word to the generation. The device
    // makes previews one after the other; the words go out together.
    private async Task ReportAsync()
    {
        foreach (WorkerJob job in _jobs.Where(HasNews).ToArray())
        {
            await DoAsync(job, () => PreviewAsync(job));
        }

        WorkerJob[] stepped = [.. _jobs.Where(HasNews)];
        ReportOutcome[] outcomes = await Task.WhenAll(stepped.Select(TellAsync));
        for (int i = 0; i < stepped.Length; i++)
        {
            if (outcomes[i] == ReportOutcome.Refused)
            {
                await DropAsync(stepped[i], LeaseEnd.Finished, tellQueue: false);
            }
            else if (stepped[i].Picture!.IsDone)
            {
                await StoreOutputAsync(stepped[i], "latents", stepped[i].Picture!.Latent());
            }
        }
    }

    private static bool HasNews(WorkerJob job) =>
        job.Picture is { IsBetweenSteps: true } picture && (picture.Step > job.ToldStep || (picture.IsDone && job.Output is null));

    private async Task PreviewAsync(WorkerJob job)
    {
        IDenoising picture = job.Picture!;
        if (job.Claim.PreviewSteps.Contains(picture.Step) && picture.Step > job.ToldStep && !job.Previews.ContainsKey(picture.Step))
        {
            byte[] preview = await device.PreviewAsync(job.Claim.Spec!, picture, CancellationToken.None);
            job.Previews[picture.Step] = await PersistAsync(() => PutAsync("previews", job, preview));
        }
    }

    // Touches its own job alone: several are under way at a time.
    private async Task<ReportOutcome> TellAsync(WorkerJob job)
    {
        bool isTime = job.StoredAt is not { } at || clock.GetUtcNow() - at >= options.SnapshotPeriod || job.Item.Alone;
        StepReport report = await StepReportAsync(job, isTime || job.Previews.Count > 0);
        ReportOutcome outcome = await PersistAsync(() => grains.Generation(job.Key).ReportAsync(report));
        job.Previews.Clear();
        job.ToldStep = report.Step;
        return outcome;
    }

    private async Task<StepReport> StepReportAsync(WorkerJob job, bool snapshot)
    {
        BlobName? stored = null;
        if (snapshot && job.Step > job.StoredStep)
        {
            byte[] bytes = job.Picture!.Snapshot();
            stored = await PersistAsync(() => PutAsync("snapshots", job, bytes));
            (job.StoredStep, job.StoredAt) = (job.Step, clock.GetUtcNow());
        }

        return new StepReport
        {
            Epoch = job.Claim.Epoch, Step = job.Step, Snapshot = stored, Previews = new Dictionary<int, BlobName>(job.Previews),
        };
    }

    private async Task CompleteAsync(WorkerJob job)
    {
        BlobName output = job.Output!.Value;
        await PersistAsync(() => grains.Generation(job.Key).CompleteAsync(job.Claim.Epoch, output));
        await DropAsync(job, LeaseEnd.Finished, tellQueue: true);
    }

    // A step is finished before its picture leaves: only there can it be stored.
    private async Task FinishStepAsync(WorkerJob job)
    {
        while (_jobs.Contains(job) && job.Picture is { IsBetweenSteps: false } picture)
        {
            await DoAsync(job, () => device.EvaluateAsync([picture], CancellationToken.None));
        }
    }

    private async Task GiveBackAsync(WorkerJob job, bool tellQueue)
    {
        if (_jobs.Contains(job))
        {
            await DoAsync(job, async () =>
            {
                StepReport last = await StepReportAsync(job, snapshot: job.Picture is not null);
                await PersistAsync(() => grains.Generation(job.Key).ReleaseAsync(last));
            });
            await DropAsync(job, LeaseEnd.Returned, tellQueue);
        }
    }

    private async Task FailAsync(WorkerJob job, DeviceException error)
    {
        LogFailed(Key, job.Key, error);
        await PersistAsync(() => grains.Generation(job.Key).FailAsync(job.Claim.Epoch, error.Error, error.Message));
        await DropAsync(job, LeaseEnd.Finished, tellQueue: false);
    }

    private async Task DropAsync(WorkerJob job, LeaseEnd end, bool tellQueue)
    {
        if (!_jobs.Remove(job))
        {
            return;
        }

        if (job.Picture is { } picture)
        {
            _batcher.Drop(picture);
            picture.Dispose();
        }

        // Where the generation has put its next work into the queue already, this is not heard there.
        if (tellQueue)
        {
            await ReleaseLeaseAsync(job.Model, new LeaseRelease(job.Lease, end == LeaseEnd.Returned ? job.Rest() : job.Item, end));
        }
    }

    private async Task DoAsync(WorkerJob job, Func<Task> work)
    {
        try
        {
            await work();
        }
        catch (DeviceException error)
        {
            await FailAsync(job, error);
        }
    }

    private Task<bool> ReleaseLeaseAsync(ModelDigest model, LeaseRelease release) =>
        GrainCalls.TryAsync(() => grains.WorkQueue(model).ReleaseAsync(release));

    private async Task StoreOutputAsync(WorkerJob job, string kind, byte[] bytes) =>
        job.Output = await PersistAsync(() => PutAsync(kind, job, bytes));

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
            catch (Exception error) when (attempt < options.TriesMax && (GrainCalls.IsTransient(error) || error is IOException))
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

    [LoggerMessage(Level = LogLevel.Warning, Message = "Worker {Worker} has no answer and will ask again")]
    private partial void LogUnanswered(WorkerKey worker, Exception error);

    [LoggerMessage(Level = LogLevel.Error, Message = "Worker {Worker} cannot load the model {Model} and leaves its work alone for a while")]
    private partial void LogRefusedModel(WorkerKey worker, ModelDigest model, Exception error);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Worker {Worker} could not do the work of {Generation}")]
    private partial void LogFailed(WorkerKey worker, GenerationKey generation, Exception error);
}
