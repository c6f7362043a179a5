// The life of a generation as a pure protocol: a state, a command and the time give a new state and an answer. The
// grain stores the new state before it gives the answer. Two rules carry everything: whoever claims the work gets a new
// epoch, and what carries an older one is refused; and every command may come twice. Blobs follow the state: whatever a
// command told of or took out of the state, and the new state does not need, stays named in it until it is released.
using Atelier.Contracts;

namespace Atelier.Grains.Generations;

/// <summary>What a command leads to.</summary>
/// <param name="State">The new state.</param>
/// <param name="Answer">The answer.</param>
/// <param name="Store">Whether the state must be stored before the answer is given.</param>
public readonly record struct Outcome<T>(GenerationState State, T Answer, bool Store)
{
    /// <summary>
    /// Whether the answer sends its caller away. Before an activation gives it, it reads its state again: it may be the
    /// older of two. What must be stored first is fenced by the store.
    /// </summary>
    public bool IsRefusal =>
        !Store && Answer is ReportOutcome.Refused or ClaimAnswer { Outcome: not ClaimOutcome.Granted } or false;
}

/// <summary>What becomes of a generation.</summary>
/// <param name="options">How generations behave.</param>
public sealed class GenerationMachine(GenerationOptions options)
{
    /// <summary>
    /// Most blobs pending release during a claim; at this many, its reports wait until the blob store releases some.
    /// </summary>
    public const int ToReleaseMax = 16;

    /// <summary>Accepts a submission that its tenant may make and that the queue has room for.</summary>
    public static GenerationState Accept(Submission submission, double weight, GenerationCost cost, DateTimeOffset now) => new()
    {
        Submission = submission, Weight = weight, Cost = cost, AcceptedAt = now, WaitingSince = now,
    };

    /// <summary>What an earlier submission under the same id makes of a new one; none if there was none.</summary>
    public static SubmitOutcome? Known(GenerationState state, Submission submission) => state switch
    {
        { Closure: not GenerationClosure.None } => SubmitOutcome.Gone,
        { Submission: null } => null,
        _ => state.Submission == submission ? SubmitOutcome.Exists : SubmitOutcome.Conflict,
    };

    /// <summary>
    /// Asks for the work of an open generation; refuses later submissions where none has come in time.
    /// </summary>
    public static Outcome<bool> Ensure(GenerationState state, bool late, DateTimeOffset now)
    {
        bool unknown = state.Submission is null && state.Closure == GenerationClosure.None;
        return unknown && late
            ? new(state with { Closure = GenerationClosure.NeverCame, EndedAt = now }, false, true)
            : new(state, unknown || state.IsOpen, false);
    }

    /// <summary>A worker claims the work.</summary>
    /// <param name="state">State.</param>
    /// <param name="key">Which generation it is.</param>
    /// <param name="request">Who claims what.</param>
    /// <param name="heardAt">When the last claim's worker was last heard of.</param>
    /// <param name="now">The time.</param>
    public Outcome<ClaimAnswer> Claim(
        GenerationState state, GenerationKey key, ClaimRequest request, DateTimeOffset heardAt, DateTimeOffset now) =>
        Settled(state, Decide(state, key, request, heardAt, now), []);

