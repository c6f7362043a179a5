// A generation as a grain: the pure machine, its stored state, and what follows from a change: work into the queue, an
// end out of the open set, blobs that nobody needs any more released, a word to those who watch.
using System.Runtime.CompilerServices;
using Atelier.Contracts;
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
                $"'{this.GetPrimaryKeyString()}' names no generation: a tenant and a generation do, each {Names.Rule}.");
        }

        _state = Held(stored.State);

        // Whoever held the claim may have spoken to an earlier activation just now.
        _heardAt = clock.GetUtcNow();
        this.RegisterGrainTimer(LookAgainAsync, options.WalkPeriod, options.WalkPeriod);
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
                SubmitOutcome.Conflict => new SubmitAnswer(known, $"The id '{_key.Id}' was used for another request; choose a new one."),
                _ => new SubmitAnswer(known, $"The id '{_key.Id}' was deleted or came too late; choose a new one."),
            };
        }

        if (submission.Spec.Fault() is { } fault)
        {
            return new SubmitAnswer(SubmitOutcome.Invalid, fault);
        }

        if (submission.Previews is < 0 or > Submission.PreviewsMax)
        {
            return new SubmitAnswer(SubmitOutcome.Invalid, $"Previews must lie in 0..{Submission.PreviewsMax}, not be {submission.Previews}.");
        }

        ModelCard? card = await grains.Catalog().FindAsync(submission.Spec.Model.Value);
        if (card is null)
        {
            return new SubmitAnswer(SubmitOutcome.UnknownModel, $"There is no model {submission.Spec.Model} in this cluster.");
        }

        if (card.ReplacedBy is { } newer)
        {
            return new SubmitAnswer(SubmitOutcome.UnknownModel, $"{Retired(card, newer)} Ask for that one.");
        }

        var size = new PictureSize(submission.Spec.Width, submission.Spec.Height);
        if (!card.Sizes.Contains(size))
        {
            return new SubmitAnswer(
                SubmitOutcome.Invalid, $"This model draws pictures of {string.Join(", ", card.Sizes)}, not of {size}.");
        }

        (GenerationState? accepted, SubmitAnswer? refusal) = await PlaceAsync(submission, card);
        if (accepted is null)
        {
            return refusal!;
        }

        // Of an earlier life of this id, whose bytes this one may store again: released at its first claim.
        accepted = accepted with { Late = [.. _state.ToRelease, .. _state.Late] };
        await ApplyAsync(new Outcome<bool>(accepted, true, true));
        return new SubmitAnswer(SubmitOutcome.Accepted, View: await ViewAsync());
    }

    public async Task<GenerationView?> ViewAsync()
    {
        if (_state.Submission is null)
        {
            return null;
        }

        bool waits = _state.IsOpen && (int)_state.Phase % 2 == 0;
        QueuePlace? place = waits ? await GrainCalls.TryAsync(() => Queue().WhereAsync(_key)) : null;
        return new GenerationView
        {
            Key = _key, Submission = _state.Submission, Phase = _state.Phase, Step = _state.Step, Place = place,
            Picture = _state.Picture, Error = _state.Error, Message = _state.Message, AcceptedAt = _state.AcceptedAt,
            EndedAt = _state.EndedAt, Epoch = _state.Epoch, Restarts = _state.Restarts, DeviceKind = _state.DeviceKind,
            SessionIndex = _state.SessionIndex, Encoded = _state.Encoded,
        };
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
                foreach (GenerationEvent one in GenerationMachine.EventsAfter(_state, after).ToArray())
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
            await LookAsync();
        }

        bool keep = await ApplyAsync(await DecideAsync(() => GenerationMachine.Ensure(_state, late, clock.GetUtcNow())));
        if (_state.IsOpen && await RetirementAsync() is { } why)
        {
            LogRetired(_key, _state.Submission!.Spec.Model);
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
        Outcome<ClaimAnswer> outcome = await DecideAsync(
            () => _machine.Claim(_state, _key, request, _heardAt, clock.GetUtcNow()));
        GenerationState before = _state;
        ClaimAnswer answer = await ApplyAsync(outcome);
        if (before.Claim is { } claim && _state.Claim != claim)
        {
            LogLostClaim(_key, claim.Worker, before.Epoch, before.SnapshotStep);
        }

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
            ? await HearAsync(() => GenerationMachine.Report(_state, report))
            : throw new IOException($"The blob store releases nothing; {_key} waits for it.");
    }

    public Task<ReportOutcome> CompleteAsync(long epoch, BlobName output) =>
        HearAsync(() => GenerationMachine.Complete(_state, epoch, output, clock.GetUtcNow()));

    public Task<ReportOutcome> CompleteEncodingAsync(long epoch, BlobName caption, EncodedPrompts encoded) =>
        HearAsync(() => GenerationMachine.Complete(_state, epoch, caption, clock.GetUtcNow(), encoded));

    public Task<ReportOutcome> ReleaseAsync(StepReport last) =>
        HearAsync(() => GenerationMachine.Release(_state, last, clock.GetUtcNow()));

    public Task<ReportOutcome> FailAsync(long epoch, GenerationError error, string message) =>
        HearAsync(() => _machine.Fail(_state, epoch, error, message, clock.GetUtcNow()));

    private async Task<GenerationView?> CancelAsync(string? message)
    {
        if (await ApplyAsync(await DecideAsync(() => GenerationMachine.Cancel(_state, clock.GetUtcNow(), message))))
        {
            await GrainCalls.TryAsync(() => Queue().WithdrawAsync(_key));
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
                { ReplacedBy: { } newer } card when card.Unconfirmed >= patience => Retired(card, newer),
                null => $"The model {model} is retired: no worker holds it, and it has left the catalogue.",
                _ => null,
            };
        }
        catch (Exception error) when (GrainCalls.IsTransient(error))
        {
            return null;
        }
    }

    private static string Retired(ModelCard card, ModelDigest newer) =>
        $"The model {card.Digest} is retired: no worker holds it, and its name '{card.Name}' means {newer} now.";

    // Order of a submission: the tenant's limits, a place in the queue (a hint: what is not accepted is found to be
    // nothing), the open set, the session's history, the state, the answer. Where it fails before the state, what the
    // tenant was charged is given back; where that is lost too, the tenant asks after a while.
    private async Task<(GenerationState? Accepted, SubmitAnswer? Refusal)> PlaceAsync(
        Submission submission, ModelCard card)
    {
        try
        {
            Admission admission = await grains.Tenant(_key.Tenant).AdmitAsync(_key.Id, submission.Spec.Evaluations);
            if (admission.Outcome != AdmissionOutcome.Admitted)
            {
                return (null, new SubmitAnswer(OutcomeOf(admission.Outcome), admission.Message, admission.RetryAfter));
            }

            GenerationState accepted = GenerationMachine.Accept(
                submission, admission.Weight, GenerationCost.Of(card, submission), clock.GetUtcNow()) with
            {
                WeightVersion = admission.WeightVersion,
                ChargedDay = admission.Day,
            };
            OfferAnswer offer = await Queue().OfferAsync(_machine.Item(accepted, _key), admitted: false);
            if (offer.Outcome != OfferOutcome.Queued)
            {
                await SettleAsync(0);
                bool isOwn = offer.Outcome == OfferOutcome.TenantFull;
                string whose = isOwn ? "This tenant's part of the queue" : "The queue";
                return (null, new SubmitAnswer(
                    SubmitOutcome.Busy, $"{whose} is full; come back later.", offer.RetryAfter));
            }

            if (await EnterAsync() is not var (partition, hour))
            {
                return (null, await TakeBackAsync(
                    SubmitOutcome.Busy, "There are as many open generations as there may be; come back later.",
                    TimeSpan.FromSeconds(5)));
            }

            int? index = null;
            if (submission.Session is { } session)
            {
                index = await grains.Session(new SessionKey(_key.Tenant, session)).ListAsync(_key.Id);
                if (index is null)
                {
                    return (null, await TakeBackAsync(
                        SubmitOutcome.Gone, $"The session '{session}' was deleted; begin a new one.", null));
                }
            }

            return (accepted with { Partition = partition, AcceptedHour = hour, SessionIndex = index }, null);
        }
        catch (Exception error) when (GrainCalls.IsTransient(error))
        {
            await GrainCalls.TryAsync(() => SettleAsync(0));
            throw;
        }
    }

    private async Task<SubmitAnswer> TakeBackAsync(SubmitOutcome outcome, string message, TimeSpan? retryAfter)
    {
        await Queue().WithdrawAsync(_key);
        await SettleAsync(0);
        return new SubmitAnswer(outcome, message, retryAfter);
    }

    private async Task<ReportOutcome> HearAsync(Func<Outcome<ReportOutcome>> command)
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
        bool waits = _state.IsOpen && (int)_state.Phase % 2 == 0 && _state.Phase != before.Phase;
        if (answer == ReportOutcome.Taken && waits)
        {
            await OfferAsync();
        }

        return answer;
    }

    // A state that another process may have written, by a clock that differs: what it waits for, it waits for from now on.
    private GenerationState Held(GenerationState read) => read.IsOpen ? read with { WaitingSince = clock.GetUtcNow() } : read;

    // Before it refuses anybody, a grain looks whether it is still the one: while a cluster is parted there may be two.
    private async Task<Outcome<T>> DecideAsync<T>(Func<Outcome<T>> command)
    {
        Outcome<T> outcome = command();
        if (!outcome.IsRefusal)
        {
            return outcome;
        }

        await LookAsync();
        return command();
    }

    private async Task LookAsync()
    {
        var held = new TaggedState(_state, stored.Etag);
        await stored.ReadStateAsync();
        TaggedState now = held.After(new TaggedState(stored.State, stored.Etag));
        if (!ReferenceEquals(now.State, _state))
        {
            LogReplaced(_key, _state.Epoch, now.State.Epoch);
            _state = Held(now.State);
            Tell();
        }
    }

    // What another activation wrote while the cluster was parted, those who only read or watch would never hear of.
    private Task LookAgainAsync(CancellationToken cancellation) =>
        _state is { Closure: GenerationClosure.None, Phase: < GenerationPhase.Done }
            ? GrainCalls.TryAsync(LookAsync)
            : Task.CompletedTask;

    private async Task<T> ApplyAsync<T>(Outcome<T> outcome)
    {
        if (outcome.Store)
        {
            await StoreAsync(outcome.State);
        }

        bool ends = _state.IsOpen && !outcome.State.IsOpen;
        bool tells = outcome.State != _state;
        _state = outcome.State;
        if (tells)
        {
            Tell();
        }

        if (ends)
        {
            // Until its tenant and the blob store have heard of it, it stays in the open set, so that walks find it.
            bool isSettled = await GrainCalls.TryAsync(() => SettleAsync(_state.Computed));
            if (await ReleaseAsync(_state.ToRelease) && isSettled)
            {
                await GrainCalls.TryAsync(() => OpenSet().RemoveAsync(_key));
            }
        }

        return outcome.Answer;
    }

    private async Task StoreAsync(GenerationState state)
    {
        stored.State = state;
        try
        {
            await stored.WriteStateAsync();
        }
        catch (Exception)
        {
            // Another activation has written, or nobody knows: start again from what is stored.
            DeactivateOnIdle();
            throw;
        }
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

    // Releases blobs that a written state has given up; false if some are left. They stay in the state's lists.
    private async Task<bool> ReleaseAsync(BlobName[] names)
    {
        var done = new List<BlobName>();
        foreach (BlobName name in names)
        {
            // A store that does not answer is not asked for the rest.
            if (!await GrainCalls.TryAsync(() => blobs.ReleaseAsync(name, _key.Id, CancellationToken.None)))
            {
                LogUnreleased(_key, names.Length - done.Count);
                break;
            }

            done.Add(name);
        }

        if (done.Count > 0)
        {
            _state = _state with
            {
                ToRelease = [.. _state.ToRelease.Except(done)],
                Late = [.. _state.Late.Except(done)],
            };
        }

        return done.Count == names.Length;
    }

    // What the blob store does not release now is tried again: at the next claim or end, or in a walk through the open
    // set.
    private async Task ReleaseOrRememberAsync()
    {
        if (await ReleaseAsync(_state.ToRelease) || _state.IsOpen)
        {
            return;
        }

        if (_state.ToRelease.Except(stored.State.ToRelease).Any())
        {
            await StoreAsync(_state);
        }

        await GrainCalls.TryAsync(() => OpenSet().AddAsync(_key));
    }

    private Task<OfferAnswer?> OfferAsync() => GrainCalls.TryAsync(() => Queue().OfferAsync(_machine.Item(_state, _key), admitted: true));

    private Task LeaveAsync(CancellationToken cancellation)
    {
        DeactivateOnIdle();
        return Task.CompletedTask;
    }

    private void Tell()
    {
        TaskCompletionSource changed = _changed;
        _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        changed.SetResult();
    }

    private IWorkQueueGrain Queue() => grains.WorkQueue();

    // One that enters again, because an answer was lost, may be in two partitions; a walk through the other one finds
    // out when it has ended.
    private async Task<(int Partition, long Hour)?> EnterAsync()
    {
        foreach (int partition in await openSets.PartitionsOfAsync(_key.ToString()))
        {
            if (await grains.GetGrain<IOpenSetGrain>(partition).EnterAsync(_key) is { } hour)
            {
                return (partition, hour);
            }
        }

        return null;
    }

    private IOpenSetGrain OpenSet() =>
        grains.GetGrain<IOpenSetGrain>(_state.Partition ?? OpenSets.OpenSet.PartitionOfFormat0(_key));

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "The blob store has not released {Count} blobs of {Generation}; they are remembered")]
    private partial void LogUnreleased(GenerationKey generation, int count);

    private static SubmitOutcome OutcomeOf(AdmissionOutcome outcome) => outcome switch
    {
        AdmissionOutcome.RateLimited => SubmitOutcome.RateLimited,
        AdmissionOutcome.TooManyOpen => SubmitOutcome.TooManyOpen,
        AdmissionOutcome.DailyLimit => SubmitOutcome.DailyLimit,
        AdmissionOutcome.TooMuchStored => SubmitOutcome.TooMuchStored,
        AdmissionOutcome.StoreFull => SubmitOutcome.StoreFull,
        _ => SubmitOutcome.UnknownTenant,
    };

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "Generation {Generation} was written by another activation: epoch {Epoch} here, {StoredEpoch} there")]
    private partial void LogReplaced(GenerationKey generation, long epoch, long storedEpoch);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Generation {Generation} ends: its model {Model} is retired")]
    private partial void LogRetired(GenerationKey generation, ModelDigest model);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "Generation {Generation} lost worker {Worker}, which held it with epoch {Epoch} at step {Step}")]
    private partial void LogLostClaim(GenerationKey generation, string worker, long epoch, int step);
}
