// A generation as a grain: the pure machine, its stored state, and what follows from a change: work into the queue, an
// end out of the open set, blobs that nobody needs any more released, a word to those who watch.
using System.Runtime.CompilerServices;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Hosting;
using Atelier.Grains.OpenSets;
using Atelier.Grains.Ports;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Generations;

/// <summary>The durable story of one picture.</summary>
[GrainType("generation")]
[ControlSilo]
[CollectionAgeLimit(Minutes = 2)]
internal sealed partial class GenerationGrain(
    [PersistentState("generation")] IPersistentState<GenerationState> stored, GrainsOptions options,
    OpenSetMap openSets, TimeProvider clock, IGrainFactory grains, IBlobStore blobs, ILogger<GenerationGrain> logger)
    : Grain, IGenerationGrain, IIncomingGrainCallFilter
{
    // Characters of prompts with which a generation that has ended stays in memory for a while.
    private const int PromptKeptMax = 8192;
    private static readonly TimeSpan s_longPromptKept = TimeSpan.FromSeconds(1);

    private readonly GenerationMachine _machine = new(options.Generation);
    private GenerationState _state = new();
    private GenerationKey _key;
    private DateTimeOffset _heardAt;
    private IGrainTimer? _leaving;
    private int _watchers;
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        if (!GenerationKey.TryParse(this.GetPrimaryKeyString(), out _key))
        {
            throw new ArgumentException(
                $"'{this.GetPrimaryKeyString()}' is not a generation's key: a tenant and an id, each {Names.Rule}.");
        }

        _state = FromStore(stored.State);

        // Whoever held the claim may have spoken to an earlier activation just now.
        _heardAt = clock.GetUtcNow();
        this.RegisterGrainTimer(ReloadPeriodicallyAsync, options.WalkPeriod, options.WalkPeriod);
        return Task.CompletedTask;
    }

    // Thousands of long prompts fill a silo's memory, so an ended generation with one deactivates soon after a call.
    // Not at once: Orleans would forward the pending calls to the next activation, and rejects a call forwarded twice.
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
                _leaving ??= this.RegisterGrainTimer(LeaveAsync, s_longPromptKept, Timeout.InfiniteTimeSpan);
            }
        }
    }

    public async Task<SubmitAnswer> SubmitAsync(Submission submission)
    {
        if (GenerationMachine.Known(_state, submission) is { } known)
        {
            return known switch
            {
                SubmitOutcome.Exists => new SubmitAnswer(known, View: await ViewAsync()),
                SubmitOutcome.Conflict => new SubmitAnswer(
                    known, $"The id '{_key.Id}' was used for another request; choose a new one."),
                _ => new SubmitAnswer(known, $"The id '{_key.Id}' was deleted or came too late; choose a new one."),
            };
        }

        var admission = new SubmissionAdmission(_machine, openSets, grains, clock);
        AdmittedSubmission admitted = await admission.AdmitAsync(_key, submission);
        if (admitted.Accepted is null)
        {
            logger.SubmissionRefused(_key.Tenant, admitted.Refusal!.Outcome, admitted.Refusal.Message);
            return admitted.Refusal;
        }

        // Of an earlier life of this id, whose bytes this one may store again: released at its first claim.
        GenerationState accepted = admitted.Accepted with { Late = [.. _state.ToRelease, .. _state.Late] };
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
            throw new IOException($"The blob store does not release all blobs of {_key}; they are asked for again.");
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
            // Another activation may have accepted it while the cluster was parted.
            await ReloadAsync();
        }

        bool keep = await ApplyAsync(
            await DecideAsync(() => GenerationMachine.Ensure(_state, late, clock.GetUtcNow())));
        if (_state.IsOpen && await RetirementAsync() is { } why)
        {
            logger.ModelRetired(_key, _state.Submission!.Spec.Model);
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

    public async Task<bool> MayNeedAsync(BlobName blob)
    {
        if (!_state.MayNeed(blob))
        {
            // Another activation may have written while the cluster was parted.
            await ReloadAsync();
        }

        return _state.MayNeed(blob);
    }

    public async Task<ClaimAnswer> ClaimAsync(ClaimRequest request)
    {
        Outcome<ClaimAnswer> outcome = await DecideAsync(
            () => _machine.Claim(_state, _key, request, _heardAt, clock.GetUtcNow()));
        GenerationState before = _state;
        ClaimAnswer answer = await ApplyAsync(outcome);
        if (before.Claim is { } claim && _state.Claim != claim)
        {
            logger.ClaimLost(_key, claim.Worker, before.Epoch, before.SnapshotStep);
        }

        LogClaim(before, request, answer);

        if (answer.Outcome == ClaimOutcome.Granted)
        {
            _heardAt = clock.GetUtcNow();
        }

        // Before the new claim's worker hears of it, nobody is about to store anything that counts.
        bool isNew = _state.Epoch != before.Epoch;
        await ReleaseAsync(isNew || !_state.IsClaimed ? [.. _state.ToRelease, .. _state.Late] : []);

        // The queue has another phase of it, as an older activation offered it: without this a walk would have to come.
        if (answer.Outcome == ClaimOutcome.Nothing && _state.IsOpen)
        {
            await OfferAsync();
        }

        return answer;
    }

    public async Task<ReportOutcome> ReportAsync(StepReport report)
    {
        // A store that takes bytes and releases none would fill the state with their names.
        return _state.ToRelease.Length < GenerationMachine.ToReleaseMax || await ReleaseAsync(_state.ToRelease)
            ? await ApplyReportAsync(() => GenerationMachine.Report(_state, report))
            : throw new IOException($"The blob store releases nothing; {_key} waits for it.");
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

    // Why nobody will ever do the work, as a sentence; none if somebody may. The catalogue is asked only about work
    // that nobody has done for that long.
    private async Task<string?> RetirementAsync()
    {
        TimeSpan patience = options.Models.RetiredPatience;
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
                null => $"The model {model} is retired: no worker holds it, and it has left the catalogue.",
                _ => null,
            };
        }
        catch (Exception error) when (GrainCalls.IsTransient(error))
        {
            return null;
        }
    }

    private void LogClaim(GenerationState before, ClaimRequest request, ClaimAnswer answer)
    {
        if (_state.Restarts > before.Restarts)
        {
            logger.RestartedElsewhere(_key, request.DeviceKind, before.SnapshotStep);
        }

        if (_state.IsOpen && _state.IsQuarantined(options.Generation) && !before.IsQuarantined(options.Generation))
        {
            logger.Quarantined(_key);
        }

        if (answer.Outcome == ClaimOutcome.Granted)
        {
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

        // If this grain dies before, a walk through the open set does it.
        bool waits = _state.IsOpen && _state.Phase.Info().Waits && _state.Phase != before.Phase;
        if (answer == ReportOutcome.Taken && waits)
        {
            await OfferAsync();
        }

        return answer;
    }

    private Task SettleAsync(int computed) => grains.Tenant(_key.Tenant).SettleAsync(_key.Id, computed);

    // An earlier call may have deleted it without an answer, and left blobs.
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

    private Task LeaveAsync(CancellationToken cancellation)
    {
        DeactivateOnIdle();
        return Task.CompletedTask;
    }

    private IOpenSetGrain OpenSet() =>
        grains.GetGrain<IOpenSetGrain>(_state.Partition ?? OpenSets.OpenSet.PartitionOfFormat0(_key));
}
