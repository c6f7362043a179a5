// The life of a generation as a pure protocol: a state, a command and the time give a new state and an answer. The
// grain stores the new state before it answers. The protocol rests on two rules: every claim of the work gets a new
// epoch, and messages with an older epoch are refused; and every command is idempotent. A blob that a command reported
// or removed from the state, and that the new state does not need, stays listed in the state until it is released.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;

namespace Atelier.Grains.Generations;

/// <summary>Outcome of a command.</summary>
/// <param name="State">The new state.</param>
/// <param name="Answer">The answer.</param>
/// <param name="Store">Whether the state must be stored before the answer is given.</param>
public readonly record struct Outcome<T>(GenerationState State, T Answer, bool Store)
{
    /// <summary>
    /// Whether the answer refuses the caller. An activation re-reads its state before it gives such an answer, because
    /// it may be the older of two. An answer that must be stored first is fenced by the store.
    /// </summary>
    public bool IsRefusal =>
        !Store && Answer is ReportOutcome.Refused or ClaimAnswer { Outcome: not ClaimOutcome.Granted } or false;
}

/// <summary>The commands of a generation.</summary>
/// <param name="options">The options.</param>
public sealed class GenerationMachine(GenerationOptions options)
{
    /// <summary>
    /// Maximum number of blobs pending release during a claim; at this many, reports wait until the blob store releases
    /// some.
    /// </summary>
    public const int ToReleaseMax = 16;

    /// <summary>The initial state of a submission that its tenant and the queue have admitted.</summary>
    public static GenerationState Accept(
        Submission submission, double weight, GenerationCost cost, DateTimeOffset now) => new()
        {
            Submission = submission, Weight = weight, Cost = cost, AcceptedAt = now, WaitingSince = now,
        };

    /// <summary>The outcome of a submission under an id that was used before; null for an unused id.</summary>
    public static SubmitOutcome? Known(GenerationState state, Submission submission) => state switch
    {
        { Closure: not GenerationClosure.None } => SubmitOutcome.Gone,
        { Submission: null } => null,
        _ => state.Submission == submission ? SubmitOutcome.Exists : SubmitOutcome.Conflict,
    };

    /// <summary>
    /// Whether there is, or may still be, open work under an id. If no submission came in time, later ones are refused
    /// from then on.
    /// </summary>
    public static Outcome<bool> Ensure(GenerationState state, bool late, DateTimeOffset now)
    {
        bool unknown = state.Submission is null && state.Closure == GenerationClosure.None;
        return unknown && late
            ? new(state with { Closure = GenerationClosure.NeverSubmitted, EndedAt = now }, false, true)
            : new(state, unknown || state.IsOpen, false);
    }

    /// <summary>A worker claims the work.</summary>
    /// <param name="state">The state.</param>
    /// <param name="key">Key of the generation.</param>
    /// <param name="request">The worker's claim.</param>
    /// <param name="heardAt">Time of the last message from the worker of the current claim.</param>
    /// <param name="now">The time.</param>
    public Outcome<ClaimAnswer> Claim(
        GenerationState state, GenerationKey key, ClaimRequest request, DateTimeOffset heardAt, DateTimeOffset now) =>
        Decide(state, key, request, heardAt, now).Releasing(state, []);