    private Outcome<ClaimAnswer> Decide(
        GenerationState state, GenerationKey key, ClaimRequest request, DateTimeOffset heardAt, DateTimeOffset now)
    {
        if (!state.IsOpen || KindOf(state.Phase) != request.Kind)
        {
            return new(state, new ClaimAnswer { Outcome = ClaimOutcome.Nothing }, false);
        }

        if (state.Claim is { } same && same.Attempt == request.Attempt && same.Worker == request.Worker)
        {
            return new(state, Granted(state), false);
        }

        // A claim that comes late, or on a lease of a queue that another has replaced, must not look like one that
        // died.
        if (request.Lease <= state.LastLease)
        {
            return new(state, NotYou(state, key), false);
        }

        state = state with { LastLease = request.Lease };
        if (state.Claim is { } claim)
        {
            // Another process of the same worker has outlived the claim; of another worker's claim it is the silence
            // that tells.
            if (claim.Worker != request.Worker && now < heardAt + options.ClaimQuiet)
            {
                return new(state, NotYou(state, key), true);
            }

            state = Lost(state, claim, heardAt, now);
            if (!state.IsOpen)
            {
                return new(state, new ClaimAnswer { Outcome = ClaimOutcome.Nothing }, true);
            }
        }

        if (state.IsQuarantined(options) && !request.Alone)
        {
            return new(state, NotYou(state, key), true);
        }

        if (state.Snapshot is not null && request.Kind == WorkKind.Denoise && state.DeviceKind != request.DeviceKind)
        {
            if (now < state.WaitingSince + options.DeviceKindPatience)
            {
                return new(state, NotYou(state, key), true);
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

        state = Enter(state, Running(request.Kind)) with
        {
            Epoch = state.Epoch + 1,
            Step = request.Kind == WorkKind.Denoise ? state.SnapshotStep : state.Step,
            Claim = new GenerationClaim
            {
                Worker = request.Worker, Attempt = request.Attempt, DeviceKind = request.DeviceKind, Alone = request.Alone,
                FromStep = state.SnapshotStep, At = now,
            },
        };
        return new(state, Granted(state), true);
    }

    /// <summary>A worker reports steps. Only a newer snapshot is worth a write.</summary>
    public static Outcome<ReportOutcome> Report(GenerationState state, StepReport report)
    {
        if (!Holds(state, report.Epoch) || state.Phase != GenerationPhase.Denoising)
        {
            return Refused(state, Told(report));
        }

        (GenerationState next, bool store) = Progress(state, report);
        return Settled(state, new Outcome<ReportOutcome>(next, ReportOutcome.Taken, store), Told(report));
    }

    /// <summary>A worker has finished the phase.</summary>
    /// <param name="state">State.</param>
    /// <param name="epoch">The claim's epoch.</param>
    /// <param name="output">What the phase gave.</param>
    /// <param name="now">The time.</param>
    /// <param name="encoded">How much of the prompts was encoded, where the worker says so.</param>
    public static Outcome<ReportOutcome> Complete(
        GenerationState state, long epoch, BlobName output, DateTimeOffset now, EncodedPrompts? encoded = null)
    {
        if (!Holds(state, epoch))
        {
            // The answer to an earlier one may have been lost.
            bool again = epoch == state.Epoch && (output == state.Caption || output == state.Latent || output == state.Picture);
            return again ? new(state, ReportOutcome.Taken, false) : Refused(state, [output]);
        }

        GenerationState next = Fresh(state) with { Claim = null, WaitingSince = now };
        next = KindOf(state.Phase) switch
        {
            WorkKind.Encode => Enter(next with { Caption = output, Encoded = encoded }, GenerationPhase.QueuedDenoise),
            WorkKind.Denoise => Enter(
                next with { Latent = output, Step = Steps(state), DeviceKind = state.Claim!.DeviceKind },
                GenerationPhase.QueuedDecode),
            _ => Ended(next with { Picture = output }, GenerationPhase.Done, now),
        };
        return Settled(state, new Outcome<ReportOutcome>(next, ReportOutcome.Taken, true), [output]);
    }

    /// <summary>A worker gives the work back in good order.</summary>
    public static Outcome<ReportOutcome> Release(GenerationState state, StepReport last, DateTimeOffset now)
    {
        if (!Holds(state, last.Epoch))
        {
            bool again = last.Epoch == state.Epoch && state.Claim is null && state.IsOpen;
            return Refused(state, Told(last)) with { Answer = again ? ReportOutcome.Taken : ReportOutcome.Refused };
        }

        GenerationState next = state.Phase == GenerationPhase.Denoising ? Progress(state, last).State : state;
        return Settled(state, new Outcome<ReportOutcome>(Waiting(next, now), ReportOutcome.Taken, true), Told(last));
    }

    /// <summary>A worker could not do the work.</summary>
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
        return Settled(state, new Outcome<ReportOutcome>(next, ReportOutcome.Taken, true), []);
    }

    /// <summary>Cancels an open generation; what has ended stays as it is.</summary>
    /// <param name="state">State.</param>
    /// <param name="now">The time.</param>
    /// <param name="message">Why, where nobody asked for it.</param>
    public static Outcome<bool> Cancel(GenerationState state, DateTimeOffset now, string? message = null) =>
        state.IsOpen
            ? Settled(
                state,
                new Outcome<bool>(
                    Ended(state, GenerationPhase.Cancelled, now) with { Message = message }, true, true),
                [])
            : new(state, false, false);

    /// <summary>
    /// Ends an open generation whose model no worker holds any more and whose name another model has.
    /// </summary>
    public static Outcome<bool> Retire(GenerationState state, string message, DateTimeOffset now) => state.IsOpen
        ? Settled(state, new Outcome<bool>(Failed(state, GenerationError.ModelRetired, message, now), false, true), [])
        : new(state, false, false);

    /// <summary>
    /// Deletes a generation; only that there was one is remembered, and its blobs until they are released.
    /// </summary>
    public static Outcome<bool> Delete(GenerationState state, DateTimeOffset now) =>
        Settled(
            state,
            new Outcome<bool>(
                new GenerationState
                {
                    Closure = GenerationClosure.Deleted, EndedAt = now, ToRelease = [.. state.ToRelease, .. state.Late],
                    AcceptedHour = state.AcceptedHour, Partition = state.Partition, Computed = state.Computed,
                },
                true, true),
            []);

    /// <summary>The work that an open generation waits for, as it stands in the queue.</summary>
    public WorkItem Item(GenerationState state, GenerationKey key)
    {
        WorkKind kind = KindOf(state.Phase);
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

    /// <summary>
    /// Steps at whose end a preview is due: evenly spread, none at the last one, where the picture itself is.
    /// </summary>
    public static int[] PreviewSteps(Submission submission) =>
    [
        .. Enumerable.Range(1, submission.Previews)
            .Select(i => i * submission.Spec.Steps / (submission.Previews + 1))
            .Where(step => step > 0).Distinct(),
    ];

    /// <summary>The kind of work that a phase waits for or does.</summary>
    public static WorkKind KindOf(GenerationPhase phase) => (WorkKind)Math.Min((int)phase / 2, (int)WorkKind.Decode);

    /// <summary>
    /// What has happened after an event: a function of the state alone, so that a grain that starts anew tells the same
    /// story, with the same numbers.
    /// </summary>
    public static IEnumerable<GenerationEvent> EventsAfter(GenerationState state, EventNumber after)
    {
        if (state.Submission is null)
        {
            yield break;
        }

        int steps = Steps(state);
        int[] previewSteps = PreviewSteps(state.Submission);
        for (var phase = GenerationPhase.QueuedEncode; phase <= state.Reached; phase++)
        {
            var number = new EventNumber((int)phase, 0);
            if (number > after)
            {
                yield return new GenerationEvent { Number = number, Phase = phase, Steps = steps };
            }

            if (phase != GenerationPhase.Denoising)
            {
                continue;
            }

            for (int step = after.Phase == (int)phase ? after.Step + 1 : 1; step <= state.Step && after.Phase <= (int)phase; step++)
            {
                bool previewed = state.Previews.TryGetValue(step, out BlobName preview);
                yield return new GenerationEvent
                {
                    Number = new EventNumber((int)phase, step), Phase = phase, Step = step, Steps = steps,
                    Preview = previewed ? preview : null,
                    PreviewIndex = previewed ? previewSteps.Count(earlier => earlier < step) : 0,
                };
            }
        }

        var end = new EventNumber((int)GenerationPhase.Done, 0);
        if (!state.IsOpen && end > after)
        {
            yield return new GenerationEvent
            {
                Number = end, Phase = state.Phase, Step = state.Step, Steps = steps, Picture = state.Picture,
                Error = state.Error, Message = state.Message,
            };
        }
    }

    // A claim ended without a word: its worker is held to be dead.
    private GenerationState Lost(GenerationState state, GenerationClaim claim, DateTimeOffset heardAt, DateTimeOffset now)
    {
        bool barren = state.Phase != GenerationPhase.Denoising || state.SnapshotStep == claim.FromStep;
        GenerationState next = Waiting(state, heardAt > state.WaitingSince ? heardAt : state.WaitingSince);
        if (barren)
        {
            next = next with
            {
                BarrenClaims = state.BarrenClaims + 1,
                DeathsAlone = state.DeathsAlone + (claim.Alone ? 1 : 0),
            };
        }

        return next.DeathsAlone < options.DeathsAloneMax
            ? next
            : Failed(
                next, GenerationError.WorkerLost,
                $"Every worker that ran this generation alone died, {next.DeathsAlone} times.", now);
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

            next = Fresh(state) with
            {
                Snapshot = report.Snapshot,
                SnapshotStep = step,
                DeviceKind = state.Claim!.DeviceKind,
                Previews = previews,
            };
        }

        // A step with a preview is told together with it.
        foreach (int due in PreviewSteps(state.Submission!))
        {
            step = next.Previews.ContainsKey(due) ? step : Math.Min(step, due - 1);
        }

        return (next with { Step = Math.Max(next.Step, step) }, newer);
    }

    private static GenerationState Fresh(GenerationState state) =>
        state with { BarrenClaims = 0, DeathsAlone = 0, Failures = 0 };

    private static GenerationState Waiting(GenerationState state, DateTimeOffset since) => state with
    {
        Phase = (GenerationPhase)(2 * (int)KindOf(state.Phase)),
        Claim = null,
        WaitingSince = since,
    };

    private static GenerationState Failed(GenerationState state, GenerationError error, string message, DateTimeOffset now) =>
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

    // A step takes two evaluations, the last one takes one.
    private static int Computed(GenerationState state)
    {
        int steps = KindOf(state.Phase) == WorkKind.Decode ? Steps(state)
            : state.Phase == GenerationPhase.Denoising ? state.Step + 1
            : state.Step;
        return Math.Min(2 * steps, state.Submission!.Spec.Evaluations);
    }

    private static IEnumerable<BlobName> Told(StepReport report) =>
        report.Previews.Values.Concat(new[] { report.Snapshot }.OfType<BlobName>()).Concat(report.Untold);

    // A stale report has left bytes in the store. A worker stops at its first refusal, so they are those of one report.
    // Equal work gives equal bytes, so they may be those that the state needs, or that the current claim will store.
    private static Outcome<ReportOutcome> Refused(GenerationState state, IEnumerable<BlobName> told)
    {
        BlobName[] news = [.. told.Except(state.Needed()).Except(state.ToRelease).Except(state.Late)];
        GenerationState next = state switch
        {
            _ when news.Length == 0 => state,
            { IsClaimed: true } => state with { Late = [.. state.Late, .. news] },
            _ => state with { ToRelease = [.. state.ToRelease, .. news] },
        };
        return new(next, ReportOutcome.Refused, next != state && state.IsOpen);
    }

    // While a claim goes on, only what it has left behind itself is released: it has gone on from there. At a new claim
    // and without one, no worker is about to store anything that counts.
    private static Outcome<T> Settled<T>(GenerationState before, Outcome<T> outcome, IEnumerable<BlobName> told)
    {
        GenerationState next = outcome.State;
        HashSet<BlobName> left = [.. next.ToRelease, .. before.Needed(), .. told], late = [.. next.Late];
        if (!next.IsClaimed)
        {
            left.UnionWith(late);
        }
        else if (next.Epoch != before.Epoch)
        {
            late.UnionWith(left);
            left.Clear();
        }

        BlobName[] needed = [.. next.Needed()];
        left.ExceptWith(needed);
        late.ExceptWith(needed);
        late.ExceptWith(left);
        return left.SetEquals(next.ToRelease) && late.SetEquals(next.Late)
            ? outcome
            : outcome with { State = next with { ToRelease = [.. left], Late = [.. late] } };
    }

    private static GenerationState Enter(GenerationState state, GenerationPhase phase) =>
        state with { Phase = phase, Reached = phase > state.Reached ? phase : state.Reached };

    private static GenerationPhase Running(WorkKind kind) => (GenerationPhase)((2 * (int)kind) + 1);

    private static bool Holds(GenerationState state, long epoch) => state.IsOpen && state.Claim is not null && epoch == state.Epoch;

    private static int Steps(GenerationState state) => state.Submission!.Spec.Steps;

    private ClaimAnswer NotYou(GenerationState state, GenerationKey key) =>
        new() { Outcome = ClaimOutcome.NotYou, Item = Item(state, key) };

    private static ClaimAnswer Granted(GenerationState state) => new()
    {
        Outcome = ClaimOutcome.Granted,
        Epoch = state.Epoch,
        Spec = state.Submission!.Spec,
        PreviewSteps = PreviewSteps(state.Submission),
        Caption = state.Caption,
        Snapshot = state.Snapshot,
        Step = state.SnapshotStep,
        Latent = state.Latent,
    };
}
