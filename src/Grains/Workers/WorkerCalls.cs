// A worker's calls to generations, the blob store and its device for one job. A job has at most one pending call. Every
// call to a generation carries the claim's epoch, so a late call does no harm.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Workers;
using Atelier.Grains.Ports;
using Atelier.Grains.Telemetry;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Workers;

/// <summary>The calls that a job needs besides evaluations.</summary>
/// <param name="key">The worker.</param>
/// <param name="device">The worker's device.</param>
/// <param name="blobs">The store of snapshots and outputs.</param>
/// <param name="grains">The cluster's grains.</param>
/// <param name="options">Pauses, attempts and the snapshot period.</param>
/// <param name="clock">The time.</param>
/// <param name="instruments">The metrics.</param>
/// <param name="busy">Measures the device's busy time.</param>
/// <param name="logger">The log.</param>
/// <param name="stateChanged">
/// Called when the loop should check the job again although its call is still pending. The argument says whether the
/// loop should also take a turn at the queue.
/// </param>
internal sealed class WorkerCalls(
    WorkerKey key, IDeviceHost device, IBlobStore blobs, IGrainFactory grains, WorkerOptions options,
    TimeProvider clock, WorkerInstruments instruments, BusyTime busy, ILogger logger, Action<bool> stateChanged)
{
    private readonly string _deviceKind = device.Description.DeviceKind;
    private readonly SpeedMeter _meter = new();

    /// <summary>Operations per second while the worker denoises; null before the first evaluation.</summary>
    public double? Speed => _meter.Speed;

    /// <summary>
    /// The next call of a job; null if the job needs no call. The state of the picture that the call will report is
    /// captured here.
    /// </summary>
    public Func<Task>? Next(WorkerJob job)
    {
        switch (job)
        {
            case { IsClaimed: false, IsLeaving: false } or { IsClaimed: false, IsClaiming: true }:
                return () => ClaimAsync(job);
            case { Fault: { } fault }:
                return () => FailAsync(job, fault);
            case { IsLeaving: true, Picture.IsBetweenSteps: false }:
                // A step is finished before the picture leaves, because a snapshot is possible only between steps.
                return null;
            case { IsLeaving: true }:
                StepState last = CaptureStep(job);
                return () => ReturnAsync(job, last);
            case { HasUnreportedStep: true }:
                StepState state = CaptureStep(job);
                job.SentStep = state.Step;
                return () => ReportStepAsync(job, state);
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

    /// <summary>Makes a call. If the device fails, the job's next call reports the failure.</summary>
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
    /// Evaluates a batch of pictures. If that fails, each picture is retried alone, so that one picture does not fail
    /// the others.
    /// </summary>
    public async Task EvaluateAsync(WorkerJob[] batch)
    {
        try
        {
            using BusyTime.Call call = busy.Begin();
            long began = clock.GetTimestamp();
            int used = batch.Sum(job => job.Picture!.Rows);
            await device.EvaluateAsync([.. batch.Select(job => job.Picture!)], CancellationToken.None);
            _meter.Count(batch.Sum(job => job.EvaluationCost), clock.GetElapsedTime(began));
            instruments.Evaluated(batch.Length, used, device.Description.Rows);
        }
        catch (DeviceException error) when (batch.Length == 1)
        {
            batch[0].Fault = error;
        }
        catch (DeviceException)
        {
            instruments.BatchFailed();
            foreach (WorkerJob job in batch)
            {
                await EvaluateAsync([job]);
            }
        }
    }

    // A retry repeats the same claim, which may have been granted although the answer was lost.
    private async Task ClaimAsync(WorkerJob job)
    {
        var request = new ClaimRequest(
            key.ToString(), job.Lease, job.Item.Kind, _deviceKind, job.Item.Alone && job.IsAloneHere, job.Attempt);
        job.IsClaiming = true;
        ClaimAnswer? answer = await PersistAsync(job, () => grains.Generation(job.Key).ClaimAsync(request));
        job.IsClaiming = false;
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
            case ClaimOutcome.Denied:
                job.IsDenied = true;
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
        // Both calls are started together, so that the device does no other work between them.
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

    // The end of a phase: the output is stored and the generation notified.
    private async Task CompleteAsync(WorkerJob job, BlobKind kind, Func<Task<byte[]>> work)
    {
        if (job.Output is null)
        {
            byte[] bytes = await work();
            job.Output = await PutAsync(kind, job, bytes);
        }

        // If the call is refused, the generation releases the blob, unless it needs the same blob from another worker.
        BlobName output = job.Output.Value;
        IGenerationGrain generation = grains.Generation(job.Key);
        ReportOutcome outcome = await PersistAsync(job, () => job.Encoded is { } encoded
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
        using var trace = new CurrentActivity(job.Activity);
        logger.ClaimInvalid(key, job.Key, job.Claim.Epoch);
        job.End(null);
    }

    // Captures the state of a picture for its report; the picture may advance while the report is being sent.
    private StepState CaptureStep(WorkerJob job)
    {
        bool isTime = job.StoredAt is not { } at || clock.GetUtcNow() - at >= options.SnapshotPeriod || job.Item.Alone;
        job.IsPreviewing = job.HasUnreportedStep && job.Claim.PreviewSteps.Contains(job.Step)
            && !job.Previews.ContainsKey(job.Step);
        bool stores = job.Picture is not null && job.Step > job.StoredStep
            && (job.IsLeaving || isTime || job.IsPreviewing || job.Previews.Count > 0);
        return new StepState(job.Step, stores ? job.Picture!.Snapshot() : null, job.IsPreviewing);
    }

    // Handles a finished step: makes a preview if one is due, stores a snapshot if it is time, and reports to the
    // generation. Every step is reported, so a step waits for the report of the previous one.
    private async Task ReportStepAsync(WorkerJob job, StepState state)
    {
        if (await ReportAsync(job, await StoreAsync(job, state)) == ReportOutcome.Refused)
        {
            Drop(job);
            return;
        }

        job.ReportedStep = state.Step;
        job.Previews.Clear();
        if (state.Snapshot is not null)
        {
            (job.StoredStep, job.StoredAt) = (state.Step, clock.GetUtcNow());
            if (job.EndQuarantine())
            {
                stateChanged(true);
            }
        }
    }

    private async Task<StepReport> StoreAsync(WorkerJob job, StepState state)
    {
        if (state.NeedsPreview)
        {
            using (busy.Begin())
            {
                job.Previews[state.Step] = await device.PreviewAsync(
                    job.Claim.Spec!, job.Picture!, CancellationToken.None);
            }

            job.IsPreviewing = false;
            stateChanged(false);
        }

        var previews = new Dictionary<int, BlobName>();
        foreach ((int step, byte[] bytes) in job.Previews)
        {
            previews[step] = await PutAsync(BlobKind.Preview, job, bytes);
        }

        BlobName? stored = state.Snapshot is { } snapshot ? await PutAsync(BlobKind.Snapshot, job, snapshot) : null;
        return new StepReport
        {
            Epoch = job.Claim.Epoch, Step = state.Step, Snapshot = stored, Previews = previews,
            Untold = [.. job.Untold],
        };
    }

    private async Task<ReportOutcome> ReportAsync(WorkerJob job, StepReport report)
    {
        ReportOutcome outcome = await PersistAsync(job, () => grains.Generation(job.Key).ReportAsync(report));
        job.Untold.Clear();
        return outcome;
    }

    private async Task ReturnAsync(WorkerJob job, StepState last)
    {
        if (job.IsClaimed)
        {
            StepReport report = await StoreAsync(job, last);
            await PersistAsync(job, () => grains.Generation(job.Key).ReleaseAsync(report));
        }

        job.End(job.NotifiesQueue ? new LeaseRelease(job.Lease, job.Remaining(), LeaseEnd.Returned) : null);
    }

    private async Task FailAsync(WorkerJob job, DeviceException error)
    {
        using (new CurrentActivity(job.Activity))
        {
            logger.WorkFailed(key, job.Key, error);
        }

        await ProbeAsync(error);
        if (job.Untold.Count > 0)
        {
            await ReportAsync(
                job, new StepReport { Epoch = job.Claim.Epoch, Step = job.ReportedStep, Untold = [.. job.Untold] });
        }

        await PersistAsync(
            job, () => grains.Generation(job.Key).FailAsync(job.Claim.Epoch, error.Error, error.Message));
        job.End(null); // The work is retried when its lease expires: elsewhere, or later.
    }

    // Before a failure is blamed on the request, the device must prove that it works. A broken device ends the process.
    // All work of the process is then resumed elsewhere from its last snapshots, and no failure is recorded for it.
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
                throw new InvalidOperationException($"The device of worker {key} is broken: {broken.Message}", error);
            }
        }
    }

    // A write that was not answered may still have been carried out, so the blob is remembered before the write.
    private async Task<BlobName> PutAsync(BlobKind kind, WorkerJob job, byte[] bytes)
    {
        BlobName name = BlobBytes.NameOf(kind, job.Key.Tenant, bytes);
        job.Untold.Add(name);
        await PersistAsync(job, async () =>
        {
            await blobs.PutAsync(name, BlobOwner.Of(job.Key.Id), bytes, CancellationToken.None);
            return true;
        });
        return name;
    }

    private async Task<byte[]> ReadAsync(BlobName name) =>
        await blobs.GetAsync(name, CancellationToken.None)
        ?? throw new DeviceException(GenerationError.BlobLost, $"The blob {name} is missing from the store.");

    // Retries a call or a write until its outcome is known or its attempts are used up. A write that a full disk
    // refuses is not retried here.
    private async Task<T> PersistAsync<T>(WorkerJob job, Func<Task<T>> call)
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
                using (new CurrentActivity(job.Activity))
                {
                    logger.CallUnanswered(key, error);
                }

                await Task.Delay(options.RetryPause, clock);
            }
        }
    }

    // The captured state of a step, and whether its preview must still be made.
    private sealed record StepState(int Step, byte[]? Snapshot, bool NeedsPreview);
}