    private Outcome<ClaimAnswer> Decide(
        GenerationState state, GenerationKey key, ClaimRequest request, DateTimeOffset heardAt, DateTimeOffset now)
    {
        if (!state.IsOpen || state.Phase.Info().Kind != request.Kind)
        {
            return new(state, new ClaimAnswer { Outcome = ClaimOutcome.Nothing }, false);
        }

        if (state.Claim is { } same && same.Attempt == request.Attempt && same.Worker == request.Worker)
        {
            return new(state, Granted(state), false);
        }

        // A late claim, or one under a lease of a replaced queue, must not count as the death of the current worker.
        if (request.Lease <= state.LastLease)
        {
            return new(state, Denied(state, key), false);
        }

        state = state with { LastLease = request.Lease };
        if (state.Claim is { } claim)
        {
            // A new claim by the same worker proves that its old process has died. Another worker gets the claim only
            // after ClaimQuiet without a report from the current one.
            if (claim.Worker != request.Worker && now < heardAt + options.ClaimQuiet)
            {
                return new(state, Denied(state, key), true);
            }

            state = EndLostClaim(state, claim, heardAt, now);
            if (!state.IsOpen)
            {
                return new(state, new ClaimAnswer { Outcome = ClaimOutcome.Nothing }, true);
            }
        }

        if (state.IsQuarantined(options) && !request.Alone)
        {
            return new(state, Denied(state, key), true);
        }

        if (state.Snapshot is not null && request.Kind == WorkKind.Denoise && state.DeviceKind != request.DeviceKind)
        {
            if (now < state.WaitingSince + options.DeviceKindPatience)
            {
                return new(state, Denied(state, key), true);
            }

            state = state with
            {
                Snapshot = null,
                SnapshotStep = 0,
                Step = 0,
                DeviceKind = null,
                Restarts = state.Restarts + 1,
                Previews = new Dictionary<int, BlobName>(),
            };
        }

        state = Enter(state, GenerationPhases.RunningOf(request.Kind)) with
        {
            Epoch = state.Epoch + 1,
            Step = request.Kind == WorkKind.Denoise ? state.SnapshotStep : state.Step,
            Claim = new GenerationClaim
            {
                Worker = request.Worker, Attempt = request.Attempt, DeviceKind = request.DeviceKind,
                Alone = request.Alone,
                FromStep = state.SnapshotStep, At = now,
            },
        };
        return new(state, Granted(state), true);
    }

    /// <summary>A worker reports steps. The state is stored only if the report has a newer snapshot.</summary>
    public static Outcome<ReportOutcome> Report(GenerationState state, StepReport report)
    {
        if (!Holds(state, report.Epoch) || state.Phase != GenerationPhase.Denoising)
        {
            return state.Refuse(report.Blobs());
        }

        (GenerationState next, bool store) = Progress(state, report);
        return Taken(state, next, report.Blobs(), store);
    }

    /// <summary>A worker has finished the phase.</summary>
    /// <param name="state">The state.</param>
    /// <param name="epoch">Epoch of the worker's claim.</param>
    /// <param name="output">The phase's output: caption, latent or picture.</param>
    /// <param name="now">The time.</param>
    /// <param name="encoded">How much of the prompts was encoded, if the worker reports it.</param>
    public static Outcome<ReportOutcome> Complete(
        GenerationState state, long epoch, BlobName output, DateTimeOffset now, EncodedPrompts? encoded = null)
    {
        if (!Holds(state, epoch))
        {
            // The answer to an earlier call may have been lost.
            bool again = epoch == state.Epoch
                && (output == state.Caption || output == state.Latent || output == state.Picture);
            return again ? new(state, ReportOutcome.Taken, false) : state.Refuse([output]);
        }

        GenerationState next = WithProgress(state) with { Claim = null, WaitingSince = now };
        next = state.Phase.Info().Kind switch
        {
            WorkKind.Encode => Enter(next with { Caption = output, Encoded = encoded }, GenerationPhase.QueuedDenoise),
            WorkKind.Denoise => Enter(
                next with { Latent = output, Step = Steps(state), DeviceKind = state.Claim!.DeviceKind },
                GenerationPhase.QueuedDecode),
            _ => Ended(next with { Picture = output }, GenerationPhase.Done, now),
        };
        return Taken(state, next, [output]);
    }

    /// <summary>A worker releases the work, with its last report.</summary>
    public static Outcome<ReportOutcome> Release(GenerationState state, StepReport last, DateTimeOffset now)
    {
        if (!Holds(state, last.Epoch))
        {
            bool again = last.Epoch == state.Epoch && state.Claim is null && state.IsOpen;
            Outcome<ReportOutcome> refusal = state.Refuse(last.Blobs());
            return again ? refusal with { Answer = ReportOutcome.Taken } : refusal;
        }

        GenerationState next = state.Phase == GenerationPhase.Denoising ? Progress(state, last).State : state;
        return Taken(state, Waiting(next, now), last.Blobs());
    }

