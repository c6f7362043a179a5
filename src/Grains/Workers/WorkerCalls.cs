// What a worker says to generations, stores and its device about one piece of work. A piece of work has at most one
// pending call; every call carries the claim's epoch, so nothing that arrives too late does harm.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Workers;
using Atelier.Grains.Ports;
using Atelier.Grains.Telemetry;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Workers;

/// <summary>The calls that a piece of work needs besides evaluations.</summary>
/// <param name="key">The worker.</param>
/// <param name="device">Its device.</param>
/// <param name="blobs">Where snapshots and outcomes are stored.</param>
/// <param name="grains">Where generations are found.</param>
/// <param name="options">Pauses, tries and the snapshot period.</param>
/// <param name="clock">The time.</param>
/// <param name="instruments">The metrics.</param>
/// <param name="busy">Measures the device's busy time.</param>
/// <param name="logger">The log.</param>
/// <param name="stateChanged">
/// Called within a call when the loop should look at the work again; true if it should take a turn at the queue, too.
/// </param>
internal sealed class WorkerCalls(
    WorkerKey key, IDeviceHost device, IBlobStore blobs, IGrainFactory grains, WorkerOptions options,
    TimeProvider clock, WorkerInstruments instruments, BusyTime busy, ILogger logger, Action<bool> stateChanged)
{
    private readonly string _deviceKind = device.Description.DeviceKind;

    /// <summary>
    /// The call that a piece of work needs next; null if none. What the call reports of a picture is taken here.
    /// </summary>
    public Func<Task>? Next(WorkerJob job)
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
                return () => ReturnAsync(job, last);
            case { HasNews: true }:
                StepNews news = NewsOf(job);
                job.SentStep = news.Step;
                return () => ReportStepAsync(job, news);
            case { Latent: { } latent }:
                return () => CompleteAsync(job, BlobKind.Latent, () => Task.FromResult(latent));
            case { Item.Kind: WorkKind.Denoise, Picture: null }:
                return () => BeginAsync(job);
            case { Item.Kind: WorkKind.Encode }:
                return () => CompleteAsync(job, BlobKind.Caption, () => EncodeAsync(job));
            case { Item.Kind: WorkKind.Decode }:
                return () => CompleteAsync(job, BlobKind.Picture, () => DecodeAsync(job));
            default:
                return null;
        }
    }

    /// <summary>Makes a call. A device's fault ends the work, which is its next call.</summary>
    public static async Task RunAsync(WorkerJob job, Func<Task> call)
    {
        try
        {
            await call();
        }
        catch (DeviceException error)
        {
            job.Fault = error;
        }
    }

    /// <summary>
    /// Evaluates a batch of pictures. If it fails, each is tried alone, so that one does not fail the others.
    /// </summary>
    public async Task EvaluateAsync(WorkerJob[] batch)
    {
        try
        {
            using BusyTime.Call call = busy.Begin();
            await device.EvaluateAsync([.. batch.Select(job => job.Picture!)], CancellationToken.None);
            instruments.Evaluated(batch.Length);
        }
        catch (DeviceException error) when (batch.Length == 1)
        {
            batch[0].Fault = error;
        }
        catch (DeviceException)
        {
            foreach (WorkerJob job in batch)
            {
                await EvaluateAsync([job]);
            }
        }
    }

    // A retry is the same claim, which may have been granted although the answer was lost.
    private async Task ClaimAsync(WorkerJob job)
    {
        var request = new ClaimRequest(
            key.ToString(), job.Lease, job.Item.Kind, _deviceKind, job.Item.Alone && job.IsAloneHere, job.Attempt);
        job.IsAsking = true;
        ClaimAnswer? answer = await PersistAsync(() => grains.Generation(job.Key).ClaimAsync(request));
        job.IsAsking = false;
        switch (answer?.Outcome)
        {
            case ClaimOutcome.Granted:
                job.Claim = answer;
                job.Activity = GenerationActivities.Begin(
                    GenerationActivities.NameOf(job.Item.Kind), job.Key, answer.TraceParent);
                job.Activity?.SetTag("atelier.worker", key.ToString()).SetTag("atelier.claim.epoch", answer.Epoch);
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
        using BusyTime.Call call = busy.Begin();
        job.Picture = await device.BeginAsync(job.Claim.Spec!, caption, snapshot, CancellationToken.None);
    }

    private async Task<byte[]> EncodeAsync(WorkerJob job)
    {
        // Asked for together, so that no other work of the device comes between them.
        using BusyTime.Call call = busy.Begin();
        Task<byte[]> encoding = device.EncodeAsync(job.Claim.Spec!, CancellationToken.None);
        Task<EncodedPrompts?> counting = device.CountAsync(job.Claim.Spec!, CancellationToken.None);
        await Task.WhenAll(encoding, counting);
        job.Encoded = await counting;
        return await encoding;
    }

    private async Task<byte[]> DecodeAsync(WorkerJob job)
    {
        byte[] latent = await ReadAsync(job.Claim.Latent!.Value);
        using BusyTime.Call call = busy.Begin();
        return await device.DecodeAsync(job.Claim.Spec!, latent, CancellationToken.None);
    }

    // The end of a phase: its outcome is stored, and its generation is notified.
    private async Task CompleteAsync(WorkerJob job, BlobKind kind, Func<Task<byte[]>> work)
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
        if (outcome == ReportOutcome.Taken)
        {
            job.End(new LeaseRelease(job.Lease, job.Item, LeaseEnd.Finished));
        }
        else
        {
            Drop(job);
        }
    }

    private void Drop(WorkerJob job)
    {
        instruments.ClaimLost();
        logger.ClaimInvalid(key, job.Key, job.Claim.Epoch);
        job.End(null);
    }

    // What there is to report of a picture as it is now; it may change before all of it is reported.
    private StepNews NewsOf(WorkerJob job)
    {
        bool isTime = job.StoredAt is not { } at || clock.GetUtcNow() - at >= options.SnapshotPeriod || job.Item.Alone;
        job.IsShowing = job.HasNews && job.Claim.PreviewSteps.Contains(job.Step) && !job.Previews.ContainsKey(job.Step);
        bool stores = job.Picture is not null && job.Step > job.StoredStep
            && (job.IsLeaving || isTime || job.IsShowing || job.Previews.Count > 0);
        return new StepNews(job.Step, stores ? job.Picture!.Snapshot() : null, job.IsShowing);
    }

    // After a step: a preview where one is due, a snapshot where it is time, and a report to the generation. Each step
    // is reported, so a step waits for the report of the one before it.
    private async Task ReportStepAsync(WorkerJob job, StepNews news)
    {
        if (await ReportAsync(job, await StoreAsync(job, news)) == ReportOutcome.Refused)
        {
            Drop(job);
            return;
        }

        job.ToldStep = news.Step;
        job.Previews.Clear();
        if (news.Snapshot is not null)
        {
            (job.StoredStep, job.StoredAt) = (news.Step, clock.GetUtcNow());
            if (job.EndQuarantine())
            {
                stateChanged(true);
            }
        }
    }

    private async Task<StepReport> StoreAsync(WorkerJob job, StepNews news)
    {
        if (news.Shows)
        {
            using (busy.Begin())
            {
                job.Previews[news.Step] = await device.PreviewAsync(
                    job.Claim.Spec!, job.Picture!, CancellationToken.None);
            }

            job.IsShowing = false;
            stateChanged(false);
        }

        var previews = new Dictionary<int, BlobName>();
        foreach ((int step, byte[] bytes) in job.Previews)
        {
            previews[step] = await PutAsync(BlobKind.Preview, job, bytes);
        }

        BlobName? stored = news.Snapshot is { } snapshot ? await PutAsync(BlobKind.Snapshot, job, snapshot) : null;
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

    private async Task ReturnAsync(WorkerJob job, StepNews last)
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
        logger.WorkFailed(key, job.Key, error);
        await ProbeAsync(error);
        if (job.Untold.Count > 0)
        {
            await ReportAsync(
                job, new StepReport { Epoch = job.Claim.Epoch, Step = job.ToldStep, Untold = [.. job.Untold] });
        }

        await PersistAsync(() => grains.Generation(job.Key).FailAsync(job.Claim.Epoch, error.Error, error.Message));
        job.End(null); // It is tried again when its lease expires: elsewhere, or later.
    }

    // Before a request is blamed, the device shows that it works. One that does not ends the process with all that it
    // holds: that is resumed elsewhere, from its last snapshots, and nothing is recorded against it.
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
                throw new InvalidOperationException($"The device of {key} no longer works: {broken.Message}", error);
            }
        }
    }

    // A write without an answer may have been made.
    private async Task<BlobName> PutAsync(BlobKind kind, WorkerJob job, byte[] bytes)
    {
        BlobName name = BlobBytes.NameOf(kind, job.Key.Tenant, bytes);
        job.Untold.Add(name);
        await PersistAsync(async () =>
        {
            await blobs.PutAsync(name, BlobOwner.Of(job.Key.Id), bytes, CancellationToken.None);
            return true;
        });
        return name;
    }

    private async Task<byte[]> ReadAsync(BlobName name) =>
        await blobs.GetAsync(name, CancellationToken.None)
        ?? throw new DeviceException(GenerationError.BlobLost, $"The bytes {name} are gone from the store.");

    // A call or a write is retried until its outcome is known, or until it has failed often enough for the pending call
    // to fail. What a full disk refuses is not retried here.
    private async Task<T> PersistAsync<T>(Func<Task<T>> call)
    {
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                return await call();
            }
            catch (Exception error)
                when (attempt < options.TriesMax && GrainCalls.IsTransient(error) && error is not IOException)
            {
                logger.CallUnanswered(key, error);
                await Task.Delay(options.RetryPause, clock);
            }
        }
    }

    // A step's state, as bytes that nobody changes, and whether its preview is yet to be made.
    private sealed record StepNews(int Step, byte[]? Snapshot, bool Shows);
}
