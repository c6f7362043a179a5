// A generation as a grain: the pure machine, its stored state, and the consequences of a change: work is offered to the
// queue, an ended generation leaves the open set, blobs that are no longer needed are released, watchers are notified.
using System.Diagnostics;
using System.Runtime.CompilerServices;
using Atelier.Contracts;
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.Generations;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Models;
using Atelier.Grains.OpenSets;
using Atelier.Grains.Placement;
using Atelier.Grains.Ports;
using Atelier.Grains.Telemetry;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.Generations;

/// <summary>Represents one picture, from its submission to the end of its retention.</summary>
[GrainType("generation")]
[ControlSilo]
[CollectionAgeLimit(Minutes = 2)]
internal sealed partial class GenerationGrain(
    [PersistentState("generation")] IPersistentState<GenerationState> stored,
    IOptions<GenerationOptions> options, IOptions<OpenSetOptions> openSet, IOptions<ModelOptions> models,
    OpenSetMap openSets, TimeProvider clock, IGrainFactory grains, IBlobStore blobs, GenerationInstruments instruments,
    LogLimits limits, ILogger<GenerationGrain> logger)
    : Grain, IGenerationGrain, IIncomingGrainCallFilter
{
    // Maximum length of prompts with which an ended generation stays active for the usual time.
    private const int PromptKeptMax = 8192;
    private static readonly TimeSpan s_longPromptKept = TimeSpan.FromSeconds(1);

    private readonly GenerationMachine _machine = new(options.Value);
    private GenerationState _state = new();
    private GenerationKey _key;
    private DateTimeOffset _heardAt;
    private IGrainTimer? _deactivation;
    private int _watchers;

    // When the phase began, if it began in this activation.
    private long? _phaseAt;
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        if (!GenerationKey.TryParse(this.GetPrimaryKeyString(), out _key))
        {
            throw new ArgumentException(
                $"'{this.GetPrimaryKeyString()}' is not a generation's key; it must be tenant/id, each {Names.Rule}.");
        }

        _state = FromStore(stored.State);

        // The claim's worker may have reported to an earlier activation a moment ago.
        _heardAt = clock.GetUtcNow();
        this.RegisterGrainTimer(ReloadPeriodicallyAsync, openSet.Value.WalkPeriod, openSet.Value.WalkPeriod);
        return Task.CompletedTask;
    }

    // Thousands of long prompts fill a silo's memory, so an ended generation with one deactivates after a call. It
    // waits a moment: Orleans would forward pending calls to the next activation, and rejects a call forwarded twice.
    public async Task Invoke(IIncomingGrainCallContext context)
    {
        try
        {
            await context.Invoke();
        }
        finally
        {
            if (!_state.IsOpen && _state.Submission?.Spec is { } spec
                && spec.Prompt.Length + spec.Negative.Length > PromptKeptMax)
            {
                _deactivation ??= this.RegisterGrainTimer(
                    DeactivateAsync, s_longPromptKept, Timeout.InfiniteTimeSpan);
            }
        }
    }

    public async Task<SubmitAnswer> SubmitAsync(Submission submission)
    {
        using Activity? activity = GenerationActivities.BeginSubmit(_key);
        if (GenerationMachine.Known(_state, submission) is { } known)
        {
            return known switch
            {
                SubmitOutcome.Exists => new SubmitAnswer(known, View: await ViewAsync()),
                SubmitOutcome.Conflict => new SubmitAnswer(
                    known, $"The id '{_key.Id}' is in use by another request; choose a new one."),
                _ => new SubmitAnswer(known, $"The generation '{_key.Id}' was deleted or timed out; choose a new id."),
            };
        }

        var admission = new SubmissionAdmission(_machine, openSets, grains, clock);
        AdmittedSubmission admitted = await admission.AdmitAsync(_key, submission);
        if (admitted.Accepted is null)
        {
            CountRefusal(admitted.Refusal!);
            activity?.SetStatus(ActivityStatusCode.Error, Labels<SubmitOutcome>.Of(admitted.Refusal!.Outcome));
            return admitted.Refusal!;
        }

        // Late keeps the blobs of an earlier generation under this id. This generation may store equal blobs, so they
        // are released at its first claim.
        GenerationState accepted = admitted.Accepted with
        {
            Late = [.. _state.ToRelease, .. _state.Late],
            TraceParent = activity?.Id,
        };
        await ApplyAsync(new Outcome<bool>(accepted, true, true));
        return new SubmitAnswer(SubmitOutcome.Accepted, View: View(admitted.Place));
    }

    public async Task<GenerationView?> ViewAsync()
    {
        if (_state.Submission is null)
        {
            return null;
        }

        bool waits = _state.IsOpen && _state.Phase.Info().Waits;
        return View(waits ? await GrainCalls.TryAsync(() => grains.WorkQueue().PlaceOfAsync(_key)) : null);
    }

    public Task<GenerationView?> CancelAsync() => CancelAsync(message: null);

    public Task<GenerationView?> CancelUnwatchedAsync() =>
        _watchers > 0 ? ViewAsync() : CancelAsync(GenerationEvent.Abandoned);

    public Task DeleteAsync() => DeleteAsync(within: null);

    public Task DeleteInAsync(SessionId session) => DeleteAsync(session);

    public async Task ForgetAsync(long hour)
    {
        if (_state.IsOpen || _state.AcceptedHour > hour)
        {
            return;
        }

        await CloseAsync(within: null);
        if (!await ReleaseAsync(_state.ToRelease))
        {
            throw new IOException($"The blob store did not release all blobs of {_key}; this will be retried.");
        }

        await stored.ClearStateAsync();
        DeactivateOnIdle();
    }

    public async IAsyncEnumerable<GenerationEvent> WatchAsync(
        EventNumber after, [EnumeratorCancellation] CancellationToken cancellation = default)
    {
        _watchers++;
        try
        {
            while (_state.Submission is not null)
            {
                Task changed = _changed.Task;
                foreach (GenerationEvent one in GenerationEvents.EventsAfter(_state, after).ToArray())
                {
                    yield return one;
                    after = one.Number;
                    if (one.IsLast)
                    {
                        yield break;
                    }
                }

                await changed.WaitAsync(cancellation);
            }
        }
        finally
        {
            _watchers--;
        }
    }

    public async Task<bool> EnsureQueuedAsync(bool late)
    {
        if (_state is { Submission: null, Closure: GenerationClosure.None })
        {
            // Another activation may have accepted the generation during a network partition.
            await ReloadAsync();
        }

        bool keep = await ApplyAsync(
            await DecideAsync(() => GenerationMachine.Ensure(_state, late, clock.GetUtcNow())));
        if (_state.IsOpen && await RetirementAsync() is { } why)
        {
            Log(log => log.ModelRetired(_key, _state.Submission!.Spec.Model));
            keep = await ApplyAsync(GenerationMachine.Retire(_state, why, clock.GetUtcNow()));
        }

        if (_state.IsOpen)
        {
            TenantWeight? weight = await GrainCalls.TryAsync(() => grains.Tenant(_key.Tenant)
                .ConfirmAsync(_key.Id, _state.Submission!.Spec.Evaluations, _state.ChargedDay));
            _state = weight is null ? _state : _state with { Weight = weight.Weight, WeightVersion = weight.Version };
            await OfferAsync();
        }
        else if (!keep)
        {
            await SettleAsync(_state.Computed);
            keep = !await ReleaseAsync(_state.ToRelease);
        }

        return keep;
    }

    public async Task<ClaimAnswer> ClaimAsync(ClaimRequest request)
    {
        using Activity? activity = _state.TraceParent is { } parent
            ? GenerationActivities.Begin(GenerationActivities.Claim, _key, parent) : null;
        Outcome<ClaimAnswer> outcome = await DecideAsync(
            () => _machine.Claim(_state, _key, request, _heardAt, clock.GetUtcNow()));
        GenerationState before = _state;
        ClaimAnswer answer = await ApplyAsync(outcome);
        RecordClaim(before, request, answer);
        activity?.SetTag("atelier.worker", request.Worker).SetTag("atelier.claim.epoch", answer.Epoch)
            .SetTag(LabelNames.Outcome, Labels<ClaimOutcome>.Of(answer.Outcome));
        if (answer.Outcome == ClaimOutcome.Granted)
        {
            _heardAt = clock.GetUtcNow();
        }

        // Until the new claim is answered, no worker can be storing a blob under a valid claim.
        bool isNew = _state.Epoch != before.Epoch;
        await ReleaseAsync(isNew || !_state.IsClaimed ? [.. _state.ToRelease, .. _state.Late] : []);

        // An older activation has offered another phase to the queue. This offer corrects the queue before the next
        // walk.
        if (answer.Outcome == ClaimOutcome.Nothing && _state.IsOpen)
        {
            await OfferAsync();
        }

        return answer;
    }

    public async Task<ReportOutcome> ReportAsync(StepReport report)
    {
        // A store that accepts blobs and releases none would fill the state with their names.
        return _state.ToRelease.Length < GenerationMachine.ToReleaseMax || await ReleaseAsync(_state.ToRelease)
            ? await ApplyReportAsync(() => GenerationMachine.Report(_state, report))
            : throw new IOException($"The blob store does not release blobs; the report of {_key} must be retried.");
    }

    public Task<ReportOutcome> CompleteAsync(long epoch, BlobName output) =>
        ApplyReportAsync(() => GenerationMachine.Complete(_state, epoch, output, clock.GetUtcNow()));

    public Task<ReportOutcome> CompleteEncodingAsync(long epoch, BlobName caption, EncodedPrompts encoded) =>
        ApplyReportAsync(() => GenerationMachine.Complete(_state, epoch, caption, clock.GetUtcNow(), encoded));

    public Task<ReportOutcome> ReleaseAsync(StepReport last) =>
        ApplyReportAsync(() => GenerationMachine.Release(_state, last, clock.GetUtcNow()));

    public Task<ReportOutcome> FailAsync(long epoch, GenerationError error, string message) =>
        ApplyReportAsync(() => _machine.Fail(_state, epoch, error, message, clock.GetUtcNow()));

    private async Task<GenerationView?> CancelAsync(string? message)
    {
        if (await ApplyAsync(await DecideAsync(() => GenerationMachine.Cancel(_state, clock.GetUtcNow(), message))))
        {
            await GrainCalls.TryAsync(() => grains.WorkQueue().WithdrawAsync(_key));
        }

        return await ViewAsync();
    }

    // Why no worker will ever do the work, as a sentence; null if a worker still may. The catalog is asked only after
    // no worker has reported on the work for RetiredPatience.
    private async Task<string?> RetirementAsync()
    {
        TimeSpan patience = models.Value.RetiredPatience;
        if (clock.GetUtcNow() - (_state.Claim is null ? _state.WaitingSince : _heardAt) < patience)
        {
            return null;
        }

        try
        {
            ModelDigest model = _state.Submission!.Spec.Model;
            return await grains.Catalog().FindAsync(model.Value) switch
            {
                { ReplacedBy: { } newer } card when card.Unconfirmed >= patience =>
                    SubmissionAdmission.Retired(card, newer),
                null => $"The model {model} is retired: no worker holds it, and the catalog no longer lists it.",
                _ => null,
            };
        }
        catch (Exception error) when (GrainCalls.IsTransient(error))
        {
            GrainCalls.Count(error, nameof(RetirementAsync));
            return null;
        }
    }

    private void CountRefusal(SubmitAnswer refusal)
    {
        instruments.Refused(refusal.Outcome);
        string reason = Labels<SubmitOutcome>.Of(refusal.Outcome);
        if (limits.Passes(nameof(GenerationLog.SubmissionRefused), reason, out int count))
        {
            logger.SubmissionRefused(count, refusal.Outcome, _key.Tenant, refusal.Message);
        }
    }

    private void RecordClaim(GenerationState before, ClaimRequest request, ClaimAnswer answer)
    {
        if (before.Claim is { } claim && _state.Claim != claim)
        {
            instruments.ClaimLost();
            logger.ClaimLost(_key, claim.Worker, before.Epoch, before.SnapshotStep);
        }

        if (_state.Restarts > before.Restarts)
        {
            instruments.Restarted();
            logger.RestartedElsewhere(_key, request.DeviceKind, before.SnapshotStep);
        }

        if (_state.IsOpen && _state.IsQuarantined(options.Value) && !before.IsQuarantined(options.Value))
        {
            instruments.Quarantined();
            logger.Quarantined(_key);
        }

        if (_state.Epoch != before.Epoch)
        {
            instruments.Claimed(_state.Phase);
            logger.Claimed(_key, request.Worker, answer.Epoch, answer.Step);
        }
    }

    private GenerationView View(QueuePlace? place) => new()
    {
        Key = _key, Submission = _state.Submission!, Phase = _state.Phase, Step = _state.Step, Place = place,
        Picture = _state.Picture, Error = _state.Error, Message = _state.Message, AcceptedAt = _state.AcceptedAt,
        EndedAt = _state.EndedAt, Epoch = _state.Epoch, Restarts = _state.Restarts, DeviceKind = _state.DeviceKind,
        SessionIndex = _state.SessionIndex, Encoded = _state.Encoded,
    };

    private async Task<ReportOutcome> ApplyReportAsync(Func<Outcome<ReportOutcome>> command)
    {
        Outcome<ReportOutcome> outcome = await DecideAsync(command);
        GenerationState before = _state;
        ReportOutcome answer = await ApplyAsync(outcome);
        if (answer == ReportOutcome.Taken)
        {
            _heardAt = clock.GetUtcNow();
        }

        await ReleaseOrRememberAsync();

        // If this grain crashes before this offer, a walk through the open set offers the work.
        bool waits = _state.IsOpen && _state.Phase.Info().Waits && _state.Phase != before.Phase;
        if (answer == ReportOutcome.Taken && waits)
        {
            await OfferAsync();
        }

        return answer;
    }

    private Task SettleAsync(int computed) => grains.Tenant(_key.Tenant).SettleAsync(_key.Id, computed);

    // An earlier call that was not answered may have deleted the generation and left blobs.
    private async Task DeleteAsync(SessionId? within)
    {
        await CloseAsync(within);
        await ReleaseOrRememberAsync();
    }

    private async Task CloseAsync(SessionId? within)
    {
        bool IsThere() => _state is { Closure: GenerationClosure.None, Submission: { } submission }
            && (within is null || submission.Session == within);
        Outcome<bool> there = await DecideAsync(() => new Outcome<bool>(_state, IsThere(), false));
        if (there.Answer)
        {
            await CancelAsync();
            await ApplyAsync(GenerationMachine.Delete(_state, clock.GetUtcNow()));
        }
    }

    private Task<OfferAnswer?> OfferAsync() =>
        GrainCalls.TryAsync(() => grains.WorkQueue().OfferAsync(_machine.Item(_state, _key), admitted: true));

    private Task DeactivateAsync(CancellationToken cancellation)
    {
        DeactivateOnIdle();
        return Task.CompletedTask;
    }

    private IOpenSetGrain OpenSet() =>
        grains.GetGrain<IOpenSetGrain>(_state.Partition ?? OpenSets.OpenSet.PartitionOfFormat0(_key));
}