    /// <summary>A worker reports that it failed to do the work.</summary>
    public Outcome<ReportOutcome> Fail(
        GenerationState state, long epoch, GenerationError error, string message, DateTimeOffset now)
    {
        if (!Holds(state, epoch))
        {
            return new(state, ReportOutcome.Refused, false);
        }

        GenerationState next = Waiting(state, now) with { Failures = state.Failures + 1 };
        next = error == GenerationError.InvalidRequest || next.Failures >= options.FailuresMax
            ? Failed(next, error, message, now)
            : next;
        return Taken(state, next, []);
    }

    /// <summary>Cancels an open generation; an ended one stays unchanged.</summary>
    /// <param name="state">The state.</param>
    /// <param name="now">The time.</param>
    /// <param name="message">The reason, if the client did not request the cancellation.</param>
    public static Outcome<bool> Cancel(GenerationState state, DateTimeOffset now, string? message = null) =>
        state.IsOpen
            ? new Outcome<bool>(Ended(state, GenerationPhase.Cancelled, now) with { Message = message }, true, true)
                .Releasing(state, [])
            : new(state, false, false);

    /// <summary>
    /// Fails an open generation whose model is retired: no worker holds it, and another model has its name.
    /// </summary>
    public static Outcome<bool> Retire(GenerationState state, string message, DateTimeOffset now) => state.IsOpen
        ? new Outcome<bool>(Failed(state, GenerationError.ModelRetired, message, now), false, true).Releasing(state, [])
        : new(state, false, false);

    /// <summary>
    /// Deletes a generation. The state keeps only the fact of the deletion, and the names of blobs until they are
    /// released.
    /// </summary>
    public static Outcome<bool> Delete(GenerationState state, DateTimeOffset now) =>
        new Outcome<bool>(
            new GenerationState
            {
                Closure = GenerationClosure.Deleted, EndedAt = now, ToRelease = [.. state.ToRelease, .. state.Late],
                AcceptedHour = state.AcceptedHour, Partition = state.Partition, Computed = state.Computed,
            },
            true, true).Releasing(state, []);

    /// <summary>The work item that an open generation offers to the queue.</summary>
    public WorkItem Item(GenerationState state, GenerationKey key)
    {
        WorkKind kind = state.Phase.Info().Kind
            ?? throw new ArgumentException($"{key} has ended ({state.Phase}); it has no work left.", nameof(state));
        int quanta = kind == WorkKind.Denoise ? Math.Max(1, Steps(state) - state.SnapshotStep) : 1;
        bool bound = kind == WorkKind.Denoise && state.Snapshot is not null;
        return new WorkItem
        {
            Generation = key,
            Kind = kind,
            Weight = state.Weight,
            WeightVersion = state.WeightVersion,
            Quanta = quanta,
            Cost = kind switch
            {
                WorkKind.Encode => state.Cost.Encode,
                WorkKind.Denoise => state.Cost.Step * quanta,
                _ => state.Cost.Decode,
            },
            CostAfter = kind switch
            {
                WorkKind.Encode => (state.Cost.Step * Math.Max(1, Steps(state))) + state.Cost.Decode,
                WorkKind.Denoise => state.Cost.Decode,
                _ => 0,
            },
            AcceptedAt = state.AcceptedAt,
            Alone = state.IsQuarantined(options),
            DeviceKind = bound ? state.DeviceKind : null,
            LastLease = state.LastLease,
            AnyKindFrom = bound ? state.WaitingSince + options.DeviceKindPatience : null,
            AnyKindAfter = bound ? options.DeviceKindPatience : null,
            ClaimedBy = state.Claim?.Worker,
            Model = state.Submission!.Spec.Model,
        };
    }

    // The claim ended without a release; assume that its worker died.
    private GenerationState EndLostClaim(
        GenerationState state, GenerationClaim claim, DateTimeOffset heardAt, DateTimeOffset now)
    {
        bool noProgress = state.Phase != GenerationPhase.Denoising || state.SnapshotStep == claim.FromStep;
        GenerationState next = Waiting(state, heardAt > state.WaitingSince ? heardAt : state.WaitingSince);
        if (noProgress)
        {
            next = next with
            {
                ClaimsWithoutProgress = state.ClaimsWithoutProgress + 1,
                DeathsAlone = state.DeathsAlone + (claim.Alone ? 1 : 0),
            };
        }

        return next.DeathsAlone < options.DeathsAloneMax
            ? next
            : Failed(
                next, GenerationError.WorkerLost,
                $"The worker died each of the {next.DeathsAlone} times that this generation ran alone.", now);
    }

    private static (GenerationState State, bool Store) Progress(GenerationState state, StepReport report)
    {
        int step = Math.Min(report.Step, Steps(state));
        GenerationState next = state;
        bool newer = report.Snapshot is not null && step > state.SnapshotStep;
        if (newer)
        {
            var previews = new Dictionary<int, BlobName>(state.Previews);
            foreach ((int at, BlobName preview) in report.Previews)
            {
                previews.TryAdd(at, preview);
            }

            next = WithProgress(state) with
            {
                Snapshot = report.Snapshot,
                SnapshotStep = step,
                DeviceKind = state.Claim!.DeviceKind,
                Previews = previews,
            };
        }

        // A step with a preview is published only together with the preview.
        foreach (int due in GenerationEvents.PreviewSteps(state.Submission!))
        {
            step = next.Previews.ContainsKey(due) ? step : Math.Min(step, due - 1);
        }

        return (next with { Step = Math.Max(next.Step, step) }, newer);
    }

    private static GenerationState WithProgress(GenerationState state) =>
        state with { ClaimsWithoutProgress = 0, DeathsAlone = 0, Failures = 0 };

    private static GenerationState Waiting(GenerationState state, DateTimeOffset since) => state with
    {
        Phase = GenerationPhases.WaitingFor(state.Phase.Info().Kind!.Value),
        Claim = null,
        WaitingSince = since,
    };

    private static GenerationState Failed(
        GenerationState state, GenerationError error, string message, DateTimeOffset now) =>
        Ended(state, GenerationPhase.Failed, now) with { Error = error, Message = message };

    private static GenerationState Ended(GenerationState state, GenerationPhase phase, DateTimeOffset now) =>
        state with
        {
            Phase = phase,
            Claim = null,
            EndedAt = now,
            Caption = null,
            Snapshot = null,
            Latent = null,
            Computed = Computed(state),
        };

    // Each step takes two evaluations, the last one takes one.
    private static int Computed(GenerationState state)
    {
        int steps = state.Phase.Info().Kind == WorkKind.Decode ? Steps(state)
            : state.Phase == GenerationPhase.Denoising ? state.Step + 1
            : state.Step;
        return Math.Min(2 * steps, state.Submission!.Spec.Evaluations);
    }

    private static Outcome<ReportOutcome> Taken(
        GenerationState before, GenerationState next, IEnumerable<BlobName> reported, bool store = true) =>
        new Outcome<ReportOutcome>(next, ReportOutcome.Taken, store).Releasing(before, reported);

    private static GenerationState Enter(GenerationState state, GenerationPhase phase) =>
        state with { Phase = phase, Reached = phase.IsAfter(state.Reached) ? phase : state.Reached };

    private static bool Holds(GenerationState state, long epoch) =>
        state.IsOpen && state.Claim is not null && epoch == state.Epoch;

    private static int Steps(GenerationState state) => state.Submission!.Spec.Steps;

    private ClaimAnswer Denied(GenerationState state, GenerationKey key) =>
        new() { Outcome = ClaimOutcome.Denied, Item = Item(state, key) };

    private static ClaimAnswer Granted(GenerationState state) => new()
    {
        Outcome = ClaimOutcome.Granted,
        Epoch = state.Epoch,
        Spec = state.Submission!.Spec,
        PreviewSteps = GenerationEvents.PreviewSteps(state.Submission),
        Caption = state.Caption,
        Snapshot = state.Snapshot,
        Step = state.SnapshotStep,
        Latent = state.Latent,
        TraceParent = state.TraceParent,
    };
}
